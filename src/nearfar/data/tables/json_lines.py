"""JSON Lines, and the JSON array of objects."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from numbers import Number
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json as pajson

from nearfar.data.tables.files import NotTextError, open_bytes, text_lines
from nearfar.data.tables.row_locator import AgainError, first_line
from nearfar.errors import InputError

_CHUNK = 8 << 20
_LONGEST_ROW = 1 << 30  # bytes; Arrow counts them in 31 bits
_BLANK = " \t\r\n"


class JsonLines:
    """Reads one object a line."""

    key = "json lines"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.schema = pa.schema([])  # grows until it fits every row

    def tables(self) -> Iterator[pa.Table]:
        """Yield tables of one schema: the smallest that holds every row, so integers may turn into floats."""
        learning = False
        with open_bytes(self.path) as stream:
            while chunk := stream.read(_CHUNK):
                chunk += stream.readline(_LONGEST_ROW)
                if not chunk.strip():
                    continue
                table = _parse(chunk, self.schema)
                table.validate(full=True)  # Arrow's JSON parser lets bytes through that are not UTF-8
                wider = pa.unify_schemas([self.schema, table.schema], promote_options="permissive")
                learning |= len(self.schema) > 0 and wider != self.schema  # read on, to start again only once
                self.schema = wider
                if not learning:
                    yield table
        if learning:
            raise AgainError

    def explain(self, error: Exception) -> InputError:
        """Return what is wrong, with its row and line."""
        kinds = Kinds()
        row = 0
        try:
            for line, text in enumerate(text_lines(self.path), start=1):
                if not text.strip(_BLANK):
                    continue
                row += 1
                place = f"row {row} (line {line})"
                if problem := _problem(text, kinds, place):
                    return InputError(f"{self.path}: {place}{problem}")
        except NotTextError as found:
            return InputError(f"{self.path}: row {row + 1} (line {found.line}) {found}")
        return InputError(f"{self.path}: cannot be read as JSON Lines ({first_line(error)}); write one object a line")

    def line(self, row: int) -> int | None:
        """Return the line at which a row starts."""
        full = (number for number, text in enumerate(text_lines(self.path), start=1) if text.strip(_BLANK))
        return next((number for i, number in enumerate(full) if i == row), None)


def _parse(chunk: bytes, known: pa.Schema) -> pa.Table:
    """Return some lines as a table of the known schema, or of their own where it does not fit them."""
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
        return _parse(chunk, pa.schema([]))
    # Arrow takes "2020-01-01" for a time, and what it gives back is not what was written.
    plain = pa.schema([pa.field(field.name, _timeless(field.type)) for field in table.schema])
    return table if plain == table.schema else _parse(chunk, plain)


def _timeless(kind: Any) -> Any:
    if pa.types.is_timestamp(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_timeless(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _timeless(field.type)) for field in kind])
    return kind


def _problem(text: str, kinds: Kinds, place: str) -> str | None:
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        return " is nested too deeply; flatten it"
    except ValueError as error:
        return f" is not one JSON object ({first_line(error)}); write one complete object on each line"
    return kinds.problem(value, place)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise ValueError(f"the name {twice[0]!r} is there twice")
    return dict(pairs)


class JsonArray:
    """Reads a file that is one array of objects; it is held in memory while it is read."""

    key = "json array"

    def __init__(self, path: Path) -> None:
        self.path = path

    def tables(self) -> Iterator[pa.Table]:
        """Yield one table, or none for an empty array."""
        with open_bytes(self.path) as stream:
            rows = json.loads(stream.read())
        if rows:
            yield table_of(str(self.path), rows)

    def explain(self, error: Exception) -> InputError:
        """Return what is wrong, with its line where JSON itself is broken."""
        return InputError(f"{self.path}: is not a JSON array of objects ({first_line(error)}); repair it there")

    def line(self, row: int) -> None:
        """Return None: the rows of an array have no lines of their own."""
        del row


def table_of(where: str, rows: Sequence[Any]) -> pa.Table:
    """Return dictionaries as a table whose columns are all their names, in order of appearance.

    Errors: a row that is no dictionary, mixed types in one column, text that is not Unicode: with the row.
    """
    try:
        names = list(dict.fromkeys(name for row in rows for name in row.keys()))  # noqa: SIM118 (a list has no keys)
        return pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})
    except (pa.ArrowException, AttributeError, TypeError, ValueError, OverflowError) as error:
        kinds = Kinds()
        for number, row in enumerate(rows, start=1):
            if problem := kinds.problem(row, f"row {number}"):
                raise InputError(f"{where}: row {number}{problem}") from error
        raise InputError(f"{where}: the rows do not make a table ({str(error)[:200]}); use plain values") from error


class Kinds:
    """Remembers what kind of value each column holds, to name the row that breaks it."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[str, str]] = {}

    def problem(self, row: Any, place: str) -> str | None:
        """Return what is wrong with one row, or None."""
        if not isinstance(row, dict):
            return f" is {_kind(row) or 'null'}, not an object with column names; write {{'column': value, ...}}"
        for name, cell in row.items():
            if not isinstance(name, str):
                return f": the column name {name!r} is not text; use a string"
            for path, kind, leaf in _leaves(name, cell):
                if kind == "text" and _surrogate(path + leaf):
                    return f", column {name!r}: holds half a surrogate pair, which is no Unicode text; remove it"
                before, where = self.seen.setdefault(path, (kind, place))
                if before != kind:
                    return f", column {path!r}: holds {kind} where {where} has {before}; give all rows one type"
        return None


def _leaves(path: str, cell: Any) -> Iterator[tuple[str, str, str]]:
    """Yield the path, the kind and the text of a cell and of what is inside it; nulls fit everywhere."""
    kind = _kind(cell)
    if kind is None:
        return
    yield path, kind, cell if isinstance(cell, str) else ""
    if isinstance(cell, dict):
        for name, inner in cell.items():
            yield from _leaves(f"{path}.{name}", inner)
    elif isinstance(cell, list | tuple):
        for inner in cell:
            yield from _leaves(f"{path}[]", inner)


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


def _surrogate(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)
