"""Filters as SQL with parameters, for SQLite and PostgreSQL: values are never part of the text."""

from __future__ import annotations

from typing import Literal, assert_never

from nearfar.index.filters import And, Compare, Filter, Missing, Not, OneOf, Or, StartsWith

Dialect = Literal["sqlite", "postgres"]
_TAKEN = ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid")  # columns of every table of PostgreSQL's
Parameters = list[str | int | float | bool]


def stored_as(field: str) -> str:
    """Return the column of a field in PostgreSQL: its name, or with _ before it where a table has one of its own."""
    return f"_{field}" if field in _TAKEN else field  # no field begins with _


def quoted(name: str, dialect: Dialect) -> str:
    """Return the column of a field as SQL writes it."""
    if dialect == "postgres":
        name = stored_as(name)
    name = '"' + name.replace('"', '""') + '"'
    return name.replace("%", "%%") if dialect == "postgres" else name  # where % begins a placeholder


def compiled(where: Filter | None, dialect: Dialect) -> tuple[str, Parameters]:
    """Return a checked filter as a condition on columns of the fields' names, and its parameters in order.

    Each part is true or false, never unknown, so NOT means what it says. None is true.
    """
    parameters: Parameters = []
    return ("TRUE" if where is None else _condition(where, dialect, parameters)), parameters


def _condition(where: Filter, dialect: Dialect, parameters: Parameters) -> str:
    mark = "?" if dialect == "sqlite" else "%s"
    match where:
        case Compare(field, sign, value):
            name, sign_of_sql = quoted(field, dialect), "<>" if sign == "!=" else sign
            parameters.append(value)
            order = ' COLLATE "C"' if dialect == "postgres" and isinstance(value, str) else ""  # by code points
            return f"({name} IS NOT NULL AND {name}{order} {sign_of_sql} {mark})"
        case OneOf(field, values):
            name = quoted(field, dialect)
            parameters += values
            return f"({name} IS NOT NULL AND {name} IN ({', '.join([mark] * len(values))}))" if values else "FALSE"
        case StartsWith(field, start):
            name = quoted(field, dialect)
            parameters += [len(start), start]
            return f"({name} IS NOT NULL AND substr({name}, 1, {mark}) = {mark})"
        case Missing(field):
            return f"({quoted(field, dialect)} IS NULL)"
        case Not(condition):
            return f"(NOT {_condition(condition, dialect, parameters)})"
        case And(conditions):
            return _joined(" AND ", [_condition(each, dialect, parameters) for each in conditions]) or "TRUE"
        case Or(conditions):
            return _joined(" OR ", [_condition(each, dialect, parameters) for each in conditions]) or "FALSE"
        case _:
            assert_never(where)


def _joined(word: str, conditions: list[str]) -> str:
    return f"({word.join(conditions)})" if conditions else ""
