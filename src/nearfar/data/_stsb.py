"""The original files of the STS benchmark: TABs whatever their name says, no header, and rows of uneven length."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from nearfar.data._delimited import records
from nearfar.data._open import NotTextError
from nearfar.data._reader import first_line
from nearfar.errors import InputError

COLUMNS = ["genre", "file", "year", "id", "score", "sentence1", "sentence2"]  # sources may follow; they are not read


def is_stsb(head: bytes) -> bool:
    """Say whether a file starts like one of these: a year in the third field, a score of 0 to 5 in the fifth."""
    fields = head.split(b"\n", 1)[0].split(b"\t")
    try:
        return len(fields) >= len(COLUMNS) and fields[2][:4].isdigit() and 0 <= float(fields[4]) <= 5
    except ValueError:
        return False


class Stsb:
    """Reads one file of the STS benchmark."""

    key = "stsb"

    def __init__(self, path: Path) -> None:
        self.path = path

    def tables(self) -> Iterator[pa.Table]:
        """Yield one table of text columns: the largest of these files has 5,749 rows."""
        rows = [fields for _, fields in records(self.path, "\t")]
        if any(len(fields) < len(COLUMNS) for fields in rows):
            raise pa.ArrowInvalid("too few fields")
        yield pa.table({name: pa.array([row[i] for row in rows], pa.string()) for i, name in enumerate(COLUMNS)})

    def explain(self, error: Exception) -> InputError:
        """Return what is wrong, with its row and line."""
        row = 0
        try:
            for row, (line, fields) in enumerate(records(self.path, "\t"), start=1):
                if len(fields) < len(COLUMNS):
                    return InputError(
                        f"{self.path}: row {row} (line {line}) has {len(fields)} fields, an STS benchmark file has "
                        f"at least {len(COLUMNS)} ({', '.join(COLUMNS)}); repair the row"
                    )
        except NotTextError as found:
            return InputError(f"{self.path}: row {row + 1} (line {found.line}) {found}")
        return InputError(f"{self.path}: cannot be read as an STS benchmark file ({first_line(error)})")

    def line(self, row: int) -> int | None:
        """Return the line at which a row starts."""
        return next((line for i, (line, _) in enumerate(records(self.path, "\t")) if i == row), None)
