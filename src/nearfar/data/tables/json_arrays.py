"""Readers of JSON arrays: one of all rows, and one a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from nearfar.data.tables.encodings import check_line_ends, first_bytes
from nearfar.data.tables.files import (
    LONGEST_ROW,
    NotTextError,
    RestartReadingError,
    explain_read_errors,
    first_line,
    line_blocks,
    open_bytes,
    text_lines,
)
from nearfar.data.tables.json_lines import table_from_rows, unique_names
from nearfar.data.tables.json_nesting import TOO_DEEP, deep_line
from nearfar.errors import InputError

LARGEST_ARRAY = 256 << 20  # bytes of a JSON array; all its rows are in memory at a time, many times its size


class JsonArray:
    """Reads a file that is one array of objects, all of it in memory at a time."""

    cache_key = "json array"

    def __init__(self, path: Path) -> None:
        self.path = path

    def tables(self) -> Iterator[pa.Table]:
        """Yield one table, or none for an empty array."""
        with open_bytes(self.path) as stream:
            data = stream.read(LARGEST_ARRAY + 1)
        if len(data) > LARGEST_ARRAY:
            raise InputError(
                f"{self.path}: the JSON array holds more than {LARGEST_ARRAY // 10**6} MB, and would be in memory as a "
                "whole; write one object a line (.jsonl), as jq -c .[] does"
            )
        if (deep := deep_line(data)) is not None:
            raise InputError(f"{self.path}: line {deep + 1} {TOO_DEEP}")
        rows = json.loads(data, object_pairs_hook=unique_names)
        if rows:
            yield table_from_rows(str(self.path), rows)

    def diagnose(self, error: Exception) -> InputError:
        """Return what is wrong, with its line where JSON itself is broken."""
        check_line_ends(self.path, first_bytes(self.path))  # of arrays of texts
        return InputError(f"{self.path}: is not a JSON array of objects ({first_line(error)}); repair it there")

    def lines(self) -> Iterator[int]:
        """Yield nothing: the rows of an array may share lines."""
        return iter(())


class ArrayLines:
    """Reads a file of one array of texts a line: query, key and, where there are more texts, negatives.

    The columns are "query", "key" and, where any line has negatives, "negative", lists of texts.
    """

    cache_key = "array lines"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._negatives = False

    def tables(self) -> Iterator[pa.Table]:
        """Yield tables of text columns."""
        line, row, more = 0, 0, False
        for block in line_blocks(self.path):
            if (deep := deep_line(block)) is not None:
                raise InputError(f"{self.path}: line {line + deep + 1} {TOO_DEEP}")
            texts = []
            for data in block.removesuffix(b"\n").split(b"\n"):
                line += 1
                if data.strip():
                    row += 1
                    texts.append(self._texts(data, row, line))
            more |= any(len(some) > 2 for some in texts)
            columns = {"query": [some[0] for some in texts], "key": [some[1] for some in texts]}
            arrays: dict[str, Any] = {name: pa.array(cells, pa.string()) for name, cells in columns.items()}
            if self._negatives:
                arrays["negative"] = pa.array([some[2:] for some in texts], pa.list_(pa.string()))
            yield pa.table(arrays)
        if more and not self._negatives:
            self._negatives = True
            raise RestartReadingError

    def _texts(self, data: bytes, row: int, line: int) -> list[str]:
        where = f"{self.path}: row {row} (line {line})"
        try:
            value: Any = json.loads(data)
        except UnicodeDecodeError as error:
            raise InputError(f"{where} {NotTextError(line, error, self.path)}") from error
        except ValueError as error:
            raise InputError(f"{where} is not one JSON array ({first_line(error)}); write one on each line") from error
        if not isinstance(value, list) or len(value) < 2 or not all(isinstance(text, str) for text in value):
            what = f"an array of {len(value)}" if isinstance(value, list) else "no array"
            raise InputError(
                f"{where} is {what}, where line 1 is an array of texts; write [query, key] or "
                "[query, key, negative, ...]"
            )
        return value

    def diagnose(self, error: Exception) -> InputError:
        """Return what is wrong: half a surrogate pair, as other errors name their line."""
        return InputError(f"{self.path}: cannot be read as an array of texts a line ({first_line(error)}); repair it")

    def lines(self) -> Iterator[int]:
        """Yield the line at which each row starts."""
        return (number for number, text in enumerate(text_lines(self.path), start=1) if text.strip())


def starts_with_texts(path: Path, head: bytes) -> bool:
    """Say whether the first line of a file that starts with an array is one of texts by itself, whole.

    head: the file's first bytes; a longer line is read.
    """
    first, end, _ = head.lstrip().partition(b"\n")
    if first[1:].lstrip().startswith(b"{"):
        return False
    if not end:
        with explain_read_errors(path), open_bytes(path) as stream:
            first = next((line for line in iter(lambda: stream.readline(LONGEST_ROW), b"") if line.strip()), b"")
    first = first.strip()
    if not first.endswith(b"]") or deep_line(first) is not None:
        return False
    try:
        value = json.loads(first)
    except ValueError:
        return False
    return isinstance(value, list) and bool(value) and not any(isinstance(cell, dict) for cell in value)
