"""Decisions about pairs: reading them, and the pairs of a batch with them; a dropped pair is never trained on."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar.column import content_id
from nearfar.data.table import Table
from nearfar.errors import InputError
from nearfar.positives.columns import Columns
from nearfar.positives.relations.decisions import Decisions
from tests.losses.naive import relation

ROWS = [
    {"query": "one", "key": "1", "negative": "uno"},
    {"query": "two", "key": "2", "negative": "1"},
    {"query": "three", "key": "3", "negative": "uno"},
]


def decided(path: Path, *rows: tuple[str, str, str]) -> Columns:
    lines = [json.dumps({"query": q, "negative": n, "action": a, "positive": "?"}) for q, n, a in rows]
    path.write_text("\n".join(lines) + "\n\n")
    return Columns(Table(ROWS), decisions=path)


def relations(columns: Columns) -> tuple[Any, Any]:
    """Return the positives and the negatives, (3, 6): of the keys 1, 2, 3, then the negatives uno, 1, uno."""
    weight, compared = relation(columns.batch(np.arange(3)).pairs)
    return (weight > 0).int().tolist(), (compared & (weight == 0)).int().tolist()


def test_dropped_is_ignored_for_its_query_alone(tmp_path: Path) -> None:
    positive, negative = relations(decided(tmp_path / "d.jsonl", ("one", "uno", "drop"), ("two", "uno", "keep")))
    assert positive == [[1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0]]
    assert negative == [[0, 1, 1, 0, 0, 0], [1, 0, 1, 1, 1, 1], [1, 1, 0, 1, 1, 1]]


def test_marked_positive_is_a_positive(tmp_path: Path) -> None:
    positive, negative = relations(decided(tmp_path / "d.jsonl", ("one", "uno", "positive")))
    assert positive[0] == [1, 0, 0, 1, 1, 1]
    assert negative[0] == [0, 1, 1, 0, 0, 0]
    assert positive[2] == [0, 0, 1, 0, 0, 0]


def test_a_decision_about_an_unknown_pair_changes_nothing(tmp_path: Path) -> None:
    found = decided(tmp_path / "d.jsonl", ("nobody", "1", "positive"), ("one", "2", "drop"), ("nobody", "2", "drop"))
    assert relations(found)[0][0] == [1, 0, 0, 0, 1, 0] and found.notes == {}


LISTED = [
    {"query": "one", "key": "1"}, {"query": "one", "key": "uno"}, {"query": "two", "key": "2"},
    {"query": "two", "key": "zwei"}, {"query": "one", "key": "2"}, {"query": "one", "key": "2"},
]  # fmt: skip


@pytest.mark.parametrize("all_keys", [False, True])
def test_a_dropped_pair_of_the_data_is_never_trained_on(tmp_path: Path, all_keys: bool) -> None:
    path, dropped = tmp_path / "d.jsonl", ("one", "2")
    path.write_text(json.dumps({"query": "one", "negative": "2", "action": "drop"}))
    found = Columns(Table(LISTED), decisions=path, all_keys=all_keys)
    assert len(found) == (2 if all_keys else 4)
    assert found.notes == {"decisions": "2 of 6 listed pairs are dropped, as was decided"}  # with its copy
    seen: set[Any] = set()
    for examples in itertools.permutations(range(len(found)), 2):
        batch = found.batch(np.array(examples))
        weight, compared = relation(batch.pairs)
        queries, keys = ([found.views[side].read(0, 9)[i] for i in batch.rows[side]] for side in ("query", "key"))
        for (i, query), (j, key) in itertools.product(enumerate(queries), enumerate(keys)):
            if (query, key) == dropped:
                assert weight[i, j] == 0 and not compared[i, j]  # neither a positive nor a negative
                seen.add("together")
            elif weight[i, j] > 0:
                seen.add((query, key))
    assert seen == {"together", ("one", "1"), ("one", "uno"), ("two", "2"), ("two", "zwei")}
    pairs = found.mining_pairs()[0]
    ids = [content_id(text) for text in dropped]
    assert ids not in pairs.positives.tolist() and ids in pairs.ignored.tolist()
    assert found.fingerprint != Columns(Table(LISTED), all_keys=all_keys).fingerprint


def test_decisions_that_leave_no_pair(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(
        "".join(json.dumps({"query": r["query"], "negative": r["key"], "action": "drop"}) + "\n" for r in ROWS)
    )
    with pytest.raises(InputError, match="the decisions drop all 3 pairs"):
        Columns(Table(ROWS), decisions=path)


def test_keep_changes_nothing(tmp_path: Path) -> None:
    plain = Columns(Table(ROWS))
    kept = decided(tmp_path / "d.jsonl", ("one", "uno", "drop"), ("one", "uno", "keep"))  # the last one holds
    assert relations(kept) == relations(plain)
    assert kept.fingerprint != decided(tmp_path / "e.jsonl", ("one", "uno", "drop")).fingerprint


def test_read(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    drop, positive = ({"query": "a", "negative": n, "action": a} for n, a in (("b", "drop"), ("c", "positive")))
    path.write_text(json.dumps(drop) + "\n" + json.dumps(positive))
    found = Decisions.read(path)
    assert [ids.tolist() for ids in found.dropped] == [[content_id("a")], [content_id("b")]]
    assert [ids.tolist() for ids in found.positive] == [[content_id("a")], [content_id("c")]]
    assert len(Decisions.none().dropped[0]) == 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2: not JSON"),
        ("[" * 10**5, "line 2: not JSON"),
        ("[]", "line 2: not an object"),
        ('{"query": "a", "negative": 1, "action": "drop"}', "'negative' must be a text"),
        ('{"query": "a", "negative": "b", "action": "dropp"}', "did you mean 'drop'"),
    ],
)
def test_bad_lines(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"query": "a", "negative": "b", "action": "drop"}\n' + line)
    with pytest.raises(InputError, match=words):
        Decisions.read(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file of decisions"):
        Columns(Table(ROWS), decisions=tmp_path / "none.jsonl")
    (tmp_path / "latin").write_bytes(b"\xff")
    with pytest.raises(InputError, match="not UTF-8"):
        Decisions.read(tmp_path / "latin")
