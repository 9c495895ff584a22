"""Hard negatives against a naive search in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.column import Ids
from nearfar.errors import InputError
from nearfar.mining import nearest, screen
from nearfar.mining.controls import Controls
from nearfar.mining.hard import hard_negatives

Array = npt.NDArray[Any]


def unit(x: Array) -> npt.NDArray[np.float32]:
    vectors: npt.NDArray[np.float32] = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    return vectors


def clusters(n: int, m: int, d: int, seed: int, cone: float = 0.3) -> tuple[Array, Array]:
    """Return queries and keys around shared centres, in a cone."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((max(1, m // 20), d))
    draw = [centres[random.integers(0, len(centres), size)] + random.standard_normal((size, d)) for size in (n, m)]
    return unit(draw[0] + cone), unit(draw[1] + cone)


def naive(queries: Array, keys: Array, positives: tuple[Ids, Ids], controls: Controls) -> list[list[int]]:
    """Return the rows that "top" takes, query by query, in float64."""
    found = []
    for i, query in enumerate(queries.astype(np.float64)):
        scores = keys.astype(np.float64) @ query
        positive = positives[1][positives[0] == i]
        order = [j for j in np.argsort(-scores, kind="stable") if j not in set(positive.tolist())]
        order = order[controls.range_min : controls.range_max]
        lowest = min(scores[positive], default=np.inf)
        bounds = [
            None if controls.absolute_margin is None else lowest - controls.absolute_margin,
            None if controls.relative_margin is None else lowest - abs(lowest) * controls.relative_margin,
            controls.max_score,
        ]
        top = min((bound for bound in bounds if bound is not None and not np.isnan(bound)), default=np.inf)
        low = -np.inf if controls.min_score is None else controls.min_score
        found.append([int(j) for j in order if low <= scores[j] <= top][: controls.negatives])
    return found


def relation(n: int, m: int, seed: int) -> tuple[Ids, Ids]:
    random = np.random.default_rng(seed)
    return random.integers(0, n, 2 * n), random.integers(0, m, 2 * n)


