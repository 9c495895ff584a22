"""Vectors in files: .npy or .parquet, written in slices, aside and then renamed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from nearfar.column import Column
from nearfar.errors import InputError, nearest
from nearfar.model import Model, Role
from nearfar.storage.folders import file_aside, made
from nearfar.vectors.embed import SLICE, embed_slices
from nearfar.vectors.quantize import BYTES, PRECISIONS, Precision, Ranges


@dataclass(frozen=True)
class VectorFormat:
    """How texts are embedded: by which model, in which role, to how many dimensions, in which precision."""

    model: Model
    role: Role
    dim: int
    precision: Precision
    ranges: Ranges | None

    @classmethod
    def of(
        cls, model: Model, role: Role, dim: int | None, precision: str, calibration: Column | Ranges | None
    ) -> VectorFormat:
        """Return a format that can be written.

        calibration: texts like those to come, or ranges that were found earlier.

        Errors: those of `embed`; a calibration that is missing or not needed.
        """
        if precision not in PRECISIONS:
            raise InputError(f"--precision {precision}: no such precision; {nearest(precision, PRECISIONS)}")
        if calibration is not None and precision not in BYTES:
            raise InputError(f"--calibration is for {' and '.join(BYTES)}, not {precision}; leave it out")
        if calibration is None and precision in BYTES:
            raise InputError(
                f"--precision {precision} needs --calibration FILE: some hundred texts like those to come, or the "
                ".ranges.npy of earlier vectors"
            )
        size = model.dim if dim is None else dim
        found = cls(model, role, size, cast("Precision", precision), None)
        return found if calibration is None else replace(found, ranges=found._ranges(calibration))

    def _ranges(self, calibration: Column | Ranges) -> Ranges:
        if isinstance(calibration, Ranges):
            return calibration
        cells = [cell for cell in calibration.read(0, min(len(calibration), SLICE)) if cell.strip()]
        return Ranges.of(self.model.embed(cells, self.role, dim=self.dim))

    def embed(self, cells: list[str]) -> npt.NDArray[Any]:
        """Return the vectors of some texts."""
        return self.model.embed(cells, self.role, dim=self.dim, precision=self.precision, calibration=self.ranges)

    def keep(self, out: Path) -> Path:
        """Write the ranges beside the vectors; return where."""
        assert self.ranges is not None
        path = out.with_name(f"{out.name}.ranges.npy")
        self.ranges.save(path)
        return path


def write_vectors(out: Path, ids: list[str], texts: Column, form: VectorFormat) -> None:
    """Embed a column into a .npy (n, d) or .parquet (id, vector) file. Errors: those of `embed`; a full disk."""
    made(out.parent)
    save = _npy if out.suffix == ".npy" else _parquet
    with file_aside(out) as aside:
        like = form.embed([])  # (0, d)
        save(aside, ids, like, _slices(texts, form, like))


def _slices(texts: Column, form: VectorFormat, like: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    empty = 0
    for _, full, found in embed_slices(form.embed, texts):
        vectors = np.zeros((len(full), like.shape[1]), like.dtype)
        if full.any():
            vectors[full] = found
        empty += int((~full).sum())
        yield vectors
    if empty:  # only in a BEIR corpus, where every document keeps its place
        warnings.warn(f"{empty:,} empty documents have a zero vector", stacklevel=2)


def _npy(path: Path, ids: list[str], like: npt.NDArray[Any], slices: Iterator[npt.NDArray[Any]]) -> None:
    with path.open("wb") as file:  # not memory-mapped: a full disk would kill the process instead of being an error
        little = like.dtype.newbyteorder("<")
        header = {"descr": little.str, "fortran_order": False, "shape": (len(ids), like.shape[1])}
        np.lib.format.write_array_header_1_0(file, header)
        for part in slices:
            file.write(np.ascontiguousarray(part, little).data)


def _parquet(path: Path, ids: list[str], like: npt.NDArray[Any], slices: Iterator[npt.NDArray[Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number, dim = pa.from_numpy_dtype(like.dtype), like.shape[1]
    schema = pa.schema([("id", pa.string()), ("vector", pa.list_(number, dim))])
    start = 0
    with pq.ParquetWriter(path, schema) as writer:
        for part in slices:
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(part.ravel(), number), dim)
            writer.write_table(pa.table([pa.array(ids[start : start + len(part)]), vectors], schema=schema))
            start += len(part)
