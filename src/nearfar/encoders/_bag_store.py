"""A column tokenised once: bags of tokens on disk, memory-mapped, read by row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from nearfar.column import Column, Ids, chunks
from nearfar.encoders._bags import Bags, distinct, shares
from nearfar.encoders._column_files import cached, mapped, no_token
from nearfar.ragged import ranges

Tokenise = Callable[[Sequence[str]], tuple[npt.NDArray[np.int32], Ids]]
COUNTED = 1 << 22  # tokens counted at once: numpy makes wide numbers of them first
MOST_TOKENS = 65_535  # of a text: a count takes two bytes


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
                raise no_token(column.name, done + int(np.argmin(length)), cells[int(np.argmin(length))])
            distinct_ids, count, offsets = distinct(ids, length, vocabulary)
            distinct_ids.tofile(tokens)
            count.astype(np.uint16).tofile(counts)
            lengths.append(length)
            sizes.append(np.diff(offsets))
            done += len(cells)
    ends = np.concatenate(sizes).cumsum()
    ends.tofile(folder / "offsets")
    np.concatenate(lengths).tofile(folder / "lengths")
