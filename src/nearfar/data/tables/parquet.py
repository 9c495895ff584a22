"""The reader of Parquet."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nearfar.data.tables.cells import is_list
from nearfar.data.tables.files import COMPRESSED, LONGEST_ROW, check_width, first_line, open_bytes, too_long
from nearfar.data.tables.json_nesting import DEEPEST, TOO_DEEP
from nearfar.errors import InputError

LARGEST_PACKED = 512 << 20  # bytes of a Parquet file inside another compression, which is decompressed in memory
LARGEST_COLUMN = 4 << 30  # bytes of one column in a row group, which Arrow may decompress at once
MOST_ROWS = 1_000_000_000
_ROWS = 10_000  # of a batch
_NESTED_ROWS = 500  # of a batch with dictionaries inside lists or objects, which Arrow always writes out
_BATCH = 256 << 20  # bytes of a table that is yielded, dictionaries written out
_REPORTED = {  # what a page holds is decompressed at once, and real pages hold a megabyte
    "rows": f"more than {MOST_ROWS:,} rows, the most that are read",
    "column": f"more than {LARGEST_COLUMN // 10**9} GB of one column in one row group, the most that is read",
}


class Parquet:
    """Reads one Parquet file; one that is compressed as a whole (a.parquet.gz) is decompressed in memory first.

    A dictionary-coded column may stand for a thousand times its size, so its cells are measured before they are
    written out, and written out in parts.
    """

    cache_key = "parquet"

    def __init__(self, path: Path) -> None:
        self.path = path

    def tables(self) -> Iterator[pa.Table]:
        """Yield tables of at most 10,000 rows and about 268 MB.

        Errors: InputError for a file that stands for too many rows, and for a row, column or nesting that is too large.
        """
        with open_bytes(self.path) as stream:  # Arrow's reader seeks, which a compressed stream cannot
            source = self._unpacked(stream) if self.path.suffix.lower() in COMPRESSED else stream
            file = pq.ParquetFile(source)
            self._check(file.metadata)
            coded = _dictionary_coded(file.metadata)
            source.seek(0)
            start = 0
            nested = [path for path in coded if "." in path]
            plain = [path for path in coded if "." not in path]
            rows = _NESTED_ROWS if nested else _ROWS
            for batch in pq.ParquetFile(source, read_dictionary=plain).iter_batches(rows):
                yield from self._parts(pa.Table.from_batches([batch]), start)
                start += len(batch)

    def _unpacked(self, stream: Any) -> io.BytesIO:
        memory = io.BytesIO()
        while block := stream.read(1 << 20):
            memory.write(block)
            if memory.tell() > LARGEST_PACKED:
                raise InputError(
                    f"{self.path}: holds a Parquet file of more than {LARGEST_PACKED // 10**6} MB, and would be in "
                    f"memory as a whole; decompress it first: Parquet is compressed inside"
                )
        return memory

    def _check(self, metadata: Any) -> None:
        """Refuse what the file says of itself, before anything is decompressed."""
        leaves = (metadata.schema.column(i).path for i in range(metadata.num_columns))
        check_width(self.path, len({path.partition(".")[0] for path in leaves}))
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        columns = [group.column(i) for group in groups for i in range(group.num_columns)]
        too_much = {
            "rows": max(metadata.num_rows, sum(group.num_rows for group in groups)) > MOST_ROWS,
            "column": any(column.total_uncompressed_size > LARGEST_COLUMN for column in columns),
        }
        for what, found in too_much.items():
            if found:
                raise InputError(f"{self.path}: stands for {_REPORTED[what]}; write it in parts, or repair it")
        if any(column.path_in_schema.count(".") > 2 * DEEPEST for column in columns):
            raise InputError(f"{self.path}: a column {TOO_DEEP}")

    def _parts(self, table: pa.Table, start: int) -> Iterator[pa.Table]:
        """Yield the rows of a table, dictionaries written out, in tables of about `_BATCH` bytes."""
        sizes = np.zeros(len(table), np.int64)  # (n,) bytes of each row
        for column in table.columns:
            sizes += _sizes(pa.concat_arrays(column.chunks) if column.num_chunks != 1 else column.chunk(0))
        if len(sizes) and sizes.max() > LONGEST_ROW:
            raise too_long(self.path, f"row {start + int(sizes.argmax()) + 1}")
        parts = (np.cumsum(sizes) // _BATCH).tolist()  # (n,) ascending
        bounds = [0, *(i for i in range(1, len(parts)) if parts[i] != parts[i - 1]), len(table)]
        for low, high in pairwise(bounds):
            part = _without_dictionaries(table.slice(low, high - low))
            if _fault(part):
                row = next(i for i in range(len(part)) if _fault(part.take([i])))  # a slice has all nested cells
                raise InputError(
                    f"{self.path}: row {start + low + row + 1} has a bad cell ({_fault(part.take([row]))}); write text "
                    "as UTF-8, or copy the file again if it is damaged"
                )
            yield part

    def diagnose(self, error: Exception) -> InputError:
        """Return what is wrong; a damaged file has no rows to point at."""
        return InputError(f"{self.path}: is not a Parquet file, or damaged ({first_line(error)}); write it again")

    def lines(self) -> Iterator[int]:
        """Yield nothing: Parquet has no lines."""
        return iter(())


def _dictionary_coded(metadata: Any) -> list[str]:
    """Return the paths of the columns of text or bytes that have a dictionary in any row group."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    columns = [group.column(i) for group in groups for i in range(group.num_columns)]
    coded = (column for column in columns if column.physical_type == "BYTE_ARRAY")
    return sorted({column.path_in_schema for column in coded if any("DICTIONARY" in one for one in column.encodings)})


def _sizes(array: Any) -> Any:
    """Return the bytes of text in each cell of an array, (n,) int64, dictionaries written out.

    Errors: `pa.ArrowInvalid` for an index beyond the dictionary, as damaged files have.
    """
    kind = array.type
    if pa.types.is_dictionary(kind):
        of_value = np.append(_sizes(array.dictionary), 0)  # the last one for null
        places = pc.fill_null(array.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
        if len(places) and not -1 <= places.min() <= places.max() < len(of_value) - 1:
            raise pa.ArrowInvalid("a cell's index is beyond the dictionary")
        return of_value[places]
    if pa.types.is_struct(kind):
        return sum((_sizes(field) for field in array.flatten()), np.zeros(len(array), np.int64))
    if is_list(kind):
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
        ends = np.concatenate([[0], np.cumsum(_sizes(array.flatten()))])
        rows = np.concatenate([[0], np.cumsum(lengths)])
        return np.diff(ends[rows])
    try:
        lengths = pc.fill_null(pc.binary_length(array), 0)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):  # numbers, dates: some bytes each
        return np.full(len(array), 8, np.int64)
    return lengths.to_numpy(zero_copy_only=False).astype(np.int64)


def _fault(table: pa.Table) -> str | None:
    """Return what is wrong with a table's cells, such as bytes that are not UTF-8, which Arrow's reader leaves."""
    try:
        table.validate(full=True)
    except pa.ArrowInvalid as error:
        return first_line(error)
    return None


def _without_dictionaries(table: pa.Table) -> pa.Table:
    """Return a table with dictionary columns as plain ones: the dictionaries may differ from batch to batch."""
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(field.type.value_type))
    return table
