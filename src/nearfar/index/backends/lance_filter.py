"""Filters as expressions of LanceDB: trees of its own types, so that no value and no name becomes part of a text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any, assert_never

from nearfar.index.filters import And, Compare, Filter, Missing, Not, OneOf, Operator, Or, StartsWith
from nearfar.index.rows import Kinds

if TYPE_CHECKING:
    from lancedb.expr import Expr

_PLAIN = re.compile(r"[a-z][a-z0-9_]*")
_ENCODED = "x_"
_OPPOSITE: dict[Operator, Operator] = {"=": "!=", "!=": "=", "<": ">=", ">=": "<", "<=": ">", ">": "<="}
_LAST, _SURROGATES = 0x10FFFF, (0xD800, 0xDFFF)  # of Unicode's code points


def column(field: str) -> str:
    """Return the column of a field: its name, or that in hexadecimal where Lance takes names for more than names."""
    if _PLAIN.fullmatch(field) and not field.startswith(_ENCODED):
        return field
    return _ENCODED + field.encode().hex()


def expression(where: Filter, fields: Kinds) -> Expr:
    """Return a checked filter as an expression, which is true of the rows that meet it, and else false or unknown.

    LanceDB's expressions can ask neither whether a value is missing nor how a text begins. `not` is moved down to the
    single conditions, so that unknown, which a comparison with a missing value gives, counts as not met everywhere.
    """
    return _expression(where, fields, met=True)


def _expression(where: Filter, fields: Kinds, *, met: bool) -> Expr:
    """Return what is true where a filter is met, or where it is not."""
    from lancedb.expr import col, lit

    match where:
        case Not(condition):
            return _expression(condition, fields, met=not met)
        case And(conditions):
            return _joined([_expression(each, fields, met=met) for each in conditions], every=met)
        case Or(conditions):
            return _joined([_expression(each, fields, met=met) for each in conditions], every=not met)
        case Missing(field):
            return _missing(field, fields, met=met)
        case Compare(field, sign, value):
            found = _compared(field, sign if met else _OPPOSITE[sign], value)
        case OneOf(field, values):
            listed = col(column(field)).isin(list(values)) if values else lit(False)
            found = listed if met else ~listed
        case StartsWith(field, start):
            found = _joined([_compared(field, ">=", start), *_before_end(field, start)], every=True)
            if not met:
                outside = [_compared(field, "<", start), *(~each for each in _before_end(field, start))]
                found = _joined(outside, every=False)
        case _:
            assert_never(where)
    return found if met else _missing(field, fields, met=True) | found


def _joined(each: Sequence[Expr], *, every: bool) -> Expr:
    from lancedb.expr import lit

    if not each:
        return lit(every)
    return reduce(lambda a, b: a & b if every else a | b, each)


def _compared(field: str, sign: Operator, value: Any) -> Expr:
    from lancedb.expr import col

    name = column(field)
    signs = {"=": "eq", "!=": "ne", "<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
    found: Expr = getattr(col(name), signs[sign])(value)
    return found


def _missing(field: str, fields: Kinds, *, met: bool) -> Expr:
    """Ask for the length of a value as text: a missing one has none, and `concat` makes an empty text of that."""
    from lancedb.expr import col, func, lit

    value = col(column(field))
    written = (func("octet_length", value) if fields[field] == "text" else value).cast("string")
    text = func("concat", written, lit(""))
    return text == lit("") if met else text != lit("")


def _before_end(field: str, start: str) -> list[Expr]:
    """Return the condition that a text comes before all that are greater than those with a start; none for "end"."""
    for place in reversed(range(len(start))):
        code = ord(start[place])
        if code < _LAST:
            after = code + 1
            if _SURROGATES[0] <= after <= _SURROGATES[1]:
                after = _SURROGATES[1] + 1
            return [_compared(field, "<", start[:place] + chr(after))]
    return []
