"""How deep JSON is nested, counted before it is parsed, and what one object holds that should be many."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

from nearfar.data.tables.cells import is_list
from nearfar.errors import listed

DEEPEST = 32  # levels of lists and objects in a row; Arrow has 64 for a schema, and a few hundred end the process
TOO_DEEP = f"is nested more than {DEEPEST} levels deep; flatten it"
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
_STEPS = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}


def deep_line(block: bytes) -> int | None:
    """Return the first line, from 0, that is nested too deeply; None if none is.

    Where each line seems to be a value by itself, only lines of many brackets are looked into; else a value may go over
    several lines, and all brackets are counted.
    """
    if block.count(b"[") + block.count(b"{") <= DEEPEST:
        return None
    lines = block.split(b"\n")
    if all(not line or (line[:1] in b"{[" and line[-1:] in b"}]") for line in map(bytes.strip, lines)):
        many = (i for i, line in enumerate(lines) if line.count(b"[") + line.count(b"{") > DEEPEST)
        return next((i for i in many if _too_deep(lines[i]) is not None), None)
    position = _too_deep(block)
    return None if position is None else block.count(b"\n", 0, position)


def _too_deep(text: bytes) -> int | None:
    level = 0
    for token in _TOKENS.finditer(text):
        level += _STEPS.get(token[0], 0)
        if level > DEEPEST:
            return token.start()
    return None


def depth(value: Any) -> int:
    """Return how many levels of lists and dictionaries a value has, at most one more than `DEEPEST`."""
    level, inner = 0, [value]
    while level <= DEEPEST:
        inner = [cell for cell in inner if isinstance(cell, dict | list | tuple)]
        if not inner:
            break
        level += 1
        inner = [cell for some in inner for cell in (some.values() if isinstance(some, dict) else some)]
    return level


def rows_in_one_object(table: pa.Table) -> str | None:
    """Return what a table of one row seems to be, where it holds many: columns, or rows under a name. Else None.

    Columns are two cells or more that are all lists, or all objects, of one length of at least 2.
    """
    types: list[Any] = table.schema.types
    names = table.column_names
    if table.num_rows != 1:
        return None
    if len(types) == 1 and is_list(types[0]) and pa.types.is_struct(types[0].value_type):
        one = names[0]
        return f"is one JSON object that holds rows as {one!r}; write one object a line, as jq -c '.{one}[]' does"
    if len(types) < 2 or not (all(map(is_list, types)) or all(map(pa.types.is_struct, types))):
        return None
    shown = listed([repr(name) for name in names])
    lengths = {len(cell or ()) for cell in table.to_pylist()[0].values()}
    if len(lengths) != 1 or min(lengths) < 2:
        return None
    return (
        f"is one JSON object of columns ({shown}, {lengths.pop()} cells each), not one object a row; "
        "write rows, as pandas.read_json(FILE).to_json('rows.jsonl', orient='records', lines=True) does"
    )
