"""Vectors on disk, written in slices, aside and then renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from nearfar.column import Column
from nearfar.folders import made, writing
from nearfar.model import Model, Role

SLICE = 10_000


def write(out: Path, ids: list[str], texts: Column, model: Model, role: str | None) -> None:
    """Embed a column into a .npy (n, d) or .parquet (id, vector) file. Errors: those of `embed`; a full disk."""
    made(out.parent)
    handle, aside = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}-")
    os.close(handle)
    try:
        with writing(out):
            save = _npy if out.suffix == ".npy" else _parquet
            save(Path(aside), ids, model.dim, _slices(texts, model, cast("Role", role)))
            os.chmod(aside, 0o644)
            os.replace(aside, out)
    finally:
        Path(aside).unlink(missing_ok=True)


def _slices(texts: Column, model: Model, role: Role) -> Iterator[npt.NDArray[np.float32]]:
    for start in range(0, len(texts), SLICE):
        yield model.embed(texts.read(start, min(start + SLICE, len(texts))), role, first=start)


def _npy(path: Path, ids: list[str], dim: int, slices: Iterator[npt.NDArray[np.float32]]) -> None:
    vectors: Any = np.lib.format.open_memmap(path, "w+", np.float32, (len(ids), dim))
    start = 0
    for part in slices:
        vectors[start : start + len(part)] = part
        start += len(part)
    vectors.flush()


def _parquet(path: Path, ids: list[str], dim: int, slices: Iterator[npt.NDArray[np.float32]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("id", pa.string()), ("vector", pa.list_(pa.float32(), dim))])
    start = 0
    with pq.ParquetWriter(path, schema) as writer:
        for part in slices:
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), dim)
            writer.write_table(pa.table([pa.array(ids[start : start + len(part)]), vectors], schema=schema))
            start += len(part)
