"""Filters: text to tree and back, refusals by name, and SQL that agrees with numpy row by row."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.errors import InputError
from nearfar.index.filter_sql import compiled, quoted
from nearfar.index.filters import And, Compare, Filter, Missing, Not, OneOf, Or, StartsWith, checked, meets, written
from nearfar.index.parse_filter import parse
from nearfar.index.rows import Kinds, Value
from tests.index.drawn import FIELDS, filters, rows_of_fields
from tests.index.filter_reference import mask

KINDS: Kinds = {"year": "integer", "lang": "text", "share": "number", "new": "boolean", "in": "text", "order": "text"}
YEAR_1, YEAR_2 = Compare("year", "=", 1), Compare("year", "=", 2)


@settings(deadline=None)  # the parser is made at the first call
@given(filters())
def test_a_filter_written_and_read_is_itself(where: Filter) -> None:
    again = parse(written(where), FIELDS)
    assert again == where
    assert written(again) == written(where)  # 0.0 is -0.0, 1 is 1.0 and True, by ==


@settings(deadline=None)
@given(filters(), st.lists(rows_of_fields(), max_size=6))
def test_sqlite_agrees_with_numpy_and_with_the_definition(where: Filter, rows: list[dict[str, Value]]) -> None:
    names = [quoted(name, "sqlite") for name in FIELDS]
    base = sqlite3.connect(":memory:")
    base.execute(f"CREATE TABLE rows (n INTEGER PRIMARY KEY, {', '.join(names)})")
    for number, row in enumerate(rows):
        base.execute(f"INSERT INTO rows VALUES (?{', ?' * len(names)})", [number, *(row[name] for name in FIELDS)])
    text, parameters = compiled(where, "sqlite")
    found = [number for (number,) in base.execute(f"SELECT n FROM rows WHERE {text} ORDER BY n", parameters)]
    base.close()
    assert found == [number for number, met in enumerate(mask(where, rows)) if met]
    assert found == [number for number, row in enumerate(rows) if meets(where, row)]


@given(filters())
def test_no_value_is_pasted_into_sql(where: Filter) -> None:
    text, parameters = compiled(where, "postgres")
    for name in FIELDS:
        text = text.replace(quoted(name, "postgres"), "")
    assert text.count("%s") == len(parameters)
    assert "'" not in text
    assert not set(text.replace("%s", "")) & set("?%")


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("year >= 2020 and lang = 'de'", And((Compare("year", ">=", 2020), Compare("lang", "=", "de")))),
        ("year=1 OR year=2 AND NOT year=3", Or((YEAR_1, And((YEAR_2, Not(Compare("year", "=", 3))))))),
        ("(year = 1 or year = 2) and new = TRUE", And((Or((YEAR_1, YEAR_2)), Compare("new", "=", True)))),
        ("lang not in ('it''s', 'b',)", Not(OneOf("lang", ("it's", "b")))),
        ("order starts with 'docs/'", StartsWith("order", "docs/")),
        ('"in" is missing', Missing("in")),
        ("share is not missing", Not(Missing("share"))),
        ("share = 1", Compare("share", "=", 1.0)),
        ("year = 2e3", Compare("year", "=", 2000)),
        ("share < -.5e-1", Compare("share", "<", -0.05)),
        ("not not false", Not(Not(Or(())))),
    ],
)  # fmt: skip
def test_a_filter_is_read_as_it_is_meant(text: str, tree: Filter) -> None:
    assert parse(text, KINDS) == tree


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("yaer = 3", "did you mean 'year'"),
        ("year = 'x'", "year is an integer, and 'x' is none"),
        ("year = 2.5", "2.5 is none"),
        ("year = true", "true is none"),
        ("lang = 3", "lang is a text"),
        ("new > true", "write = or !="),
        ("year starts with 'a'", "only a text starts"),
        ("year = 99999999999999999999", "out of range"),
        ("share = 1e999", "out of range"),
        (f"share = 1{'0' * 400}", "out of range"),
        ("lang = 'x\0y'", "the character 0"),
        ("lang = 'x", "at \"'x\""),
        ("lang =", "at its end stands none of: a number"),
        ("", "at its end"),
        ("year = 1 lang = 'a'", "at \"lang = 'a'\" stands none of: and, or, the end"),
        ("year = 12abc", "is no filter"),
        ("lang = \"de\"", "a text in single quotes"),
        ("not " * 3000 + "true", "3001 conditions"),
        ("(" * 20_000, "is no filter"),
        (" or ".join(["year = 1"] * 500), "501 conditions"),
        (f"year in ({','.join(map(str, range(10_001)))})", "10001 listed values"),
        ("x" * 300_000, "300,000 characters"),
    ],
)  # fmt: skip
def test_what_is_no_filter_is_refused_by_name(text: str, words: str) -> None:
    with pytest.raises(InputError, match=r"^where: ") as error:
        parse(text, KINDS)
    assert words in str(error.value)
    assert len(str(error.value)) < 500


ODD: Any = (5, ["year"], None)  # as a caller without types may write
SIGNS: Any = ("= 0 or 1 =", "; drop table rows; --", "~", None, ["="])
NO_FILTERS: list[Any] = [
    *(5, [], None, {"year": 3}, b"x", Not(ODD), And(ODD[0]), And(ODD), OneOf("year", ODD[0])),
    *(Compare("year", sign, 1) for sign in SIGNS),
    *(Compare(field, "=", 1) for field in ODD),
]


@pytest.mark.parametrize("tree", NO_FILTERS, ids=repr)
def test_a_tree_that_is_no_filter_is_refused(tree: Any) -> None:
    with pytest.raises(InputError, match=r"^where: "):
        checked(tree, KINDS)


def test_a_deep_tree_is_refused_not_a_crash() -> None:
    tree: Any = Missing("year")
    for _ in range(5_000):
        tree = Not(tree)
    with pytest.raises(InputError, match="at most 40 deep"):
        checked(tree, KINDS)
    while isinstance(tree, Not):  # or Python recurses when it lets go of it
        tree = tree.condition
