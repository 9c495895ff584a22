"""A column tokenised once: bags of tokens on disk, memory-mapped, read by row."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from nearfar.column import Column, Ids, chunks, content_ids
from nearfar.encoders._bags import Bags, distinct, shares
from nearfar.errors import InputError, RunError
from nearfar.fingerprint import fingerprint
from nearfar.folders import cache_folder, folder_aside
from nearfar.ragged import ranges

Tokenise = Callable[[Sequence[str]], tuple[npt.NDArray[np.int32], Ids]]
NOT_WHOLE = (OSError, ValueError, KeyError, TypeError)  # what a cache gives that is not there, or cut off
MOST_TOKENS = 65_535  # of a text: a count takes two bytes


class BagStore:
    """The bags of a whole column: tokens (t,) int32 and counts (t,) uint16 on disk, offsets (n + 1,) in memory."""

    def __init__(self, folder: Path) -> None:
        sizes = json.loads((folder / "sizes.json").read_text(encoding="utf-8"))
        self.offsets = np.fromfile(folder / "offsets", np.int64)
        self.lengths = np.fromfile(folder / "lengths", np.int64)  # tokens of each text, repeated ones too
        if len(self.offsets) != sizes["texts"] + 1 or len(self.lengths) != sizes["texts"]:
            raise OSError("offsets are cut off")
        self.tokens = _mapped(folder / "tokens", np.int32, sizes["tokens"])
        self.counts = _mapped(folder / "counts", np.uint16, sizes["tokens"])

    @classmethod
    def of(cls, column: Column, tokenise: Tokenise, vocabulary: int, *identity: Any) -> Self:
        """Return the column's bags, from the cache if it has been tokenised so before.

        Errors: `InputError` naming the row of a text without any token.
        """
        key = fingerprint("bags 2", *identity, content_ids(column))
        folder = cache_folder("tokens") / key
        with suppress(*NOT_WHOLE):
            return cls(folder)
        try:
            with folder_aside(folder) as aside:
                _write(aside, column, tokenise, vocabulary)
        except RunError:
            with suppress(*NOT_WHOLE):  # another run on the same data was first
                return cls(folder)
            raise
        return cls(folder)

    def __len__(self) -> int:
        return len(self.lengths)

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
                raise _no_token(column.name, done + int(np.argmin(length)), cells[int(np.argmin(length))])
            distinct_ids, count, offsets = distinct(ids, length, vocabulary)
            distinct_ids.tofile(tokens)
            count.astype(np.uint16).tofile(counts)
            lengths.append(length)
            sizes.append(np.diff(offsets))
            done += len(cells)
    ends = np.concatenate(sizes).cumsum()
    ends.tofile(folder / "offsets")
    np.concatenate(lengths).tofile(folder / "lengths")
    sizes_json = json.dumps({"texts": done, "tokens": int(ends[-1])})
    (folder / "sizes.json").write_text(sizes_json, encoding="utf-8")


def _no_token(column: str, row: int, cell: str) -> InputError:
    return InputError(
        f"column {column!r}, row {row + 1}: the tokenizer has no token for {cell[:40]!r}, so it has no vector; leave "
        "the row out, or take another tokenizer"
    )


def _mapped(path: Path, kind: type[np.generic], size: int) -> npt.NDArray[Any]:
    if path.stat().st_size != size * np.dtype(kind).itemsize:
        raise OSError(f"{path} is cut off")
    return np.memmap(path, kind, "r", shape=(size,)) if size else np.empty(0, kind)
