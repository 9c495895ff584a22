"""Filters over whole columns in numpy, as plainly as can be: what every backend must agree with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nearfar.index.filters import And, Compare, Filter, Missing, Not, OneOf, Or, StartsWith
from nearfar.index.rows import Value

Mask = npt.NDArray[np.bool_]


def mask(where: Filter, rows: Sequence[dict[str, Value]]) -> Mask:
    """Return which rows (n,) meet a filter."""
    match where:
        case Not(condition):
            return ~mask(condition, rows)
        case And(conditions):
            return np.all([mask(each, rows) for each in conditions], 0) if conditions else np.ones(len(rows), bool)
        case Or(conditions):
            return np.any([mask(each, rows) for each in conditions], 0) if conditions else np.zeros(len(rows), bool)
    values = np.array([row.get(where.field) for row in rows], object)
    there = np.array([value is not None for value in values], bool)
    met = np.zeros(len(rows), bool)
    match where:
        case Missing():
            return ~there
        case Compare(_, sign, value):
            name = {"=": "equal", "!=": "not_equal", "<": "less", "<=": "less_equal", ">": "greater"}
            met[there] = getattr(np, name.get(sign, "greater_equal"))(values[there], value)
        case OneOf(_, listed):
            for value in listed:
                met[there] |= values[there] == value
        case StartsWith(_, start):
            met[there] = [str(value)[: len(start)] == start for value in values[there]]
    return met
