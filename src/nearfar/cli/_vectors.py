"""Vectors on disk, written in slices, aside and then renamed."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nearfar.column import Column
from nearfar.folders import made, writing
from nearfar.model import Model, Role

SLICE = 10_000


def write(out: Path, ids: list[str], texts: Column, model: Model, role: Role) -> None:
    """Embed a column into a .npy (n, d) or .parquet (id, vector) file. Errors: those of `embed`; a full disk."""
    made(out.parent)
    handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}-")
    os.close(handle)
    aside = Path(name)
    try:
        with writing(out):
            save = _npy if out.suffix == ".npy" else _parquet
            save(aside, ids, model.dim, _slices(texts, model, role))
            aside.chmod(0o644)
            aside.replace(out)
    finally:
        aside.unlink(missing_ok=True)


def _slices(texts: Column, model: Model, role: Role) -> Iterator[npt.NDArray[np.float32]]:
    empty = 0
    for start in range(0, len(texts), SLICE):
        cells = texts.read(start, min(start + SLICE, len(texts)))
        full = np.array([bool(cell.strip()) for cell in cells])
        vectors = np.zeros((len(cells), model.dim), np.float32)
        vectors[full] = model.embed([cell for cell, there in zip(cells, full) if there], role)
        empty += int((~full).sum())
        yield vectors
    if empty:  # only in a BEIR corpus, where every document keeps its place
        warnings.warn(f"{empty:,} empty documents have a zero vector", stacklevel=2)


def _npy(path: Path, ids: list[str], dim: int, slices: Iterator[npt.NDArray[np.float32]]) -> None:
    with path.open("wb") as file:  # not memory-mapped: a full disk would kill the process instead of being an error
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(ids), dim)}
        np.lib.format.write_array_header_1_0(file, header)
        for part in slices:
            file.write(np.ascontiguousarray(part, "<f4").data)


def _parquet(path: Path, ids: list[str], dim: int, slices: Iterator[npt.NDArray[np.float32]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("id", pa.string()), ("vector", pa.list_(pa.float32(), dim))])
    start = 0
    with pq.ParquetWriter(path, schema) as writer:
        for part in slices:
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(part.ravel(), pa.float32()), dim)
            writer.write_table(pa.table([pa.array(ids[start : start + len(part)]), vectors], schema=schema))
            start += len(part)
