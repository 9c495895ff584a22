"""Write the vectors of a column of texts to a .npy or .parquet file, one slice after the other."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from nearfar.column import Column, is_empty
from nearfar.contracts import Role
from nearfar.errors import InputError, nearest
from nearfar.model import Model
from nearfar.storage.folders import write_file_atomically
from nearfar.vectors.embed import SLICE, embed_slices
from nearfar.vectors.quantize import BYTES, PRECISIONS, Precision, Ranges


@dataclass(frozen=True)
class VectorFormat:
    """How texts are embedded: by which model, in which role, to how many dimensions, in which precision."""

    model: Model
    role: Role | None
    dim: int
    precision: Precision
    ranges: Ranges | None

    @classmethod
    def of(
        cls, model: Model, role: Role | None, dim: int | None, precision: str, calibration: Column | Ranges | None
    ) -> VectorFormat:
        """Return a checked format, with the ranges of its quantization where the precision needs them.

        calibration: texts like those to come, or the ranges of earlier vectors.

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
        form = cls(model, role, size, cast("Precision", precision), None)
        return form if calibration is None else replace(form, ranges=form._ranges(calibration))

    def _ranges(self, calibration: Column | Ranges) -> Ranges:
        if isinstance(calibration, Ranges):
            return calibration
        cells = [cell for cell in calibration.read(0, min(len(calibration), SLICE)) if not is_empty(cell)]
        return Ranges.of(self.model.embed(cells, self.role, dim=self.dim))

    def embed(self, cells: list[Any]) -> npt.NDArray[Any]:
        """Return the vectors (n, d) of n cells."""
        return self.model.embed(cells, self.role, dim=self.dim, precision=self.precision, calibration=self.ranges)

    def keep(self, out: Path) -> Path:
        """Write the ranges beside the file of vectors, to OUT.ranges.npy; return that path."""
        assert self.ranges is not None
        path = out.with_name(f"{out.name}.ranges.npy")
        self.ranges.save(path)
        return path


def write_vectors(out: Path, ids: list[str], texts: Column, form: VectorFormat) -> None:
    """Embed a column into a .npy (n, d) or .parquet (id, vector) file, which appears only once it is complete.

    Errors: those of `embed`; a full disk.
    """
    save = _npy if out.suffix == ".npy" else _parquet
    with write_file_atomically(out) as aside:
        prototype = form.embed([])  # (0, d), of the type that is written
        save(aside, ids, prototype, _slices(texts, form, prototype))


def _slices(texts: Column, form: VectorFormat, prototype: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """Yield the vectors of the column, slice by slice; an empty text has a zero vector."""
    empty = 0
    for _, embedded, vectors in embed_slices(form.embed, texts):
        rows = np.zeros((len(embedded), prototype.shape[1]), prototype.dtype)
        if embedded.any():
            rows[embedded] = vectors
        empty += int((~embedded).sum())
        yield rows
    if empty:  # only in a BEIR corpus, where every document keeps its place
        warnings.warn(f"{empty:,} empty documents have a zero vector", stacklevel=2)


def _npy(path: Path, ids: list[str], prototype: npt.NDArray[Any], slices: Iterator[npt.NDArray[Any]]) -> None:
    with path.open("wb") as file:  # not memory-mapped: a full disk would kill the process instead of being an error
        little_endian = prototype.dtype.newbyteorder("<")
        header = {"descr": little_endian.str, "fortran_order": False, "shape": (len(ids), prototype.shape[1])}
        np.lib.format.write_array_header_1_0(file, header)
        for vectors in slices:
            file.write(np.ascontiguousarray(vectors, little_endian).data)


def _parquet(path: Path, ids: list[str], prototype: npt.NDArray[Any], slices: Iterator[npt.NDArray[Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number, dim = pa.from_numpy_dtype(prototype.dtype), prototype.shape[1]
    schema = pa.schema([("id", pa.string()), ("vector", pa.list_(number, dim))])
    start = 0
    with pq.ParquetWriter(path, schema) as writer:
        for part in slices:
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(part.ravel(), number), dim)
            writer.write_table(pa.table([pa.array(ids[start : start + len(part)]), vectors], schema=schema))
            start += len(part)