@pytest.fixture(params=[torch.bfloat16, torch.float32], ids=str)
def screened(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use small blocks and tiles, and the screen for any number of keys."""
    monkeypatch.setattr(nearest, "cpu_bf16", lambda: request.param == torch.bfloat16)
    monkeypatch.setattr(nearest, "MIN_SCREENED_KEYS", 1)
    monkeypatch.setattr(nearest, "QUERY_BLOCK", 40)
    monkeypatch.setattr(screen, "TILE", 256)


@pytest.mark.usefixtures("screened")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "controls",
    [
        Controls(negatives=3),
        Controls(negatives=5, range_min=2, range_max=12),
        Controls(negatives=4, range_max=None, relative_margin=0.05),
        Controls(negatives=2, range_max=20, absolute_margin=0.1, min_score=0.1),
        Controls(negatives=20, range_max=30, max_score=0.4),
        Controls(negatives=3, range_max=700),  # more than there are keys
    ],
)
def test_equals_the_naive_form(controls: Controls, seed: int) -> None:
    queries, keys = clusters(90, 600, 24, seed)
    positives = relation(90, 600, seed)
    mined = hard_negatives(queries, keys, positives, controls)
    expected = naive(queries, keys, positives, replace(controls, range_max=controls.depth()))
    assert [[row for row in rows if row >= 0] for rows in mined.rows.tolist()] == expected
    exact = (queries[:, None].astype(np.float64) * keys[mined.rows]).sum(-1)
    np.testing.assert_allclose(mined.scores[mined.rows >= 0], exact[mined.rows >= 0], atol=1e-6)
    assert np.isneginf(mined.scores[mined.rows < 0]).all()


def test_screen_is_used_and_loses_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a larger set bf16, float32 and no screen give the same rows, and few queries are unresolved."""
    queries, keys = clusters(300, 5000, 48, 0)
    positives = (np.arange(300), np.arange(300))
    controls = Controls(negatives=60, range_max=60)
    counts = []
    again = nearest.NearestSearch.again

    def counted(self: nearest.NearestSearch, some: Array, *further: Any) -> Any:
        counts.append(0 if further else len(some))  # with further pairs it is not the screen's doing
        return again(self, some, *further)

    monkeypatch.setattr(nearest.NearestSearch, "again", counted)
    found = []
    for bf16, min_keys in ((True, 1), (False, 1), (True, 10_000)):
        monkeypatch.setattr(nearest, "cpu_bf16", lambda bf16=bf16: bf16)
        monkeypatch.setattr(nearest, "MIN_SCREENED_KEYS", min_keys)
        found.append(hard_negatives(queries, keys, positives, controls))
    assert sum(counts) < 30
    for other in found[1:]:
        assert (other.rows == found[0].rows).all()
        assert (other.scores == found[0].scores).all()


@pytest.mark.usefixtures("screened")
@pytest.mark.parametrize("kind", ["collapsed", "equal", "opposite", "narrow", "long"])
def test_spaces_that_low_precision_cannot_separate(kind: str) -> None:
    queries, keys = clusters(50, 400, 16, 5)
    if kind == "collapsed":
        keys = unit(keys * 1e-5 + 1)
    elif kind == "equal":
        keys[:] = keys[0]
    elif kind == "opposite":
        queries = -np.abs(queries)
        keys = np.abs(keys)
    elif kind == "narrow":
        keys = unit(keys + 20)
    else:
        keys *= np.linspace(0.01, 100, 400, dtype=np.float32)[:, None]
    positives = (np.arange(50), np.arange(50))
    controls = Controls(negatives=5, range_max=5)
    mined = hard_negatives(queries, keys, positives, controls, copy_distance=-1.0)
    scores = queries.astype(np.float64) @ keys.astype(np.float64).T
    scores[positives] = -np.inf
    best = -np.sort(-scores, axis=1)[:, :5]
    np.testing.assert_allclose(mined.scores, best, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(scores, mined.rows, 1), best, rtol=1e-6, atol=1e-6)
    assert (mined.rows != np.arange(50)[:, None]).all()
    if kind == "equal":
        assert mined.rows[10].tolist() == [0, 1, 2, 3, 4]  # the lower rows first


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 40), st.integers(1, 5), st.integers(0, 2**31), st.data())
def test_any_shape(n: int, m: int, negatives: int, seed: int, data: st.DataObject) -> None:
    queries, keys = clusters(n, m, 6, seed)
    count = data.draw(st.integers(0, 2 * n))
    random = np.random.default_rng(seed)
    positives = random.integers(0, n, count), random.integers(0, m, count)
    controls = Controls(negatives=negatives, range_max=negatives + 3, relative_margin=0.0)
    mined = hard_negatives(queries, keys, positives, controls)
    assert mined.rows.shape == mined.scores.shape == (n, negatives)
    known = set(zip(positives[0].tolist(), positives[1].tolist()))
    for i, rows in enumerate(mined.rows.tolist()):
        kept = [row for row in rows if row >= 0]
        assert len(set(kept)) == len(kept) and not known & {(i, row) for row in kept}
        assert (mined.scores[i, : len(kept)] <= mined.lowest_positive_score[i]).all()
        assert rows == kept + [-1] * (negatives - len(kept))


def test_sampling() -> None:
    queries, keys = clusters(40, 300, 12, 1)
    positives = (np.arange(40), np.arange(40))
    ranks = hard_negatives(queries, keys, positives, Controls(negatives=30, range_max=30)).rows
    base = Controls(negatives=3, range_max=30)
    spread = hard_negatives(queries, keys, positives, replace(base, sampling="spread"))
    assert (spread.rows == ranks[:, [5, 15, 25]]).all()
    first = hard_negatives(queries, keys, positives, replace(base, sampling="random", seed=1))
    again = hard_negatives(queries, keys, positives, replace(base, sampling="random", seed=1))
    other = hard_negatives(queries, keys, positives, replace(base, sampling="random", seed=2))
    assert (first.rows == again.rows).all() and (first.rows != other.rows).any()
    assert all(set(rows) <= set(all_) for rows, all_ in zip(first.rows.tolist(), ranks.tolist()))
    assert (np.diff(first.scores, axis=1) <= 0).all()
    drawn = np.concatenate([np.flatnonzero(np.isin(r, f)) for r, f in zip(ranks, first.rows)])
    assert 9 < drawn.mean() < 20  # all ranks alike: 14.5, with a standard error of 0.8


def test_random_takes_all_where_there_are_few() -> None:
    queries, keys = clusters(8, 50, 12, 1)
    positives = (np.arange(8), np.arange(8))
    controls = Controls(negatives=10, range_max=40)
    scores = hard_negatives(queries, keys, positives, controls).scores
    controls = replace(controls, min_score=float(np.median(scores[:, 7])))
    for sampling in ("random", "spread"):
        some = hard_negatives(queries, keys, positives, replace(controls, sampling=sampling))
        top = hard_negatives(queries, keys, positives, controls)
        few = (top.rows < 0).any(1)
        assert few.any()
        assert (some.rows[few] == top.rows[few]).all()


