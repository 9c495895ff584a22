"""Filters: conditions on the fields of a row, written `year >= 2020 and lang = 'de'`, as a tree that backends compile.

A row without a value of a field meets no comparison with it, and `not` turns that around, so each condition is either
met or not: `not lang = 'de'` is met by a row without lang. Texts compare by code points, case and all.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, assert_never

from nearfar.coerce import LARGEST
from nearfar.errors import InputError, nearest
from nearfar.index.rows import KINDS, Kind, Kinds, Value
from nearfar.printable import is_encodable

Operator = Literal["=", "!=", "<", "<=", ">", ">="]


@dataclass(frozen=True)
class Compare:
    """A field compared with a value; only "=" and "!=" for booleans. Not met where the field has no value."""

    field: str
    operator: Operator
    value: str | int | float | bool


@dataclass(frozen=True)
class OneOf:
    """A field is one of several values: `lang in ('de', 'fr')`. Not met where the field has no value."""

    field: str
    values: tuple[str | int | float | bool, ...]


@dataclass(frozen=True)
class StartsWith:
    """A text begins with other text, case and all: `file starts with 'docs/'`. Not met where it has no value."""

    field: str
    start: str


@dataclass(frozen=True)
class Missing:
    """A field has no value: `lang is missing`."""

    field: str


@dataclass(frozen=True)
class Not:
    """A condition that is not met."""

    condition: Filter


@dataclass(frozen=True)
class And:
    """All conditions are met; without one, always."""

    conditions: tuple[Filter, ...]


@dataclass(frozen=True)
class Or:
    """At least one condition is met; without one, never."""

    conditions: tuple[Filter, ...]


Filter = Compare | OneOf | StartsWith | Missing | Not | And | Or
WORDS = ("and", "or", "not", "in", "is", "missing", "starts", "with", "true", "false")  # what no bare field is called
_BARE = re.compile(r"[^\W\d]\w*")
_OPERATORS: dict[Operator, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MOST_CONDITIONS, _DEEPEST = 400, 40  # in one filter: databases refuse expressions of 1,000 levels
_MOST_VALUES = 10_000  # in one filter


def meets(where: Filter, fields: Mapping[str, Value]) -> bool:
    """Return whether a row with these fields meets a filter: its definition, row by row."""
    match where:
        case Compare(field, sign, value):
            found = fields.get(field)
            return found is not None and _OPERATORS[sign](found, value)
        case OneOf(field, values):
            return fields.get(field) in values  # None is in none
        case StartsWith(field, start):
            found = fields.get(field)
            return isinstance(found, str) and found.startswith(start)
        case Missing(field):
            return fields.get(field) is None
        case Not(condition):
            return not meets(condition, fields)
        case And(conditions):
            return all(meets(each, fields) for each in conditions)
        case Or(conditions):
            return any(meets(each, fields) for each in conditions)
        case _:
            assert_never(where)


def written(where: Filter) -> str:
    """Return a filter as text, which `parse_filter.parse` reads back as the same tree."""
    match where:
        case Compare(field, sign, value):
            return f"{_name(field)} {sign} {_literal(value)}"
        case OneOf(field, values):
            return f"{_name(field)} in ({', '.join(map(_literal, values))})"
        case StartsWith(field, start):
            return f"{_name(field)} starts with {_literal(start)}"
        case Missing(field):
            return f"{_name(field)} is missing"
        case Not(condition):
            return f"not ({written(condition)})"
        case And(conditions):
            return " and ".join(f"({written(each)})" for each in conditions) or "true"
        case Or(conditions):
            return " or ".join(f"({written(each)})" for each in conditions) or "false"
        case _:
            assert_never(where)


def fields_of(where: Filter) -> set[str]:
    """Return the fields that a filter asks of."""
    return {each.field for each, _ in _walk(where) if isinstance(each, Compare | OneOf | StartsWith | Missing)}


def checked(where: Filter, fields: Kinds) -> Filter:
    """Return a filter whose values are of its fields' kinds: numbers as floats, whole ones for integers.

    Errors: `InputError` for a field that there is not, a value of another kind, a filter too long or too deep for a
    database, and what is no filter at all.
    """
    conditions = list(_walk(where))
    values = sum(len(_several(each.values)) for each, _ in conditions if isinstance(each, OneOf))
    if len(conditions) > _MOST_CONDITIONS or max(depth for _, depth in conditions) > _DEEPEST or values > _MOST_VALUES:
        raise InputError(
            f"where: the filter has {len(conditions)} conditions and {values} listed values; a filter may have "
            f"{_MOST_CONDITIONS}, at most {_DEEPEST} deep, and {_MOST_VALUES:,}; ask in several searches"
        )
    return _checked(where, fields)


def _walk(where: Filter) -> Iterator[tuple[Filter, int]]:
    """Yield the conditions of a tree with their depth, without recursion: it may be deeper than Python's stack."""
    left = [(where, 1)]
    while left:
        condition, depth = left.pop()
        yield condition, depth
        if isinstance(condition, Not):
            left.append((condition.condition, depth + 1))
        elif isinstance(condition, And | Or):
            left.extend((each, depth + 1) for each in _several(condition.conditions))


