"""Texts as bags of tokens: the inputs of the static encoder, the weighted sum of their vectors, their store on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding_bag

from nearfar.column import Column, Ids, chunks, ranges
from nearfar.encoders.reading.token_counts import count_tokens, term_frequencies
from nearfar.encoders.reading.tokens import Tokenise, missing_token_error
from nearfar.storage.column_cache import cached_folder, memory_mapped

COUNT_BLOCK = 1 << 22  # tokens in one call of numpy's bincount, which first makes 64-bit numbers of them


@dataclass(frozen=True)
class Bags:
    """n texts as bags: `tokens[offsets[i]:offsets[i + 1]]` are the distinct tokens of text i.

    tokens: (t,) int64; weights: (t,) float32, the token's share of its text's tokens; offsets: (n + 1,) int64.
    """

    tokens: Tensor
    weights: Tensor
    offsets: Tensor

    @classmethod
    def of(cls, ids: npt.NDArray[np.integer[Any]], lengths: npt.NDArray[np.int64], vocabulary: int) -> Self:
        """Return texts as bags: token ids (t,), one text after the other, and the texts' lengths (n,)."""
        tokens, counts, offsets = count_tokens(ids, lengths, vocabulary)
        weights = term_frequencies(counts, lengths, np.diff(offsets))
        return cls(torch.from_numpy(tokens.astype(np.int64)), torch.from_numpy(weights), torch.from_numpy(offsets))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, rows: slice) -> Self:
        start, stop, step = rows.indices(len(self))
        assert step == 1, "bags are sliced without a step"
        offsets = self.offsets[start : max(start, stop) + 1]
        inside = slice(int(offsets[0]), int(offsets[-1]))
        return type(self)(self.tokens[inside], self.weights[inside], offsets - offsets[0])

    def join(self, others: Sequence[Self]) -> Self:
        """Return self followed by the others."""
        parts = [self, *others]
        ends = np.cumsum([0] + [int(part.offsets[-1]) for part in parts])
        offsets = [self.offsets[:1]] + [part.offsets[1:] + int(end) for part, end in zip(parts, ends)]
        return type(self)(
            torch.cat([part.tokens for part in parts]), torch.cat([part.weights for part in parts]), torch.cat(offsets)
        )

    def costs(self) -> npt.NDArray[np.int64]:
        """Return the number of distinct tokens of each text, (n,)."""
        costs: npt.NDArray[np.int64] = np.diff(self.offsets.cpu().numpy())
        return costs

    def to(self, device: Any) -> Self:
        """Return the same on another device."""
        return type(self)(self.tokens.to(device), self.weights.to(device), self.offsets.to(device))


def thinned(bags: Bags, share: float) -> Bags:
    """Return bags without a random share of their distinct tokens, each the mean of those that are left.

    A text that would lose all of its tokens keeps them.
    """
    kept = torch.rand(len(bags.tokens), device=bags.tokens.device) >= share  # (t,)
    text = torch.repeat_interleave(torch.arange(len(bags), device=kept.device), bags.offsets.diff())  # (t,)
    count = torch.bincount(text[kept], minlength=len(bags))  # (n,)
    kept |= (count == 0)[text]
    weights, text = bags.weights[kept], text[kept]
    total = torch.zeros(len(bags), dtype=weights.dtype, device=weights.device).index_add_(0, text, weights)  # (n,)
    offsets = torch.zeros_like(bags.offsets)
    torch.cumsum(torch.bincount(text, minlength=len(bags)), 0, out=offsets[1:])
    return Bags(bags.tokens[kept], weights / total[text], offsets)


def bag_sum(table: Tensor, bags: Bags) -> Tensor:
    """Return for each bag the weighted sum of its tokens' rows of the table (v, d): (n, d)."""
    if table.device.type == "cpu" and table.requires_grad and torch.is_grad_enabled():
        vectors: Tensor = _BagSum.apply(table, bags)
        return vectors
    return _weighted_sum(table, bags.tokens, bags.weights, bags.offsets)