def test_excluded_pairs_are_no_negatives_and_no_positives() -> None:
    vectors = unit(np.array([[1, 0.0], [1, 0.1], [1, 0.2], [0, 1]]))
    controls = Controls(absolute_margin=0.0)
    positives = (np.array([0]), np.array([2]))
    mined = hard_negatives(vectors[:1], vectors, positives, controls, ignored=(np.array([0]), np.array([0])))
    assert mined.rows.tolist() == [[3]]  # 1 lies nearer than the positive
    assert mined.removed == {"absolute_margin": 1}
    assert mined.lowest_positive.tolist() == [2]
    np.testing.assert_allclose(mined.lowest_positive_score, [float(vectors[0] @ vectors[2])], rtol=1e-6)


def test_margins_are_measured_from_the_lowest_scoring_positive() -> None:
    vectors = unit(np.array([[1, 0.0], [1, 0.1], [1, 0.3], [1, 0.6]]))
    positives = (np.array([0, 0]), np.array([0, 2]))
    assert hard_negatives(vectors[:1], vectors, positives, Controls()).rows.tolist() == [[1]]
    assert hard_negatives(vectors[:1], vectors, positives, Controls(relative_margin=0.0)).rows.tolist() == [[3]]


def test_scores_of_a_rescorer_replace_the_models() -> None:
    queries, keys = clusters(30, 100, 8, 2)
    positives = (np.arange(30), np.arange(30))
    judged = np.random.default_rng(0).random((30, 100)).astype(np.float32)
    controls = Controls(negatives=4, range_min=1, range_max=10, absolute_margin=0.05)
    mined = hard_negatives(queries, keys, positives, controls, rescore=lambda q, k: judged[q, k])
    nearest = hard_negatives(queries, keys, positives, Controls(negatives=10, range_max=10)).rows
    for i in range(30):
        ranked = sorted(nearest[i].tolist(), key=lambda j: -judged[i, j])[1:]
        expected = [j for j in ranked if judged[i, j] <= judged[i, i] - 0.05][:4]
        assert [j for j in mined.rows[i].tolist() if j >= 0] == expected
    assert mined.lowest_positive_score.tolist() == judged[np.arange(30), np.arange(30)].tolist()


def test_gathered_products_are_the_same() -> None:
    queries, keys = map(torch.from_numpy, clusters(7, 30, 8, 3))
    rows, offsets = torch.randint(0, 30, (20,)), torch.tensor([0, 3, 3, 9, 12, 15, 20, 20])
    one, two = (
        nearest.products(queries, keys, rows, offsets),
        nearest._gathered_products(queries, keys, rows, offsets, 6),
    )
    torch.testing.assert_close(one, two)


def test_threads_stay_as_they_were() -> None:
    before = torch.get_num_threads()
    queries, keys = clusters(10, 5000, 8, 4)
    hard_negatives(queries, keys, (np.arange(10), np.arange(10)), Controls())
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"negatives": 0}, "negatives must be at least 1"),
        ({"range_min": -1}, "range_min must be at least 0"),
        ({"range_min": 99, "negatives": 2}, "raise range_max"),
        ({"sampling": "tops"}, "did you mean 'top'"),
        ({"max_score": float("nan")}, "finite"),
        ({"max_score": 0.1, "min_score": 0.2}, "above max_score"),
    ],
)
def test_bad_controls(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Controls(**settings)


def test_bad_vectors() -> None:
    x = np.eye(3, dtype=np.float32)
    positives = (np.array([0]), np.array([0]))
    with pytest.raises(InputError, match="share d"):
        hard_negatives(x, x[:, :2], positives)
    with pytest.raises(InputError, match="there are none"):
        hard_negatives(x, x[:0], (positives[0][:0], positives[0][:0]))
    with pytest.raises(InputError, match=r"positives: key rows must lie in 0\.\.2"):
        hard_negatives(x, x, (positives[0], positives[0] + 3))
    with pytest.raises(InputError, match="one length"):
        hard_negatives(x, x, (positives[0], np.array([0, 1])))
    with pytest.raises(InputError, match="row 1"):
        hard_negatives(np.array([[1, 0], [np.nan, 0]], np.float32), x[:, :2], positives)
