"""Readers of JSON (one object or array a line, or one array of objects), and tables made of dictionaries."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from numbers import Number
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pajson

from nearfar.coerce import LARGEST
from nearfar.column_names import repeated
from nearfar.data.tables.files import (
    NotTextError,
    RestartReadingError,
    check_width,
    first_line,
    line_blocks,
    text_lines,
)
from nearfar.data.tables.json_nesting import DEEPEST, TOO_DEEP, deep_line, depth, rows_in_one_object
from nearfar.errors import InputError

TOO_MANY_DIGITS = "holds a whole number of too many digits, which would be rounded; write it in quotation marks"
_EXACT = 2**53  # up to here a float holds every whole number
_MOST_DIGITS = 400  # no float has as many
_WHITE_SPACE = " \t\r\n"  # of JSON
_SPACES = re.compile(f"[{_WHITE_SPACE}]*")


class JsonLines:
    """Reads a file of one object a line."""

    cache_key = "json lines"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.schema = pa.schema([])  # widened until it fits every row

    def tables(self) -> Iterator[pa.Table]:
        """Yield tables of one schema: the narrowest that fits every row, so integers may become floats."""
        widened, lines, rows = False, 0, 0
        for chunk in line_blocks(self.path):
            if (deep := deep_line(chunk)) is not None:
                raise InputError(f"{self.path}: line {lines + deep + 1} {TOO_DEEP}")
            lines += chunk.count(b"\n")
            if not chunk.strip():
                continue
            table = _parse(self.path, chunk, self.schema)
            table.validate(full=True)  # Arrow's JSON parser accepts bytes that are not UTF-8
            _check_digits(self.path, chunk, table, rows)
            rows += table.num_rows
            if rows == 1 and (several := rows_in_one_object(table)):
                raise InputError(f"{self.path}: {several}")
            wider = pa.unify_schemas([self.schema, table.schema], promote_options="permissive")
            widened |= len(self.schema) > 0 and wider != self.schema  # read on, so as to restart only once
            self.schema = wider
            if not widened:
                yield table
        if widened:
            raise RestartReadingError

    def diagnose(self, error: Exception) -> InputError:
        """Return what is wrong, with its row and line."""
        columns = ColumnKinds()
        row = 0
        try:
            for line, text in enumerate(text_lines(self.path), start=1):
                if not text.strip(_WHITE_SPACE):
                    continue
                row += 1
                where = f"row {row} (line {line})"
                if problem := _problem(text, columns, where):
                    return InputError(f"{self.path}: {where}{problem}")
        except NotTextError as not_text:
            return InputError(f"{self.path}: row {row + 1} (line {not_text.line}) {not_text}")
        return InputError(f"{self.path}: cannot be read as JSON Lines ({first_line(error)}); write one object a line")

    def lines(self) -> Iterator[int]:
        """Yield the line at which each row starts."""
        return (number for number, text in enumerate(text_lines(self.path), start=1) if text.strip(_WHITE_SPACE))


def _parse(path: Path, chunk: bytes, known: pa.Schema) -> pa.Table:
    """Return some lines as a table of the known schema, or of an inferred one where the known does not fit."""
    source: Any = pa.BufferReader(chunk)
    try:
        table = pajson.read_json(
            source,
            pajson.ReadOptions(use_threads=False, block_size=len(chunk) + 1),
            pajson.ParseOptions(explicit_schema=known, newlines_in_values=False, unexpected_field_behavior="infer"),
        )
    except pa.ArrowInvalid:
        if not len(known):
            raise
        return _parse(path, chunk, pa.schema([]))
    check_width(path, table.num_columns)
    # Arrow parses "2020-01-01" as a timestamp, which prints otherwise than it was written.
    as_text = pa.schema([pa.field(field.name, _timestamps_as_text(field.type)) for field in table.schema])
    return table if as_text == table.schema else _parse(path, chunk, as_text)


def _check_digits(path: Path, chunk: bytes, table: pa.Table, start: int) -> None:
    """Raise InputError for a whole number that Arrow has rounded to a float, so that two ids would be one.

    chunk: the bytes of the table; start: how many rows stand before it.
    """
    rounded = {name: table.schema.field(name).type for name in table.column_names if _has_large(table[name])}
    if not rounded:
        return
    decoder, text, position = json.JSONDecoder(parse_int=_whole), chunk.decode(), 0
    for row in range(start + 1, start + len(table) + 1):
        cells, position = decoder.raw_decode(text, _SPACES.match(text, position).end())  # type: ignore[union-attr]
        for name, arrow_type in rounded.items():
            if _is_rounded(arrow_type, cells.get(name)):
                raise InputError(f"{path}: row {row}, column {name!r}: {TOO_MANY_DIGITS}")


def _has_large(array: Any) -> bool:
    """Return whether a column holds floats, at any depth, so large that not all whole numbers are among them."""
    if pa.types.is_floating(array.type):
        return (pc.max(pc.abs(array)).as_py() or 0) >= _EXACT
    if pa.types.is_list(array.type):
        return _has_large(pc.list_flatten(array))
    if pa.types.is_struct(array.type):
        return any(_has_large(pc.struct_field(array, [i])) for i in range(array.type.num_fields))
    return False


def _is_rounded(arrow_type: Any, cell: Any) -> bool:
    """Return whether a cell has a whole number that Arrow keeps as another one."""
    if pa.types.is_list(arrow_type):
        return isinstance(cell, list) and any(_is_rounded(arrow_type.value_type, inner) for inner in cell)
    if pa.types.is_struct(arrow_type):
        return isinstance(cell, dict) and any(_is_rounded(field.type, cell.get(field.name)) for field in arrow_type)
    whole = pa.types.is_floating(arrow_type) and isinstance(cell, int)
    return whole and abs(cell) > _EXACT and not _is_exact(cell)


def _whole(digits: str) -> int:
    return int(digits[:_MOST_DIGITS])  # Python refuses numbers of more than 4300


def _is_exact(number: int) -> bool:
    try:
        return float(number) == number
    except OverflowError:
        return False


def _timestamps_as_text(arrow_type: Any) -> Any:
    if pa.types.is_timestamp(arrow_type):
        return pa.string()
    if pa.types.is_list(arrow_type):
        return pa.list_(_timestamps_as_text(arrow_type.value_type))
    if pa.types.is_struct(arrow_type):
        return pa.struct([pa.field(field.name, _timestamps_as_text(field.type)) for field in arrow_type])
    return arrow_type


def _problem(text: str, columns: ColumnKinds, where: str) -> str | None:
    """Return what is wrong with one line, or None."""
    if deep_line(text.encode()) is not None:
        return f" {TOO_DEEP}"
    try:
        value = json.loads(text, object_pairs_hook=unique_names)
    except ValueError as error:
        return f" is not one JSON object ({first_line(error)}); write one complete object on each line"
    return columns.problem(value, where)


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; json's hook for one. Errors: ValueError for a name that occurs twice."""
    if (twice := repeated([name for name, _ in pairs])) is not None:
        raise ValueError(f"the name {twice[:60]!r} occurs twice")
    return dict(pairs)


