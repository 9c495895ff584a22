"""A column tokenised once: bags of tokens on disk, memory-mapped, read by row."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from nearfar.column import Column, Ids, chunks, content_ids
from nearfar.encoders._bags import Bags, distinct
from nearfar.folders import cache_folder, sync_folder
from nearfar.ragged import ranges
from nearfar.fingerprint import fingerprint

Tokenise = Callable[[Sequence[str]], tuple[npt.NDArray[np.int32], Ids]]


class BagStore:
    """The bags of a whole column: tokens (t,) int32 and counts (t,) uint16 on disk, offsets (n + 1,) in memory."""

    def __init__(self, folder: Path) -> None:
        sizes = json.loads((folder / "sizes.json").read_text())
        self.offsets = np.fromfile(folder / "offsets", np.int64)
        self.lengths = np.fromfile(folder / "lengths", np.int32)  # tokens of each text, repeated ones too
        if len(self.offsets) != sizes["texts"] + 1 or len(self.lengths) != sizes["texts"]:
            raise OSError("offsets are cut off")
        self.tokens = _mapped(folder / "tokens", np.int32, sizes["tokens"])
        self.counts = _mapped(folder / "counts", np.uint16, sizes["tokens"])

    @classmethod
    def of(cls, column: Column, tokenise: Tokenise, vocabulary: int, *identity: Any) -> Self:
        """Return the column's bags, from the cache if it has been tokenised so before."""
        key = fingerprint("bags 1", *identity, content_ids(column))
        folder = cache_folder("tokens") / key
        try:
            return cls(folder)
        except (OSError, ValueError, KeyError):  # not there, or cut off: made anew
            cls._write(folder, column, tokenise, vocabulary)
        return cls(folder)

    @staticmethod
    def _write(folder: Path, column: Column, tokenise: Tokenise, vocabulary: int) -> None:
        aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".tokens-"))
        try:
            with open(aside / "tokens", "wb") as tokens, open(aside / "counts", "wb") as counts:
                lengths, sizes = [], []
                for cells in chunks(column, 5_000):
                    ids, length = tokenise(cells)
                    distinct_ids, count, offsets = distinct(ids, length, vocabulary)
                    distinct_ids.tofile(tokens)
                    np.minimum(count, 65_535).astype(np.uint16).tofile(counts)
                    lengths.append(length.astype(np.int32))
                    sizes.append(np.diff(offsets))
            ends = np.concatenate([np.zeros(1, np.int64), *sizes]).cumsum()
            ends.tofile(aside / "offsets")
            np.concatenate([np.empty(0, np.int32), *lengths]).tofile(aside / "lengths")
            (aside / "sizes.json").write_text(json.dumps({"texts": len(ends) - 1, "tokens": int(ends[-1])}))
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(aside, folder)
            sync_folder(folder.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, rows: Ids) -> Bags:
        start, size = self.offsets[rows], self.offsets[rows + 1] - self.offsets[rows]
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(size, out=offsets[1:])
        place = ranges(start, size)  # (t,)
        share = np.repeat(1.0 / np.maximum(self.lengths[rows], 1), size)
        return Bags(
            torch.from_numpy(self.tokens[place].astype(np.int64)),
            torch.from_numpy((self.counts[place] * share).astype(np.float32)),
            torch.from_numpy(offsets),
        )


def _mapped(path: Path, kind: type[np.generic], size: int) -> npt.NDArray[Any]:
    if path.stat().st_size != size * np.dtype(kind).itemsize:
        raise OSError(f"{path} is cut off")
    return np.memmap(path, kind, "r", shape=(size,)) if size else np.empty(0, kind)
