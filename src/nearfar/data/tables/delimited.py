"""The reader of delimited text: CSV and TSV.

Every cell is text, and in a file with TABs a quotation mark is a character like any other, unless the user says more.
Blocks of whole records are parsed in memory, one after the other: Arrow's own streaming reader leaves a thread behind
where a file is not read to its end, and such a thread can abort the process when it exits.
"""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from nearfar.column_names import repeated
from nearfar.data.tables.files import (
    LONGEST_ROW,
    NotTextError,
    check_width,
    first_line,
    line_blocks,
    line_of,
    too_long,
)
from nearfar.data.tables.records import Form, read_records
from nearfar.errors import InputError

_LIKELY = "\t;,|"  # what may part the fields of a file with one column
_QUOTED_NAME = re.compile(r'"[^"]+"')
# In real TSV files many a sentence stands in marks of its own; a writer that encloses cells doubles the marks inside.
_DOUBLED = r'^"(?:[^"]|"")*""(?:[^"]|"")*"$'
_WHOLE = r'^"(?:[^"]|"")*"$'
_NAME = re.compile(r"[\w\"'-][\w \"'.:/-]{0,60}")


class Delimited:
    """Reads a delimited file; its first record names the columns, unless `header` does.

    guessed: nobody has said what parts the fields.
    """

    def __init__(self, path: Path, form: Form, header: Sequence[str] | None, *, guessed: bool = False) -> None:
        self.path, self.form, self.header, self.guessed = path, form, header, guessed
        self.cache_key = repr((form.delimiter, form.quoting, form.escape, header, guessed))
        self._told = False  # of marks that a backslash escapes

    def names(self) -> list[str]:
        """Return the column names.

        Errors: InputError for a name that occurs twice, and for one that seems to be several parted by another mark.
        """
        with closing(read_records(self.path, self.form)) as first:
            names = list(self.header) if self.header is not None else next(first, (0, []))[1]
        check_width(self.path, len(names))
        names = [name.strip() or f"column_{i}" for i, name in enumerate(names, start=1)]
        if (twice := repeated(names)) is not None:
            raise InputError(f"{self.path}: line 1: column {twice[:60]!r} occurs twice; give each column its own name")
        if len(names) == 1 and self.guessed and self.header is None and (mark := _other_delimiter(names[0])):
            raise InputError(
                f"{self.path}: line 1: {mark!r} seems to part the fields of {names[0][:60]!r}: give "
                f"delimiter={mark!r}, or delimiter={self.form.delimiter!r} if it is one column"
            )
        return names

    def tables(self) -> Iterator[pa.Table]:
        """Yield tables of text columns."""
        names = self.names()
        skip, line = self.header is None, 1 + self.form.sep_line
        for records in self._whole_records():
            self._warn_of_escapes(records, line)
            line += records.count(b"\n")
            table = self._parse(records, names)
            if len(table):
                yield table.slice(1) if skip else table
                skip = False

    def _whole_records(self) -> Iterator[bytes]:
        """Yield blocks that end where a record does.

        Errors: InputError for a quotation mark that nothing closes, and a record of more than `LONGEST_ROW` bytes.
        """
        line, rest = 1, b""
        for i, block in enumerate(line_blocks(self.path)):
            if i == 0 and self.form.sep_line:
                block = block.partition(b"\n")[2]
                line += 1
            records = rest + block
            start = self.form.open_record(records)
            whole, rest = (records, b"") if start is None else (records[:start], records[start:])
            if whole:
                yield whole
                line += whole.count(b"\n")
            if len(rest) > LONGEST_ROW:
                raise too_long(self.path, f"line {line}: a cell that a quotation mark opens")
        if rest:
            escaped = b'\\"' in rest and self.form.escape is None
            fix = ", or escape='\\\\' if marks are written with a backslash" if escaped else ""
            raise InputError(
                f"{self.path}: line {line}: no quotation mark closes the cell that one opens, so it holds the rest of "
                f"the file; close it, double a mark inside a cell, or give quoting=false{fix}"
            )

    def _parse(self, records: bytes, names: list[str]) -> pa.Table:
        source: Any = pa.BufferReader(records)
        return pacsv.read_csv(
            source,
            pacsv.ReadOptions(use_threads=False, block_size=len(records) + 1, column_names=names),
            pacsv.ParseOptions(
                delimiter=self.form.delimiter,
                quote_char='"' if self.form.quoting else False,
                double_quote=self.form.quoting,
                escape_char=self.form.escape or False,
                newlines_in_values=self.form.quoting,
            ),
            # "NA" stays "NA" and "007" stays "007": text becomes a number only where a number is asked for.
            pacsv.ConvertOptions(
                column_types={name: pa.string() for name in names},
                strings_can_be_null=False,
                quoted_strings_can_be_null=False,
            ),
        )

    def diagnose(self, error: Exception) -> InputError:
        """Return what is wrong, with its row and line."""
        width = len(self.header) if self.header is not None else 0
        row, line = (0 if width else -1), 0
        try:
            for line, fields in read_records(self.path, self.form):
                row += 1
                width = width or len(fields)
                if len(fields) != width:
                    quoted = not self.form.quoting and fields[0].startswith('"')
                    return InputError(self._where(row, line) + self._wrong_count(len(fields), width, quoted))
                if any("\r" in field for field in fields) and not self.form.quoting:
                    return InputError(f"{self._where(row, line)} has a carriage return inside a cell; remove it")
        except NotTextError as problem:
            return InputError(f"{self._where(row + 1, problem.line)} {problem}")
        except csv.Error as problem:
            return InputError(f"{self._where(row + 1, line + 1)} cannot be read ({problem}); check its quotation marks")
        return InputError(f"{self.path}: cannot be read as a delimited file ({first_line(error)}); check its form")

    def _where(self, row: int, line: int) -> str:
        return f"{self.path}: {f'row {row}' if row > 0 else 'the header'} (line {line})"

    def _wrong_count(self, count: int, width: int, quoted: bool) -> str:
        delimiter = "TAB" if self.form.delimiter == "\t" else repr(self.form.delimiter)
        fix = (
            f"remove the extra {delimiter} or put the cell in quotation marks"
            if count > width
            else "add the missing fields, or check for a stray quotation mark or line break in a cell"
        )
        if not self.form.quoting:
            more = "; quoting=true reads quotation marks" if quoted else ""
            fix = f"each row needs {width - 1} {delimiter}s, and a cell holds neither {delimiter} nor line break{more}"
        return f" has {count} fields, the columns are {width}; {fix}"

    def lines(self) -> Iterator[int]:
        """Yield the line at which each row starts."""
        records = read_records(self.path, self.form)
        return (line for line, _ in islice(records, int(self.header is None), None))

    def warn_of_marks(self, table: pa.Table, head: bytes) -> None:
        """Warn of cells in quotation marks where quoting is off, and of marks that a backslash escapes.

        table: all rows; head: the file's first bytes.
        """
        if self.form.quoting:
            self._warn_of_escapes(head, 1)
            return
        for name in table.column_names:
            marked: Any = pc.match_substring_regex(
                table.column(name), _WHOLE if _QUOTED_NAME.fullmatch(name) else _DOUBLED
            )
            if pc.any(marked).as_py():
                row, count = pc.index(marked, True).as_py(), pc.sum(marked).as_py()
                warnings.warn(
                    f"{self._where(row + 1, line_of(self, row) or 0)}, column {name!r}: {count:,} cells seem to be in "
                    "quotation marks, which stay in the text; quoting=true takes them off, quoting=false says "
                    "that they are text",
                    stacklevel=2,
                )
                return

    def _warn_of_escapes(self, block: bytes, line: int) -> None:
        """Warn, once, of a quoted cell that ends at a mark behind a backslash, in a block that starts at a line."""
        if self._told or not self.form.quoting or self.form.escape is not None:
            return
        if (position := self.form.escaped_mark(block)) is not None:
            self._told = True
            line += block.count(b"\n", 0, position)
            row = sum(start <= line for start, _ in read_records(self.path, self.form)) - (self.header is None)
            warnings.warn(
                f"{self._where(row, line)}: a quotation mark seems to be escaped by a backslash, and is read as the "
                "end of its cell; escape='\\' reads it, quoting=false takes all marks for text",
                stacklevel=2,
            )


def _other_delimiter(name: str) -> str | None:
    """Return what seems to part a column's name into several, or None."""
    parts = ((mark, name.split(mark)) for mark in _LIKELY if mark in name)
    return next((mark for mark, some in parts if all(_NAME.fullmatch(part) for part in some)), None)
