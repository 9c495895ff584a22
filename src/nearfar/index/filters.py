"""Filters: conditions on the fields of a row, written `year >= 2020 and lang = 'de'`, as a tree that backends compile.

A row without a value of a field meets no comparison with it, and `not` turns that around, so each condition is either
met or not: `not lang = 'de'` is met by a row without lang.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nearfar.index.rows import Value

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
Fields = dict[str, Value]