def _several(given: Any) -> Any:
    return given if isinstance(given, tuple | list) else _refuse(given)


def _refuse(given: Any) -> NoReturn:
    raise InputError(f"where: {given!r:.60} is no filter; write one as a text, \"year >= 2020 and lang = 'de'\"")


def _checked(where: Filter, fields: Kinds) -> Filter:
    match where:
        case Compare(field, sign, value):
            kind = _kind(field, fields)
            if not isinstance(sign, str) or sign not in _OPERATORS:
                raise InputError(f"where: {field} is compared by {sign!r:.40}; {nearest(str(sign), _OPERATORS)}")
            if kind == "boolean" and sign not in ("=", "!="):
                raise InputError(f"where: {field} is true or false, so {sign} says nothing of it; write = or !=")
            return Compare(field, sign, _fitted(field, kind, value))
        case OneOf(field, values):
            kind = _kind(field, fields)
            return OneOf(field, tuple(_fitted(field, kind, value) for value in values))
        case StartsWith(field, start):
            if (kind := _kind(field, fields)) != "text":
                raise InputError(f"where: {field} is {_a(kind)}, and only a text starts with another")
            return StartsWith(field, str(_fitted(field, kind, start)))
        case Missing(field):
            _kind(field, fields)
            return where
        case Not(condition):
            return Not(_checked(condition, fields))
        case And(conditions):
            return And(tuple(_checked(each, fields) for each in conditions))
        case Or(conditions):
            return Or(tuple(_checked(each, fields) for each in conditions))
        case _:
            _refuse(where)


def _kind(field: str, fields: Kinds) -> Kind:
    if not isinstance(field, str) or field not in fields:
        raise InputError(f"where: no row has a field {field!r:.60}; {nearest(str(field), fields)}")
    return fields[field]


def _fitted(field: str, kind: Kind, given: str | int | float | bool) -> str | int | float | bool:
    """Return a value as one of a kind, or refuse it."""
    value: Any = given
    if kind == "number" and type(value) is int:
        value = float(value) if abs(value) < LARGEST else math.inf
    elif kind == "integer" and type(value) is float and value.is_integer():
        value = int(value)
    if not is_of(kind, value):
        raise InputError(f"where: {field} is {_a(kind)}, and {_literal(value):.60} is none")
    if (kind == "number" and not math.isfinite(value)) or (kind == "integer" and abs(value) >= LARGEST):
        raise InputError(f"where: {field}: the number {value!s:.40} is out of range; numbers are finite, of 64 bits")
    if kind == "text":
        refuse_unstorable(value, f"where: {field}")
    fitted: str | int | float | bool = value
    return fitted


def is_of(kind: Kind, value: Any) -> bool:
    """Return whether a value is of a kind, in its very type: True is no integer here."""
    return type(value) is KINDS[kind]


def refuse_unstorable(text: str, what: str) -> None:
    """Refuse a text that not every database can hold: with the character 0, or what UTF-8 cannot write."""
    if "\0" in text or not is_encodable(text):
        raise InputError(f"{what}: holds the character 0 or half a surrogate pair ({text!r:.60}); take it out")


def _a(kind: Kind) -> str:
    return {"text": "a text", "integer": "an integer", "number": "a number", "boolean": "true or false"}[kind]


def _name(field: str) -> str:
    bare = _BARE.fullmatch(field) is not None and field.lower() not in WORDS
    return field if bare else f'"{field.replace(chr(34), chr(34) * 2)}"'


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"'{value.replace(chr(39), chr(39) * 2)}'" if isinstance(value, str) else repr(value)
