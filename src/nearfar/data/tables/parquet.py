"""The reader of Parquet."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nearfar.data.tables.files import COMPRESSED, first_line, open_bytes
from nearfar.errors import InputError


class Parquet:
    """Reads one Parquet file; one that is compressed as a whole (a.parquet.gz) is decompressed in memory first."""

    cache_key = "parquet"

    def __init__(self, path: Path) -> None:
        self.path = path

    def tables(self) -> Iterator[pa.Table]:
        """Yield tables of at most 10,000 rows."""
        with open_bytes(self.path) as stream:  # Arrow's reader seeks, which a compressed stream cannot
            source = io.BytesIO(stream.read()) if self.path.suffix.lower() in COMPRESSED else stream
            for batch in pq.ParquetFile(source).iter_batches(10_000):
                yield _without_dictionaries(pa.Table.from_batches([batch]))

    def diagnose(self, error: Exception) -> InputError:
        """Return what is wrong; a damaged file has no rows to point at."""
        return InputError(f"{self.path}: is not a Parquet file, or damaged ({first_line(error)}); write it again")

    def line_of(self, row: int) -> None:
        """Return None: Parquet has no lines."""
        del row


def _without_dictionaries(table: pa.Table) -> pa.Table:
    """Return a table with dictionary columns as plain ones: the dictionaries may differ from batch to batch."""
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(field.type.value_type))
    return table
