"""Top-k against a full sort, in every blocking, with ties, exclusions and bad input."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.compute import fp32_products
from nearfar.errors import InputError
from nearfar.vectors.ranking import Ranking
from nearfar.vectors.topk import TopK, topk

ONEDNN = hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.backends.mkldnn.is_available()
LIBRARIES = [False, pytest.param(True, marks=pytest.mark.skipif(not ONEDNN, reason="this torch has no oneDNN"))]


def grid(n: int, d: int, seed: int) -> np.ndarray:
    """Small whole numbers: products are exact in float32, and ties abound."""
    return np.random.default_rng(seed).integers(-2, 3, (n, d)).astype(np.float32)


def full_sort(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(scores, rows, 1)
    return np.where(np.isneginf(best), -1, rows), best


sizes = {"n": st.integers(0, 9), "m": st.integers(0, 40), "d": st.integers(1, 4), "k": st.integers(1, 50)}


@settings(deadline=None, max_examples=150)
@given(
    **sizes, block=st.tuples(st.integers(1, 6), st.integers(1, 45)), seed=st.integers(0, 999), mode=st.integers(0, 3)
)
def test_it_is_the_full_sort(n: int, m: int, d: int, k: int, block: tuple[int, int], seed: int, mode: int) -> None:
    queries, keys, generator = grid(n, d, seed), grid(m, d, seed + 1000), np.random.default_rng(seed)
    scores = queries @ keys.T
    allowed = generator.random(m) < 0.6 if mode & 1 else None
    excluded = None
    if allowed is not None:
        scores[:, ~allowed] = -np.inf
    if mode & 2 and n * m:
        excluded = generator.integers(0, n, 30), generator.integers(0, m, 30)
        scores[excluded] = -np.inf
    ranking = topk(queries, keys, k, allowed=allowed, excluded=excluded, block=block)
    rows, best = full_sort(scores, k)
    assert ranking.rows.shape == (n, min(k, m))
    np.testing.assert_array_equal(ranking.rows, rows)
    np.testing.assert_array_equal(ranking.scores, best)
    assert ranking.rows.dtype == np.int64
    assert ranking.scores.dtype == np.float32


@pytest.mark.parametrize("block", [(512, 8192), (64, 100), (7, 33), (1, 1), (1000, 65)])
@pytest.mark.parametrize("by_onednn", LIBRARIES)
def test_equal_keys_stay_in_order_wherever_they_lie(
    block: tuple[int, int], by_onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fp32_products, "onednn_fp32", lambda: by_onednn)
    monkeypatch.setattr(fp32_products, "_LEAST_WORK", 0)
    generator = np.random.default_rng(0)
    keys = np.repeat(generator.standard_normal((65, 48)).astype(np.float32), 3, 0)[generator.permutation(195)]
    queries = generator.standard_normal((20, 48)).astype(np.float32)
    ranking = topk(queries, keys, 195, block=block)
    scores = np.einsum("nkd,nd->nk", keys[ranking.rows].astype(np.float64), queries.astype(np.float64))
    assert np.all(np.diff(ranking.scores) <= 0)
    np.testing.assert_allclose(ranking.scores, scores, atol=1e-5)
    same = np.all(keys[ranking.rows[:, 1:]] == keys[ranking.rows[:, :-1]], axis=2)
    assert same.sum() == 20 * 65 * 2
    assert np.all(np.diff(ranking.rows)[same] > 0)


def test_zeros_of_either_sign_are_equal() -> None:
    ranking = topk(np.array([[-1.0, 0.0]]), np.array([[0.0, 1], [-0.0, 1], [0.0, -1]]), 3)
    assert ranking.rows.tolist() == [[0, 1, 2]]
    assert not np.signbit(ranking.scores).any()


def test_keys_may_arrive_in_portions() -> None:
    queries, keys = grid(5, 3, 0), grid(30, 3, 1)
    best = TopK(queries, 8, block=(2, 4))
    for start, stop in ((0, 3), (3, 3), (3, 20), (20, 30)):
        best.add(keys[start:stop])
    assert best.size == 30
    np.testing.assert_array_equal(best.ranking().rows, topk(queries, keys, 8).rows)


def test_exclusions_name_rows_of_the_whole() -> None:
    best = TopK(np.ones((2, 1)), 3)
    best.add(np.array([[4.0], [3.0]]), excluded=(np.array([1]), np.array([0])))
    best.add(np.array([[2.0], [1.0]]), excluded=(np.array([0]), np.array([2])))
    assert best.ranking().rows.tolist() == [[0, 1, 3], [1, 2, 3]]


def test_tensors_arrays_and_types_give_the_same() -> None:
    queries, keys = grid(4, 3, 0), grid(9, 3, 1)
    expected = topk(queries, keys, 4).rows
    mapped = keys.astype(np.float64)
    mapped.flags.writeable = False  # as a mapped file
    for q, k in (
        (torch.from_numpy(queries).double(), torch.from_numpy(keys)),
        (torch.from_numpy(queries).bfloat16(), mapped),
        (np.asfortranarray(queries), keys.astype(np.float16)),
        (torch.from_numpy(queries).requires_grad_(), keys),
    ):
        np.testing.assert_array_equal(topk(q, k, 4).rows, expected)


def test_autocast_does_not_round_products() -> None:
    queries, keys = np.random.default_rng(0).standard_normal((2, 30, 16)).astype(np.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = topk(queries, keys, 5)
    np.testing.assert_array_equal(inside.scores, topk(queries, keys, 5).scores)


def test_nothing_allowed_is_found_nowhere() -> None:
    ranking = topk(np.ones((2, 1)), np.ones((3, 1)), 2, allowed=np.zeros(3, bool))
    assert ranking.rows.tolist() == [[-1, -1]] * 2
    assert np.isneginf(ranking.scores).all()


def test_bad_input_is_named() -> None:
    good, bad = np.ones((6, 2)), np.ones((6, 2))
    bad[4, 1] = np.nan
    with pytest.raises(InputError, match=r"queries: 1 of 6 rows are NaN.* \(row 4\)"):
        topk(bad, good, 1)
    with pytest.raises(InputError, match=r"keys: 1 of 2 rows are NaN.* \(row 4\)"):
        topk(good, bad, 1, block=(4, 2))
    with pytest.raises(InputError, match=r"keys: .*\(row 10\)"):
        best = TopK(good, 1)
        best.add(good)
        best.add(bad)
    with pytest.raises(InputError, match=r"keys must be \(m, 2\) like the queries, they are \(6, 3\)"):
        topk(good, np.ones((6, 3)), 1)
    with pytest.raises(InputError, match=r"k and block must be at least 1, they are 0"):
        topk(good, good, 0)
    with pytest.raises(InputError, match=r"allowed must be \(6,\) bool, it is \(6,\) int64"):
        topk(good, good, 1, allowed=np.ones(6, np.int64))
    with pytest.raises(InputError, match="excluded must be two vectors of one length"):
        topk(good, good, 1, excluded=(np.zeros(2, np.int64), np.zeros(3, np.int64)))
    with pytest.raises(InputError, match=r"must be one \(n, k\)"):
        Ranking(np.zeros((2, 3), np.int64), np.zeros((2, 2), np.float32))


def test_products_of_the_longest_vectors_allowed_do_not_overflow() -> None:
    keys = np.array([[9e17, 0], [-9e17, 0]], np.float32)
    ranking = topk(keys, keys, 2)
    assert ranking.rows.tolist() == [[0, 1], [1, 0]]
    assert np.isfinite(ranking.scores).all()
