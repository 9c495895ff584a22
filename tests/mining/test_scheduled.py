"""Negatives of rising difficulty: against a naive form, from a recipe, and in training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.column import Column, Ids, ListColumn
from nearfar.config import build
from nearfar.errors import InputError
from nearfar.mining.scheduled import ScheduledMiner
from nearfar.model import Model
from nearfar.positives.columns import Columns
from nearfar.training.fit import fit
from nearfar.training.mixture import Mixture
from tests.losses.naive import relation
from tests.training.runs import SETTINGS, Rows, rows, weights
from tests.training.test_log import lines

TEXT = st.sampled_from([f"{letter}{letter}" for letter in "abcdefgh"])
TABLE = st.lists(st.tuples(TEXT, TEXT), min_size=2, max_size=12)


class Letters:
    """A model whose vectors are random, seeded by the text: without ties."""

    dim = 5

    def __init__(self) -> None:
        self.embedded: list[str] = []

    def embed(self, cells: list[str], role: Literal["query", "key"], first: int = 0) -> np.ndarray[Any, Any]:
        self.embedded += [f"{role} {cell}" for cell in cells]
        return np.stack([_vector(cell, role) for cell in cells])


def _vector(cell: str, role: str) -> np.ndarray[Any, Any]:
    drawn = np.random.default_rng([*cell.encode(), *role.encode()]).normal(size=5)
    return (drawn / np.linalg.norm(drawn)).astype(np.float32)


def _cosine(query: str, key: str) -> float:
    return float(_vector(query, "query").astype(np.float64) @ _vector(key, "key").astype(np.float64))


def table(pairs: list[tuple[str, str]]) -> Columns:
    query, key = (list(cells) for cells in zip(*pairs, strict=True))
    return Columns(Rows(query=query, key=key))


def naive(pairs: Any, known: set[tuple[str, str]], low: int, high: int, count: int) -> list[list[str]]:
    """Return the texts of each pair's negatives, nearest first."""
    texts, found = list(dict.fromkeys(key for _, key in pairs)), []
    for query, _ in pairs:
        others = [text for text in texts if (query, text) not in known and text != query]
        score = {text: _cosine(query, text) for text in others}
        ranked = sorted(others, key=lambda text: -score[text])
        found.append(ranked[low:high][:count])
    return found


def texts(column: Column, rows: Ids) -> list[list[str]]:
    cells = column.read(0, len(column))
    return [[cells[row] for row in example if row >= 0] for example in rows.tolist()]


@settings(deadline=None, max_examples=60)
@given(TABLE, st.integers(0, 2), st.integers(1, 3))
def test_negatives_are_those_of_the_ranks_and_never_positives(pairs: Any, low: int, count: int) -> None:
    most_positives = max(len({key for query, key in pairs if query == each}) for each, _ in pairs)
    ranked = len({key for _, key in pairs}) - most_positives  # positives hold no rank
    mining = ScheduledMiner(count, low, low + count, window=None, sampling="top")
    model: Any = Letters()
    data = table(pairs)
    found = mining(model, data, 1, 4)
    high = min(low + count, ranked)  # shifted where there are fewer keys
    start = max(0, low - max(0, low + count - ranked))
    expected = naive(pairs, set(pairs), start, max(high, start + count), count)
    assert texts(data.views["key"], found.rows) == expected
    assert found.rows.shape == (len(pairs), count)
    assert len(model.embedded) == len(set(model.embedded))  # each text once
    assert found.facts["found"] == sum(map(len, expected))
    assert found.facts["examples"] == sum(map(bool, expected))


