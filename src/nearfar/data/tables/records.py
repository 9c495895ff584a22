"""The form of a delimited file, and its records read one after the other: slowly, with lines, for errors."""

from __future__ import annotations

import csv
import re
from collections.abc import Generator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nearfar.data.tables.files import LONGEST_ROW, text_lines

_SEP = re.compile(rb"sep=([^\r\n])\r?\n", re.IGNORECASE)  # a first line of Excel's, which names the delimiter


@dataclass(frozen=True)
class Form:
    """What parts the fields, whether quotation marks enclose cells, what escapes a mark, and a first line `sep=;`."""

    delimiter: str
    quoting: bool = True
    escape: str | None = None
    sep_line: bool = False

    @classmethod
    def of(cls, head: bytes, usual: str, delimiter: str | None, quoting: bool | None, escape: str | None) -> Form:
        """Return the form of a file that starts with `head`. usual: the delimiter where neither file nor user says one.

        Without `quoting`, marks enclose cells, but not between TABs, unless an escape is given.
        """
        sep = _SEP.match(head)
        said = usual if sep is None else sep[1].decode("utf-8", "replace")
        used = said if delimiter is None else delimiter
        return cls(used, (used != "\t" or escape is not None) if quoting is None else quoting, escape, sep is not None)

    @cached_property
    def quoted_cell(self) -> re.Pattern[bytes]:
        """The pattern of a cell in quotation marks, as Arrow reads it; its group is empty where no mark closes it."""
        mark = re.escape(self.delimiter.encode())
        inside = (
            rb"[^\"]++|\"\""
            if self.escape is None
            else rb"[^\"%b]++|\"\"|%b." % ((re.escape(self.escape.encode()),) * 2)
        )
        return re.compile(rb"(?:\A|(?<=[\r\n%b]))\"(?:%b)*+(\"?)" % (mark, inside), re.DOTALL)

    def escaped_mark(self, block: bytes) -> int | None:
        """Return the place of the first mark behind a backslash that ends a quoted cell in whose middle it stands."""
        if b'\\"' not in block:
            return None
        ends = (cell.end() for cell in self.quoted_cell.finditer(block) if cell[1])
        parts = (*b"\r\n", *self.delimiter.encode())
        return next(
            (end - 1 for end in ends if end < len(block) and block[end] not in parts and block[end - 2] == 92), None
        )

    def open_record(self, block: bytes) -> int | None:
        """Return where the record starts whose quotation mark is not closed, in a block that starts with a record."""
        if not self.quoting or b'"' not in block:
            return None
        spans = [(cell.start(), cell.end(), bool(cell[1])) for cell in self.quoted_cell.finditer(block)]
        if not spans or spans[-1][2]:
            return None
        ends = [0, *(end for _, end, _ in spans)]
        for i in range(len(spans) - 1, -1, -1):  # the line feed before the record is outside of all its quoted cells
            if (newline := block.rfind(b"\n", ends[i], spans[i][0])) >= 0:
                return newline + 1
        return 0


def read_records(path: Path, form: Form) -> Generator[tuple[int, list[str]], None, None]:
    """Yield the number of the first line and the fields of each record, slowly; blank lines are skipped.

    Errors: NotTextError and csv.Error, as they come; InputError for a line that is too long.
    """
    lines = text_lines(path)
    before = int(form.sep_line)
    for _ in range(before):
        next(lines, None)
    if not form.quoting:
        for number, line in enumerate(lines, start=1 + before):
            if text := line.rstrip("\r\n"):
                yield number, text.split(form.delimiter)
        return
    limit = csv.field_size_limit(LONGEST_ROW)
    try:
        reader = csv.reader(lines, delimiter=form.delimiter, escapechar=form.escape)
        end = before
        for fields in reader:
            start, end = end + 1, before + reader.line_num
            if fields:
                yield start, fields
    finally:
        csv.field_size_limit(limit)