def _weighted_sum(table: Tensor, tokens: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
    weights = weights.to(table.dtype)
    return embedding_bag(tokens, table, offsets, mode="sum", per_sample_weights=weights, include_last_offset=True)


class _BagSum(torch.autograd.Function):
    """The sum with a fast backward pass: torch's adds row by row, three quarters of a training step on a CPU.

    The gradient of a table's row is a bag, too: the weighted sum of the gradients of the texts that hold the token.
    So the backward pass is the same fast sum over the transposed bags (8 times faster, equal to the last bit).
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, bags: Bags) -> Tensor:
        ctx.bags, ctx.vocabulary = bags, len(table)
        return _weighted_sum(table.detach(), bags.tokens, bags.weights, bags.offsets)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        texts, weights, offsets = transposed(ctx.bags, ctx.vocabulary)
        return _weighted_sum(grads[0].contiguous(), texts, weights, offsets), None


def transposed(bags: Bags, vocabulary: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the texts that hold each token of the vocabulary, their weights, and offsets: one bag for each token."""
    ids = bags.tokens.numpy()
    narrow = ids.astype(np.uint16) if vocabulary <= 1 << 16 else ids  # numpy's radix sort of 16 bits is 10 times faster
    order = torch.from_numpy(np.argsort(narrow, kind="stable"))
    texts = torch.repeat_interleave(torch.arange(len(bags)), bags.offsets.diff())
    offsets = torch.zeros(vocabulary + 1, dtype=torch.int64)
    torch.cumsum(torch.bincount(bags.tokens, minlength=vocabulary), 0, out=offsets[1:])
    return texts[order], bags.weights[order], offsets


class BagStore:
    """The bags of a whole column: tokens (t,) int32 and counts (t,) uint16 on disk, offsets (n + 1,) in memory."""

    def __init__(self, folder: Path) -> None:
        self.offsets = np.fromfile(folder / "offsets", np.int64)
        self.lengths = np.fromfile(folder / "lengths", np.int64)  # (n,) tokens of each text, with repetitions
        self.tokens = memory_mapped(folder / "tokens", np.int32, int(self.offsets[-1]))
        self.counts = memory_mapped(folder / "counts", np.uint16, int(self.offsets[-1]))

    @classmethod
    def of(cls, column: Column, tokenise: Tokenise, vocabulary: int, *identity: Any) -> Self:
        """Return the column's bags, from the cache where the same texts were tokenised with the same `identity`.

        Errors: `InputError` naming the row of a text without any token.
        """
        return cls(cached_folder(("bags 3", *identity), column, lambda new: _write(new, column, tokenise, vocabulary)))

    def __len__(self) -> int:
        return len(self.lengths)

    def document_frequency(self, vocabulary: int) -> npt.NDArray[np.int64]:
        """Return how many texts hold each token, (vocabulary,)."""
        texts = np.zeros(vocabulary, np.int64)
        for start in range(0, len(self.tokens), COUNT_BLOCK):
            texts += np.bincount(self.tokens[start : start + COUNT_BLOCK], minlength=vocabulary)
        return texts

    def __getitem__(self, rows: Ids) -> Bags:
        start, size = self.offsets[rows], self.offsets[rows + 1] - self.offsets[rows]
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(size, out=offsets[1:])
        entries = ranges(start, size)  # (t,) of the rows' tokens and counts
        return Bags(
            torch.from_numpy(self.tokens[entries].astype(np.int64)),
            torch.from_numpy(term_frequencies(self.counts[entries], self.lengths[rows], size)),
            torch.from_numpy(offsets),
        )


def _write(folder: Path, column: Column, tokenise: Tokenise, vocabulary: int) -> None:
    lengths, sizes = [np.empty(0, np.int64)], [np.zeros(1, np.int64)]
    first = 0
    with (folder / "tokens").open("wb") as tokens, (folder / "counts").open("wb") as counts:
        for cells in chunks(column, 5_000):
            ids, length = tokenise(cells)
            if not length.all():
                row = int(np.argmin(length))
                raise missing_token_error(column.name, first + row, cells[row])
            distinct_ids, count, offsets = count_tokens(ids, length, vocabulary)
            distinct_ids.tofile(tokens)
            count.astype(np.uint16).tofile(counts)
            lengths.append(length)
            sizes.append(np.diff(offsets))
            first += len(cells)
    np.concatenate(sizes).cumsum().tofile(folder / "offsets")
    np.concatenate(lengths).tofile(folder / "lengths")