@settings(deadline=None, max_examples=40)
@given(TABLE, TABLE, st.data())
def test_no_mined_key_is_a_false_negative_of_any_query_in_the_batch(one: Any, two: Any, data: st.DataObject) -> None:
    """Alone, and with a second data set that has other keys of the same queries."""
    model: Any = Letters()
    for positives, pairs in ((table(one), one), (Mixture([table(one), table(two)]), [*one, *two])):
        extended = positives.with_negatives(ScheduledMiner(3, 0, 3, None)(model, positives, 0, 1).rows)
        examples = np.array(data.draw(st.lists(st.integers(0, len(pairs) - 1), min_size=1, max_size=8)))
        batch, plain = extended.batch(examples), positives.batch(examples)
        found: dict[str, list[str]] = {}
        for side, names in (("q", extended.query_views), ("k", extended.key_views)):
            found[side] = [text for name in names for [text] in texts(extended.views[name], batch.rows[name][:, None])]
        weight, candidate = relation(batch.pairs)
        known = set(pairs)
        negative = torch.tensor([[(q, k) not in known and q != k for k in found["k"]] for q in found["q"]])
        assert torch.equal(candidate & (weight == 0), negative)
        assert batch.pairs.shape[1] >= plain.pairs.shape[1]
        for name in extended.key_views:  # what is in the batch already is not added again
            before = plain.rows[name]
            assert np.array_equal(batch.rows[name][: len(before)], before)
            added = [text for [text] in texts(extended.views[name], batch.rows[name][len(before) :, None])]
            assert len(set(added)) == len(added)
            assert not set(added) & {text for [text] in texts(extended.views[name], before[:, None])}


def test_dropped_and_positive_decisions_are_never_mined(tmp_path: Path) -> None:
    pairs = [(f"q{i}", f"k{i}") for i in range(6)]
    decisions = [{"query": "q0", "negative": f"k{i}", "action": action} for i, action in [(1, "drop"), (2, "positive")]]
    (tmp_path / "decisions.jsonl").write_text("\n".join(map(json.dumps, decisions)))
    plain = table(pairs)
    decided = Columns(plain.data, decisions=tmp_path / "decisions.jsonl")
    model: Any = Letters()
    mining = ScheduledMiner(5, 0, 5, None)
    found = texts(plain.views["key"], mining(model, decided, 0, 1).rows)
    assert set(found[0]) == {"k3", "k4", "k5"}
    assert set(found[1]) == {"k0", "k2", "k3", "k4", "k5"}


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, (50, 100)), (25, (38, 80)), (50, (25, 60)), (75, (12, 40)), (99, (1, 21)), (100, (0, 20))],
)
def test_ranks_rise_in_a_straight_line(step: int, expected: tuple[int, int]) -> None:
    assert ScheduledMiner().ranks(step, 100) == expected
    assert ScheduledMiner(window=None).ranks(step, 100) == (0, 20)


@given(st.integers(1, 5), *[st.integers(0, 9)] * 2, st.integers(0, 60), st.integers(0, 9), st.integers(0, 99))
def test_the_ranks_always_hold_the_negatives(count: int, low: int, more: int, start: int, wide: int, step: int) -> None:
    mining = ScheduledMiner(count, low, low + count + more, (start, start + count + wide))
    first, last = mining.ranks(step, 100)
    assert last - first >= count
    assert min(low, start) <= first
    assert last <= max(low + count + more, start + count + wide) + 1


def test_early_negatives_are_easier_than_late_ones() -> None:
    pairs = [(f"q{i}", f"k{i}") for i in range(60)]
    model: Any = Letters()
    facts = [ScheduledMiner(2, 0, 5, (30, 50))(model, table(pairs), step, 100).facts for step in (0, 50, 99)]
    assert [fact["ranks"] for fact in facts] == [[30, 50], [15, 28], [0, 5]]
    assert facts[0]["negative"] < facts[1]["negative"] < facts[2]["negative"]
    expected = np.mean([_cosine(q, k) for q, k in pairs])
    assert facts[0]["lowest_positive"] == pytest.approx(expected, abs=1e-6)
    assert facts[0]["found"] == 120


