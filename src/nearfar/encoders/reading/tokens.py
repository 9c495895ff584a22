"""Texts as token ids: the inputs of a transformer, and their store on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nearfar.column import Column, Ids, chunks, ranges
from nearfar.errors import InputError
from nearfar.storage.column_cache import cached_folder, memory_mapped

Tokenise = Callable[[Sequence[str]], tuple[npt.NDArray[np.int32], Ids]]  # texts to token ids (t,) and lengths (n,)


@dataclass(frozen=True)
class Tokens:
    """The token ids of n texts, one text after the other (t,), and the texts' bounds among them, (n + 1,) on the CPU.

    padded: whether the encoder pads the texts of a forward pass, so that each costs as many tokens as the longest.
    """

    ids: Tensor
    offsets: Ids
    padded: bool = False

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, rows: slice) -> Self:
        start, stop, _ = rows.indices(len(self))
        offsets = self.offsets[start : max(start, stop) + 1]
        return replace(self, ids=self.ids[offsets[0] : offsets[-1]], offsets=offsets - offsets[0])

    def join(self, others: Sequence[Tokens]) -> Self:
        """Return self followed by the others."""
        lengths = np.concatenate([self.costs(), *(other.costs() for other in others)])
        return self.of(torch.cat([self.ids, *(other.ids for other in others)]), lengths, padded=self.padded)

    def costs(self) -> npt.NDArray[np.int64]:
        """Return the number of tokens of each text, (n,)."""
        return np.diff(self.offsets)

    def to(self, device: Any) -> Self:
        """Return the same on another device."""
        return replace(self, ids=self.ids.to(device))

    @classmethod
    def of(cls, ids: Tensor, lengths: Ids, *, padded: bool = False) -> Self:
        """Return token ids (t,) of texts of these lengths (n,)."""
        return cls(ids, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), padded)

    @classmethod
    def trial(cls, longest: int | None) -> Self:
        """Return two texts, of at most three tokens and of one, on which an encoder can be tried."""
        lengths = np.array([min(3, longest or 3), 1])
        return cls.of(torch.zeros(int(lengths.sum()), dtype=torch.int64), lengths)


class TokenStore:
    """The token ids of a whole column: ids (t,) int32 on disk, offsets (n + 1,) in memory."""

    def __init__(self, folder: Path, *, padded: bool) -> None:
        self.offsets = np.fromfile(folder / "offsets", np.int64)
        self.ids = memory_mapped(folder / "ids", np.int32, int(self.offsets[-1]))
        self.padded = padded

    @classmethod
    def of(cls, column: Column, tokenise: Tokenise, *identity: Any, padded: bool) -> Self:
        """Return the column's tokens, from the cache where the same texts were tokenised with the same `identity`.

        Errors: `InputError` naming the row of a text without any token.
        """
        folder = cached_folder(("tokens 1", *identity), column, lambda new: _write(new, column, tokenise))
        return cls(folder, padded=padded)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, rows: Ids) -> Tokens:
        start, size = self.offsets[rows], self.offsets[rows + 1] - self.offsets[rows]
        ids = torch.from_numpy(self.ids[ranges(start, size)].astype(np.int64))
        return Tokens.of(ids, size, padded=self.padded)


def _write(folder: Path, column: Column, tokenise: Tokenise) -> None:
    lengths, first = [np.zeros(1, np.int64)], 0
    with (folder / "ids").open("wb") as file:
        for cells in chunks(column, 5_000):
            ids, length = tokenise(cells)
            if not length.all():
                row = int(np.argmin(length))
                raise missing_token_error(column.name, first + row, cells[row])
            ids.tofile(file)
            lengths.append(length)
            first += len(cells)
    np.concatenate(lengths).cumsum().tofile(folder / "offsets")


def missing_token_error(column: str, row: int, cell: str) -> InputError:
    """Return the error for a text without any token."""
    return InputError(
        f"column {column!r}, row {row + 1}: the tokenizer has no token for {cell[:40]!r}, so it has no vector; leave "
        "the row out, or take another tokenizer"
    )
