"""Bags of tokens: distinct tokens with their counts as weights, and the sum of their vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from nearfar.encoders.reading.tokens import cached, mapped, missing_token

Tokenise = Callable[[Sequence[str]], tuple[npt.NDArray[np.int32], Ids]]
COUNTED = 1 << 22  # tokens counted at once: numpy makes wide numbers of them first
MOST_TOKENS = 65_535  # of a text: a count takes two bytes


@dataclass(frozen=True)
class Bags:
    """n texts as bags: `tokens[offsets[i]:offsets[i + 1]]` are the distinct tokens of text i, `weights` their shares.

    tokens: (t,) int64; weights: (t,) float32, summing to one over a text; offsets: (n + 1,) int64.
    """

    tokens: Tensor
    weights: Tensor
    offsets: Tensor

    @classmethod
    def of(cls, ids: npt.NDArray[np.integer[Any]], lengths: npt.NDArray[np.int64], vocabulary: int) -> Self:
        """Count the tokens of texts: ids (t,) one text after the other, lengths (n,)."""
        tokens, counts, offsets = distinct(ids, lengths, vocabulary)
        weights = shares(counts, lengths, np.diff(offsets))
        return cls(torch.from_numpy(tokens.astype(np.int64)), torch.from_numpy(weights), torch.from_numpy(offsets))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, rows: slice) -> Self:
        start, stop, step = rows.indices(len(self))
        assert step == 1, "bags are sliced without a step"
        offsets = self.offsets[start : max(start, stop) + 1]
        part = slice(int(offsets[0]), int(offsets[-1]))
        return type(self)(self.tokens[part], self.weights[part], offsets - offsets[0])

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


def distinct(
    ids: npt.NDArray[np.integer[Any]], lengths: npt.NDArray[np.int64], vocabulary: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return each text's distinct tokens (t,), how often each occurs (t,), and offsets (n + 1,)."""
    text = np.repeat(np.arange(len(lengths)), lengths)
    cells, counts = np.unique(text * vocabulary + ids, return_counts=True)
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(np.bincount(cells // vocabulary, minlength=len(lengths)), out=offsets[1:])
    return (cells % vocabulary).astype(np.int32), counts, offsets


def shares(
    counts: npt.NDArray[np.integer[Any]], lengths: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Return counts (t,) over the lengths (n,) of the texts they belong to; sizes (n,): distinct tokens of each."""
    weights: npt.NDArray[np.float32] = (counts / np.repeat(lengths, sizes)).astype(np.float32)
    return weights


def bag_sum(table: Tensor, bags: Bags) -> Tensor:
    """Return the weighted sum of each bag's rows of the table (v, d): (n, d)."""
    if table.device.type == "cpu" and table.requires_grad and torch.is_grad_enabled():
        vectors: Tensor = _BagSum.apply(table, bags)
        return vectors
    return _sum(table, bags.tokens, bags.weights, bags.offsets)


def _sum(table: Tensor, tokens: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
    weights = weights.to(table.dtype)
    return embedding_bag(tokens, table, offsets, mode="sum", per_sample_weights=weights, include_last_offset=True)


class _BagSum(torch.autograd.Function):
    """torch's own backward pass of a bag adds row by row and takes three quarters of a training step on a CPU.

    The gradient of a table's row is itself a bag: the weighted sum of the gradients of the texts that hold the token.
    So the way back is the same fast sum over the transposed bags (8 times faster here, equal to the last bit).
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, bags: Bags) -> Tensor:
        ctx.bags, ctx.vocabulary = bags, len(table)
        return _sum(table.detach(), bags.tokens, bags.weights, bags.offsets)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        texts, weights, offsets = transposed(ctx.bags, ctx.vocabulary)
        return _sum(grads[0].contiguous(), texts, weights, offsets), None


def transposed(bags: Bags, vocabulary: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return, for each token of the vocabulary, the texts that hold it, with weights: a bag a token."""
    ids = bags.tokens.numpy()
    short = ids.astype(np.uint16) if vocabulary <= 1 << 16 else ids  # numpy sorts 16 bits by radix, ten times faster
    order = torch.from_numpy(np.argsort(short, kind="stable"))
    texts = torch.repeat_interleave(torch.arange(len(bags)), bags.offsets.diff())
    offsets = torch.zeros(vocabulary + 1, dtype=torch.int64)
    torch.cumsum(torch.bincount(bags.tokens, minlength=vocabulary), 0, out=offsets[1:])
    return texts[order], bags.weights[order], offsets


class BagStore:
    """The bags of a whole column: tokens (t,) int32 and counts (t,) uint16 on disk, offsets (n + 1,) in memory."""

    def __init__(self, folder: Path) -> None:
        self.offsets = np.fromfile(folder / "offsets", np.int64)
        self.lengths = np.fromfile(folder / "lengths", np.int64)  # tokens of each text, repeated ones too
        self.tokens = mapped(folder / "tokens", np.int32, int(self.offsets[-1]))
        self.counts = mapped(folder / "counts", np.uint16, int(self.offsets[-1]))

    @classmethod
    def of(cls, column: Column, tokenise: Tokenise, vocabulary: int, *identity: Any) -> Self:
        """Return the column's bags, from the cache if it has been tokenised so before.

        Errors: `InputError` naming the row of a text without any token.
        """
        return cls(cached(("bags 3", *identity), column, lambda aside: _write(aside, column, tokenise, vocabulary)))

    def __len__(self) -> int:
        return len(self.lengths)

    def held(self, size: int) -> npt.NDArray[np.int64]:
        """Return how many texts hold each token, (size,)."""
        found = np.zeros(size, np.int64)
        for start in range(0, len(self.tokens), COUNTED):
            found += np.bincount(self.tokens[start : start + COUNTED], minlength=size)
        return found

    def __getitem__(self, rows: Ids) -> Bags:
        start, size = self.offsets[rows], self.offsets[rows + 1] - self.offsets[rows]
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(size, out=offsets[1:])
        place = ranges(start, size)  # (t,)
        return Bags(
            torch.from_numpy(self.tokens[place].astype(np.int64)),
            torch.from_numpy(shares(self.counts[place], self.lengths[rows], size)),
            torch.from_numpy(offsets),
        )


def _write(folder: Path, column: Column, tokenise: Tokenise, vocabulary: int) -> None:
    lengths, sizes = [np.empty(0, np.int64)], [np.zeros(1, np.int64)]
    done = 0
    with (folder / "tokens").open("wb") as tokens, (folder / "counts").open("wb") as counts:
        for cells in chunks(column, 5_000):
            ids, length = tokenise(cells)
            if not length.all():
                raise missing_token(column.name, done + int(np.argmin(length)), cells[int(np.argmin(length))])
            distinct_ids, count, offsets = distinct(ids, length, vocabulary)
            distinct_ids.tofile(tokens)
            count.astype(np.uint16).tofile(counts)
            lengths.append(length)
            sizes.append(np.diff(offsets))
            done += len(cells)
    ends = np.concatenate(sizes).cumsum()
    ends.tofile(folder / "offsets")
    np.concatenate(lengths).tofile(folder / "lengths")
