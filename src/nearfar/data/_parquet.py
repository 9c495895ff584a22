"""Parquet."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nearfar.data._open import PACKED, open_bytes
from nearfar.data._reader import first_line
from nearfar.errors import InputError


class Parquet:
    """Reads one Parquet file; one that is compressed as a whole is unpacked into memory first."""

    key = "parquet"

    def __init__(self, path: Path) -> None:
        self.path = path

    def tables(self) -> Iterator[pa.Table]:
        """Yield tables of at most 10,000 rows."""
        with open_bytes(self.path) as stream:  # a reader needs to jump, which only an unpacked file can
            source = io.BytesIO(stream.read()) if self.path.suffix.lower() in PACKED else stream
            for batch in pq.ParquetFile(source).iter_batches(10_000):
                yield _decoded(pa.Table.from_batches([batch]))

    def explain(self, error: Exception) -> InputError:
        """Return what is wrong; the format has no rows to point at before it is read."""
        return InputError(f"{self.path}: is not a Parquet file, or damaged ({first_line(error)}); write it again")

    def line(self, row: int) -> None:
        """Return None: Parquet has no lines."""
        del row


def _decoded(table: pa.Table) -> pa.Table:
    """Return dictionary columns as plain ones: dictionaries may differ from batch to batch."""
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(field.type.value_type))
    return table