def test_a_window_beyond_the_last_key_is_shifted() -> None:
    pairs = [(f"q{i}", f"k{i}") for i in range(10)]
    model: Any = Letters()
    found = ScheduledMiner(2, sampling="top")(model, table(pairs), 0, 100)
    assert found.facts["found"] == 20


def test_drawing_is_by_seed_and_step() -> None:
    pairs = [(f"q{i}", f"k{i}") for i in range(40)]
    model: Any = Letters()

    def mined(seed: int, step: int) -> list[list[int]]:
        drawn: list[list[int]] = ScheduledMiner(2, 0, 30, None, seed=seed)(model, table(pairs), step, 10).rows.tolist()
        return drawn

    assert mined(0, 1) == mined(0, 1)
    assert mined(0, 1) != mined(0, 2)
    assert mined(0, 1) != mined(1, 1)


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"negatives": 0}, "mining.negatives must be at least 1"),
        ({"range_min": 5, "range_max": 5}, "mining.range_max: ranks 5 to 5 leave 0 keys for 1 negatives"),
        ({"range_min": -1}, "mining.range_min must be at least 0"),
        ({"negatives": 30}, "ranks 0 to 20 leave 20 keys for 30 negatives"),
        ({"seed": -1}, "mining.seed must be at least 0"),
        ({"window": (-1, 50)}, "mining.window: ranks -1 to 50 cannot hold"),
        ({"window": (100, 50)}, "mining.window: ranks 100 to 50 cannot hold"),
    ],
)
def test_invalid_settings_are_refused(given_: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        ScheduledMiner(**given_)


@pytest.mark.parametrize(
    ("mined", "words"),
    [
        (np.zeros((3, 1), np.int64), r"must be \(2, k\) rows below 2, or -1 for none; they are \(3, 1\)"),
        (np.zeros(2, np.int64), r"they are \(2,\)"),
        (np.array([[0], [2]]), "rows below 2"),
        (np.array([[0], [-2]]), "rows below 2"),
    ],
)
def test_negatives_beyond_the_keys_are_refused(mined: Ids, words: str) -> None:
    with pytest.raises(InputError, match=words):
        table([("a", "b"), ("c", "d")]).with_negatives(mined)


RECIPE: dict[str, Any] = {
    "data": {"name": "table", "path": [{"query": q, "key": k} for q, k in zip(*rows().cells.values(), strict=True)]},
    "positives": {"name": "columns"},
    "encoder": {"name": "static", "dim": 16, "vocabulary": 300},
    "loss": {"name": "infonce"},
    "training": {**SETTINGS, "refresh_every": 5},
    "mining": {"negatives": 2, "window": [10, 30], "relative_margin": 0.05},
}


def test_a_recipe_trains_extended_negatives_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    found = []
    for name in ("a", "b"):
        parts = build(RECIPE)
        assert parts.refresh == ScheduledMiner(2, window=(10, 30), relative_margin=0.05)
        more: dict[str, Any] = {"out": tmp_path / name, "refresh": parts.refresh, "quiet": True, **parts.training}
        found.append(weights(fit(parts.encoder, parts.positives, parts.loss, **more)))
    assert np.array_equal(found[0], found[1])
    events = [event for event in lines(tmp_path / "a") if event["event"] == "refresh"]
    assert [(event["step"], event["ranks"]) for event in events] == [(5, [6, 26]), (10, [2, 22])]
    assert all(event["lowest_positive"] > event["negative"] for event in events)


def test_random_state_and_mode_of_the_model_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path))
    from nearfar.encoders.static import Static

    encoder = Static(dim=8, vocabulary=300)
    encoder.prepare([ListColumn("text", rows().cells["query"] + rows().cells["key"])])
    encoder.train()
    before = torch.get_rng_state()
    found = ScheduledMiner()(Model(encoder), Columns(rows()), 0, 1)
    assert torch.equal(before, torch.get_rng_state())
    assert encoder.training
    assert found.facts["found"] == 64