def table_from_rows(where: str, rows: Sequence[Any]) -> pa.Table:
    """Return dictionaries as a table with a column for each name, in order of appearance.

    Errors: InputError, with the row, for a row that is no dictionary, mixed types in one column, text that is not
    Unicode. where: what the errors call the rows.
    """
    for number, row in enumerate(rows, start=1):
        if depth(row) > DEEPEST:
            raise InputError(f"{where}: row {number} {TOO_DEEP}")
    try:
        names = list(dict.fromkeys(name for row in rows for name in row.keys()))  # noqa: SIM118 (a list has no keys)
        check_width(where, len(names))
        return pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})
    except InputError:
        raise
    except (pa.ArrowException, AttributeError, TypeError, ValueError, OverflowError) as error:
        columns = ColumnKinds()
        for number, row in enumerate(rows, start=1):
            if problem := columns.problem(row, f"row {number}"):
                raise InputError(f"{where}: row {number}{problem}") from error
        raise InputError(f"{where}: the rows do not make a table ({str(error)[:200]}); use plain values") from error


class ColumnKinds:
    """Remembers the kind of value in each column, to name the first row that holds another."""

    def __init__(self) -> None:
        self.first: dict[str, tuple[str, str]] = {}  # by path: the kind of the first value, and where it is

    def problem(self, row: Any, where: str) -> str | None:
        """Return what is wrong with one row, or None. where: what errors call the row."""
        if not isinstance(row, dict):
            return f" is {_kind(row) or 'null'}, not an object with column names; write {{'column': value, ...}}"
        for name, cell in row.items():
            if not isinstance(name, str):
                return f": the column name {name!r} is not text; use a string"
            for path, kind, text in _values(name, cell):
                if isinstance(cell, int) and not -LARGEST <= cell < LARGEST:
                    return f", column {name!r}: {TOO_MANY_DIGITS}"
                if kind == "text" and _has_surrogate(path + text):
                    return f", column {name!r}: holds half a surrogate pair, which is no Unicode text; remove it"
                first, other = self.first.setdefault(path, (kind, where))
                if first != kind:
                    return f", column {path!r}: holds {kind} where {other} has {first}; give all rows one type"
        return None


def _values(path: str, cell: Any) -> Iterator[tuple[str, str, str]]:
    """Yield the path, the kind and the text of a cell and of all values inside it, except nulls, which fit anywhere."""
    kind = _kind(cell)
    if kind is None:
        return
    yield path, kind, cell if isinstance(cell, str) else ""
    if isinstance(cell, dict):
        for name, inner in cell.items():
            yield from _values(f"{path}.{name}", inner)
    elif isinstance(cell, list | tuple):
        for inner in cell:
            yield from _values(f"{path}[]", inner)


def _kind(cell: Any) -> str | None:
    if cell is None:
        return None
    kinds: list[tuple[type | tuple[type, ...], str]] = [
        (str, "text"),
        (bool, "true or false"),  # before numbers: Python counts it among them
        (Number, "a number"),
        ((list, tuple), "a list"),
        (dict, "an object"),
    ]
    return next((name for kind, name in kinds if isinstance(cell, kind)), type(cell).__name__)


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)
