"""Rows and filters that hypothesis draws, for tests of every backend."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from nearfar.index.filters import And, Compare, Filter, Missing, Not, OneOf, Operator, Or, StartsWith
from nearfar.index.rows import Kind, Kinds, Value

FIELDS: Kinds = {"lang": "text", "year": "integer", "weight %": "number", 'is "new"': "boolean", "order": "text"}
_LETTERS = st.sampled_from(
    ["", "a", "A", "ab", "abc", "b", "é", "e\u0301", "\U0001f98a", "'", '"', "%", "a%s", "?", "_", "ß"]
)
VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    "text": _LETTERS | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3),
    "integer": st.integers(-3, 3) | st.sampled_from([2**53 + 1, 2**63 - 1, -(2**63) + 1]),
    "number": st.integers(-3, 3).map(float) | st.sampled_from([0.1, -0.0, 1e300, 5e-324]),
    "boolean": st.booleans(),
}


def cells(kind: Kind) -> st.SearchStrategy[Value]:
    """Draw a value of a field, or none."""
    return st.none() | VALUES[kind]


def rows_of_fields() -> st.SearchStrategy[dict[str, Value]]:
    """Draw the fields of a row."""
    return st.fixed_dictionaries({name: cells(kind) for name, kind in FIELDS.items()})


def filters() -> st.SearchStrategy[Filter]:
    """Draw a checked filter over FIELDS, of any depth."""
    return st.recursive(
        st.one_of(*(_condition(name, kind) for name, kind in FIELDS.items())) | st.sampled_from([And(()), Or(())]),
        lambda inner: (
            inner.map(Not)
            | st.lists(inner, min_size=2, max_size=3).map(lambda each: And(tuple(each)))
            | st.lists(inner, min_size=2, max_size=3).map(lambda each: Or(tuple(each)))
        ),
        max_leaves=8,
    )


def _condition(name: str, kind: Kind) -> st.SearchStrategy[Filter]:
    signs: list[Operator] = ["=", "!="] if kind == "boolean" else ["=", "!=", "<", "<=", ">", ">="]
    found: st.SearchStrategy[Filter] = st.one_of(
        st.builds(Compare, st.just(name), st.sampled_from(signs), VALUES[kind]),
        st.builds(OneOf, st.just(name), st.lists(VALUES[kind], min_size=1, max_size=3).map(tuple)),
        st.just(Missing(name)),
    )
    return found | st.builds(StartsWith, st.just(name), VALUES["text"]) if kind == "text" else found
