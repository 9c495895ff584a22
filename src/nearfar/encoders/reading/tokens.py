"""Texts as tokens: what a transformer eats, and a column of it on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nearfar.column import Column, Ids, chunks, content_ids, ranges
from nearfar.errors import InputError, RunError
from nearfar.storage.fingerprint import fingerprint
from nearfar.storage.folders import cache_folder, folder_aside

Tokenise = Callable[[Sequence[str]], tuple[npt.NDArray[np.int32], Ids]]
SIZES = "sizes.json"  # written last: the other files' sizes in bytes


@dataclass(frozen=True)
class Tokens:
    """The tokens of n texts, one text after the other (t,), and where each begins and ends, (n + 1,) on the CPU.

    padded: whether an encoder pads them to the longest, so that they cost that.
    """

    ids: Tensor
    offsets: Ids
    padded: bool = False

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, rows: slice) -> Tokens:
        start, stop, _ = rows.indices(len(self))
        offsets = self.offsets[start : max(start, stop) + 1]
        return Tokens(self.ids[offsets[0] : offsets[-1]], offsets - offsets[0], self.padded)

    def join(self, others: Sequence[Tokens]) -> Tokens:
        """Return these texts followed by the others."""
        lengths = np.concatenate([part.costs() for part in (self, *others)])
        return Tokens.of(torch.cat([self.ids, *(other.ids for other in others)]), lengths, padded=self.padded)

    def costs(self) -> npt.NDArray[np.int64]:
        """Return each text's number of tokens, (n,)."""
        return np.diff(self.offsets)

    def to(self, device: Any) -> Tokens:
        """Return the same on another device."""
        return Tokens(self.ids.to(device), self.offsets, self.padded)

    @classmethod
    def of(cls, ids: Tensor, lengths: Ids, *, padded: bool = False) -> Self:
        """Return tokens (t,) of texts of these lengths (n,)."""
        return cls(ids, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), padded)


class TokenStore:
    """The tokens of a whole column: ids (t,) int32 on disk, offsets (n + 1,) in memory."""

    def __init__(self, folder: Path, *, padded: bool) -> None:
        self.offsets = np.fromfile(folder / "offsets", np.int64)
        self.ids = mapped(folder / "ids", np.int32, int(self.offsets[-1]))
        self.padded = padded

    @classmethod
    def of(cls, column: Column, tokenise: Tokenise, *identity: Any, padded: bool) -> Self:
        """Return the column's tokens, from the cache if it has been tokenised so before.

        Errors: `InputError` naming the row of a text without any token.
        """
        folder = cached(("tokens 1", *identity), column, lambda aside: _write(aside, column, tokenise))
        return cls(folder, padded=padded)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, rows: Ids) -> Tokens:
        start, size = self.offsets[rows], self.offsets[rows + 1] - self.offsets[rows]
        ids = torch.from_numpy(self.ids[ranges(start, size)].astype(np.int64))
        return Tokens.of(ids, size, padded=self.padded)


def _write(folder: Path, column: Column, tokenise: Tokenise) -> None:
    lengths, done = [np.zeros(1, np.int64)], 0
    with (folder / "ids").open("wb") as file:
        for cells in chunks(column, 5_000):
            ids, length = tokenise(cells)
            if not length.all():
                raise missing_token(column.name, done + int(np.argmin(length)), cells[int(np.argmin(length))])
            ids.tofile(file)
            lengths.append(length)
            done += len(cells)
    np.concatenate(lengths).cumsum().tofile(folder / "offsets")


def cached(identity: tuple[Any, ...], column: Column, write: Callable[[Path], None], kind: str = "tokens") -> Path:
    """Return the folder of what `write` makes of a column; a folder that is cut off is made anew."""
    folder = cache_folder(kind) / fingerprint(*identity, content_ids(column))
    if _whole(folder):
        return folder
    try:
        with folder_aside(folder, again=folder.exists()) as aside:  # there, it is cut off
            write(aside)
            sizes = {path.name: path.stat().st_size for path in aside.iterdir()}
            (aside / SIZES).write_text(json.dumps(sizes), encoding="utf-8")
    except RunError:
        if _whole(folder):  # another run on the same data was first
            return folder
        raise
    return folder


def _whole(folder: Path) -> bool:
    try:
        sizes = json.loads((folder / SIZES).read_text(encoding="utf-8"))
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def mapped(path: Path, kind: type[np.generic], size: int) -> npt.NDArray[Any]:
    """Return a file of so many numbers, memory-mapped."""
    return np.memmap(path, kind, "r", shape=(size,)) if size else np.empty(0, kind)


def missing_token(column: str, row: int, cell: str) -> InputError:
    """Return the error for a text without any token."""
    return InputError(
        f"column {column!r}, row {row + 1}: the tokenizer has no token for {cell[:40]!r}, so it has no vector; leave "
        "the row out, or take another tokenizer"
    )
