"""The reader of the original files of the STS benchmark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from nearfar.data.tables.files import NotTextError, first_line
from nearfar.data.tables.records import Form, read_records
from nearfar.errors import InputError

STSB_COLUMNS = ["genre", "file", "year", "id", "score", "sentence1", "sentence2"]  # more fields are ignored
_FORM = Form("\t", quoting=False)


class Stsb:
    """Reads one original file of the STS benchmark: TABs, no header."""

    cache_key = "stsb"

    def __init__(self, path: Path) -> None:
        self.path = path

    def tables(self) -> Iterator[pa.Table]:
        """Yield one table of text columns: the largest of these files has 5,749 rows."""
        rows = [fields for _, fields in read_records(self.path, _FORM)]
        if any(len(fields) < len(STSB_COLUMNS) for fields in rows):
            raise pa.ArrowInvalid("too few fields")
        yield pa.table({name: pa.array([row[i] for row in rows], pa.string()) for i, name in enumerate(STSB_COLUMNS)})

    def diagnose(self, error: Exception) -> InputError:
        """Return what is wrong, with its row and line."""
        row = 0
        try:
            for row, (line, fields) in enumerate(read_records(self.path, _FORM), start=1):
                if len(fields) < len(STSB_COLUMNS):
                    return InputError(
                        f"{self.path}: row {row} (line {line}) has {len(fields)} fields, an STS benchmark file has "
                        f"at least {len(STSB_COLUMNS)} ({', '.join(STSB_COLUMNS)}); repair the row"
                    )
        except NotTextError as problem:
            return InputError(f"{self.path}: row {row + 1} (line {problem.line}) {problem}")
        return InputError(f"{self.path}: cannot be read as an STS benchmark file ({first_line(error)})")

    def lines(self) -> Iterator[int]:
        """Yield the line at which each row starts."""
        return (line for line, _ in read_records(self.path, _FORM))


def is_stsb(head: bytes) -> bool:
    """Say whether a file starts like the STS benchmark: a year in the third field, a score of 0 to 5 in the fifth."""
    fields = head.split(b"\n", 1)[0].split(b"\t")
    try:
        return len(fields) >= len(STSB_COLUMNS) and fields[2][:4].isdigit() and 0 <= float(fields[4]) <= 5
    except ValueError:
        return False
