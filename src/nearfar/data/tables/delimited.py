"""Readers of delimited text: CSV, TSV and the original files of the STS benchmark.

Every cell is text, and in a file with TABs a quotation mark is a character like any other.
"""

from __future__ import annotations

import csv
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv

from nearfar.data.tables.files import NotTextError, RestartReadingError, first_line, open_bytes, text_lines
from nearfar.errors import InputError

STSB_COLUMNS = ["genre", "file", "year", "id", "score", "sentence1", "sentence2"]  # more fields are ignored
_LONGEST_ROW = 1 << 30  # bytes; Arrow counts them in 31 bits
_FIRST_BLOCK = 8 << 20  # bytes that Arrow reads in one step; a row must fit into a block


class Delimited:
    """Reads a delimited file; its first record names the columns, unless `header` does."""

    def __init__(self, path: Path, delimiter: str, header: Sequence[str] | None) -> None:
        self.path, self.delimiter, self.header = path, delimiter, header
        self.cache_key = repr((delimiter, header))
        self.block = _FIRST_BLOCK

    def names(self) -> list[str]:
        """Return the column names. Errors: InputError for a name that occurs twice."""
        with closing(read_records(self.path, self.delimiter)) as first:
            names = list(self.header) if self.header is not None else next(first, (0, []))[1]
        names = [name.strip() or f"column_{i}" for i, name in enumerate(names, start=1)]
        twice = [name for i, name in enumerate(names) if name in names[:i]]
        if twice:
            raise InputError(f"{self.path}: line 1: column {twice[0]!r} occurs twice; give each column its own name")
        return names

    def tables(self) -> Iterator[pa.Table]:
        """Yield tables of text columns."""
        names = self.names()
        try:
            for i, table in enumerate(self._stream(names)):
                yield table.slice(1) if i == 0 and self.header is None else table
        except pa.ArrowInvalid as error:
            if "straddl" not in str(error) or self.block >= _LONGEST_ROW:
                raise
            self.block *= 8  # a row is longer than a block
            raise RestartReadingError from error

    def _stream(self, names: list[str]) -> Iterator[pa.Table]:
        quoted = self.delimiter != "\t"
        with open_bytes(self.path) as stream:
            reader = pacsv.open_csv(
                stream,
                pacsv.ReadOptions(use_threads=False, block_size=self.block, column_names=names),
                pacsv.ParseOptions(
                    delimiter=self.delimiter,
                    quote_char='"' if quoted else False,
                    double_quote=quoted,
                    newlines_in_values=quoted,
                ),
                # "NA" stays "NA" and "007" stays "007": text becomes a number only where a number is asked for.
                pacsv.ConvertOptions(
                    column_types={name: pa.string() for name in names},
                    strings_can_be_null=False,
                    quoted_strings_can_be_null=False,
                ),
            )
            for batch in reader:
                yield pa.Table.from_batches([batch])

    def diagnose(self, error: Exception) -> InputError:
        """Return what is wrong, with its row and line."""
        width = len(self.header) if self.header is not None else 0
        row, line = (0 if width else -1), 0
        try:
            for line, fields in read_records(self.path, self.delimiter):
                row += 1
                width = width or len(fields)
                if len(fields) != width:
                    return InputError(self._where(row, line) + self._wrong_count(len(fields), width))
                if any("\r" in field for field in fields) and self.delimiter == "\t":
                    return InputError(f"{self._where(row, line)} has a carriage return inside a cell; remove it")
        except NotTextError as problem:
            return InputError(f"{self._where(row + 1, problem.line)} {problem}")
        except csv.Error as problem:
            return InputError(f"{self._where(row + 1, line + 1)} cannot be read ({problem}); check its quotation marks")
        return InputError(f"{self.path}: cannot be read as a delimited file ({first_line(error)}); check its form")

    def _where(self, row: int, line: int) -> str:
        return f"{self.path}: {f'row {row}' if row > 0 else 'the header'} (line {line})"

    def _wrong_count(self, count: int, width: int) -> str:
        delimiter = "TAB" if self.delimiter == "\t" else repr(self.delimiter)
        fix = (
            f"remove the extra {delimiter} or put the cell in quotation marks"
            if count > width
            else "add the missing fields, or check for a stray quotation mark or line break in a cell"
        )
        if self.delimiter == "\t":
            fix = f"each row needs {width - 1} TABs, and a cell holds neither TAB nor line break"
        return f" has {count} fields, the columns are {width}; {fix}"

    def line_of(self, row: int) -> int | None:
        """Return the line at which a row starts."""
        record = row + (self.header is None)
        return next((line for i, (line, _) in enumerate(read_records(self.path, self.delimiter)) if i == record), None)


class Stsb:
    """Reads one original file of the STS benchmark: TABs, no header."""

    cache_key = "stsb"

    def __init__(self, path: Path) -> None:
        self.path = path

    def tables(self) -> Iterator[pa.Table]:
        """Yield one table of text columns: the largest of these files has 5,749 rows."""
        rows = [fields for _, fields in read_records(self.path, "\t")]
        if any(len(fields) < len(STSB_COLUMNS) for fields in rows):
            raise pa.ArrowInvalid("too few fields")
        yield pa.table({name: pa.array([row[i] for row in rows], pa.string()) for i, name in enumerate(STSB_COLUMNS)})

    def diagnose(self, error: Exception) -> InputError:
        """Return what is wrong, with its row and line."""
        row = 0
        try:
            for row, (line, fields) in enumerate(read_records(self.path, "\t"), start=1):
                if len(fields) < len(STSB_COLUMNS):
                    return InputError(
                        f"{self.path}: row {row} (line {line}) has {len(fields)} fields, an STS benchmark file has "
                        f"at least {len(STSB_COLUMNS)} ({', '.join(STSB_COLUMNS)}); repair the row"
                    )
        except NotTextError as problem:
            return InputError(f"{self.path}: row {row + 1} (line {problem.line}) {problem}")
        return InputError(f"{self.path}: cannot be read as an STS benchmark file ({first_line(error)})")

    def line_of(self, row: int) -> int | None:
        """Return the line at which a row starts."""
        return next((line for i, (line, _) in enumerate(read_records(self.path, "\t")) if i == row), None)


def is_stsb(head: bytes) -> bool:
    """Say whether a file starts like the STS benchmark: a year in the third field, a score of 0 to 5 in the fifth."""
    fields = head.split(b"\n", 1)[0].split(b"\t")
    try:
        return len(fields) >= len(STSB_COLUMNS) and fields[2][:4].isdigit() and 0 <= float(fields[4]) <= 5
    except ValueError:
        return False


def read_records(path: Path, delimiter: str) -> Generator[tuple[int, list[str]], None, None]:
    """Yield the number of the first line and the fields of each record, slowly; blank lines are skipped.

    Errors: NotTextError and csv.Error, as they come.
    """
    lines = text_lines(path)
    if delimiter == "\t":
        for number, line in enumerate(lines, start=1):
            if text := line.rstrip("\r\n"):
                yield number, text.split(delimiter)
        return
    limit = csv.field_size_limit(_LONGEST_ROW)
    try:
        reader = csv.reader(lines, delimiter=delimiter)
        end = 0
        for fields in reader:
            start, end = end + 1, reader.line_num
            if fields:
                yield start, fields
    finally:
        csv.field_size_limit(limit)
