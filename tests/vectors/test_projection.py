"""Principal axes by blocks against a plain singular value decomposition, and neighbours counted one by one."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from nearfar.errors import InputError
from nearfar.vectors.corpus_map import map_of
from nearfar.vectors.kept import neighbours_kept
from nearfar.vectors.projection import Values, principal_axes, umap_places


def drawn(n: int = 200, d: int = 12, seed: int = 0) -> Values:
    draw = np.random.default_rng(seed)
    return draw.standard_normal((n, d)) @ draw.standard_normal((d, d)) + draw.standard_normal(d)


def cut(vectors: Values, size: int) -> list[Values]:
    return [vectors[start : start + size] for start in range(0, len(vectors), size)]


@pytest.mark.parametrize(("n", "d"), [(200, 12), (5, 30), (300, 2), (3, 3)])
def test_places_are_those_of_a_plain_decomposition(n: int, d: int) -> None:
    vectors = drawn(n, d)
    centred = vectors - vectors.mean(0)
    left, singular, right = np.linalg.svd(centred, full_matrices=False)
    expected = left[:, :2] * singular[:2]
    expected *= np.sign(expected[np.abs(expected).argmax(0), [0, 1]])
    places, axes = principal_axes(vectors)
    scale = np.abs(expected).max()
    assert np.abs(places - expected).max() <= 1e-9 * scale
    assert axes.shares == pytest.approx(singular[:2] ** 2 / (singular**2).sum())
    assert np.abs(axes.places(vectors) - places).max() <= 1e-9 * scale
    assert np.abs(axes.axes.T @ right[:2].T) == pytest.approx(np.eye(2), abs=1e-7)


def test_how_the_rows_are_cut_changes_nothing() -> None:
    vectors = drawn() + 1e3  # a middle far from zero, where plain sums of squares cancel
    places, axes = principal_axes(vectors)
    for size in (1, 7, 64, 199, 500):
        other, same = principal_axes(lambda size=size: cut(vectors, size))  # type: ignore[misc]
        assert np.abs(other - places).max() <= 1e-9 * np.abs(places).max()
        assert same.shares == pytest.approx(axes.shares, rel=1e-9)
    empty = np.empty((0, 12))
    assert principal_axes(lambda: [empty, *cut(vectors, 50), empty])[0] == pytest.approx(places, rel=1e-9, abs=1e-9)


def test_the_sign_is_that_of_the_farthest_place() -> None:
    vectors = np.array([[0, 5, 1], [0, -1, 1], [3, -2, 1], [-3, -2, 1]], float)  # variances 18, 34 and 0
    places, axes = principal_axes(vectors)
    assert axes.shares == pytest.approx([34 / 52, 18 / 52])
    assert places[:, 0] == pytest.approx([5, -1, -2, -2])
    assert places[:, 1] == pytest.approx([0, 0, 3, -3])  # as far: the first of them
    flipped, same = principal_axes(-vectors)
    assert flipped[:, 0] == pytest.approx(places[:, 0])
    assert same.shares == pytest.approx(axes.shares)


def test_vectors_that_are_one_point_or_one_line() -> None:
    for value in (0.1, 0.0):
        places, axes = principal_axes(np.full((4, 3), value))
        assert (places.tolist(), axes.shares.tolist()) == ([[0, 0]] * 4, [0, 0])
    places, axes = principal_axes(np.array([[1.0], [2.0], [4.0]]))
    assert axes.shares.tolist() == [1, 0]
    assert places[:, 0] == pytest.approx([-4 / 3, -1 / 3, 5 / 3])


@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_than_three_vectors_are_no_map(n: int) -> None:
    with pytest.raises(InputError, match=f"at least 3 vectors, there {'is' if n == 1 else 'are'} {n}"):
        principal_axes(np.zeros((n, 4)))
    with pytest.raises(InputError, match="at least 3 vectors"):
        umap_places(np.zeros((n, 4)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_named(value: float) -> None:
    vectors = drawn(20, 4)
    vectors[13, 2] = value
    for make in (principal_axes, umap_places):
        with pytest.raises(InputError, match=r"vector 14: is not finite"):
            make(lambda: cut(vectors, 6))
    with pytest.raises(InputError, match=r"rows from 7 on are \(2, 3\)"):
        principal_axes(lambda: [np.zeros((6, 4)), np.zeros((2, 3))])


def naive_kept(vectors: Values, places: Values, most: int) -> float:
    """Count, for each vector, which of its nearest by cosine are among the nearest on the map."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    shares, k = [], min(most, len(unit) - 1)
    for i in range(len(unit)):
        others = [j for j in range(len(unit)) if j != i]
        near = sorted(others, key=lambda j: -float(unit[i] @ unit[j]))[:k]
        shown = sorted(others, key=lambda j: float(np.linalg.norm(places[i] - places[j])))[:k]
        shares.append(len(set(near) & set(shown)) / k)
    return float(np.mean(shares))


@pytest.mark.parametrize("n", [4, 11, 90])
def test_neighbours_kept_are_counted_one_by_one(n: int) -> None:
    vectors = drawn(n, 6, seed=3)
    places = principal_axes(vectors)[0]
    found = neighbours_kept(vectors, places)
    assert found.share == pytest.approx(naive_kept(vectors, places, 10))
    assert found.chance == pytest.approx(min(10, n - 1) / (n - 1))
    assert found.sample == n
    assert neighbours_kept(lambda: cut(vectors, 7), places) == found
    circle = vectors[:, :2] / np.linalg.norm(vectors[:, :2], axis=1, keepdims=True)
    assert neighbours_kept(circle, circle).share == 1


def test_a_sample_is_compared_with_all_rows() -> None:
    vectors = drawn(400, 5, seed=1)
    places = principal_axes(vectors)[0]
    found = neighbours_kept(vectors, places, sample=60, seed=2)
    rows = np.sort(np.random.default_rng(2).choice(400, 60, replace=False))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = []
    for i in rows:
        near = [j for j in np.argsort(-(unit @ unit[i]), kind="stable") if j != i][:10]
        shown = [j for j in np.argsort(np.linalg.norm(places - places[i], axis=1), kind="stable") if j != i][:10]
        expected.append(len(set(near) & set(shown)) / 10)
    assert found.share == pytest.approx(np.mean(expected))
    assert found.sample == 60


def test_copies_may_stand_for_each_other_and_a_heap_keeps_no_more_than_chance() -> None:
    vectors = np.repeat(drawn(8, 5, seed=4), 30, axis=0)  # each vector 30 times
    assert neighbours_kept(vectors, principal_axes(vectors)[0]).share == 1
    others = drawn(240, 5, seed=5)
    heap = neighbours_kept(others, np.zeros((240, 2)))
    assert abs(heap.share - heap.chance) < 0.05


def test_a_query_lies_at_its_projection_or_among_its_neighbours() -> None:
    vectors = drawn(40, 6, seed=7)
    made = map_of(vectors, [str(i) for i in range(40)])
    assert made.axes is not None
    assert made.locate(vectors[11], np.empty(0, np.int64)) == pytest.approx(made.places[11], abs=1e-5)
    with pytest.raises(InputError, match=r"the query's vector is \(5,\), the map's are \(6,\)"):
        made.locate(vectors[11][:5], np.empty(0, np.int64))
    with pytest.raises(InputError, match="--method tsne: no such one"):
        map_of(vectors, [], "tsne")


def test_umap_keeps_groups_together_and_says_what_it_needs() -> None:
    vectors = np.repeat(np.eye(3, 8) * 5, 40, axis=0) + 0.1 * drawn(120, 8, seed=9)
    if importlib.util.find_spec("umap") is None:
        with pytest.raises(InputError, match=r"pip install 'nearfar\[umap\]'"):
            umap_places(vectors)
        pytest.skip("the extra umap is not installed")
    made = map_of(vectors, [str(i) for i in range(120)], "umap")
    middles = np.stack([made.places[start : start + 40].mean(0) for start in (0, 40, 80)])
    nearest = np.linalg.norm(made.places[:, None] - middles, axis=2).argmin(1)
    assert (nearest == np.repeat([0, 1, 2], 40)).mean() > 0.95
    assert made.locate(vectors[0], np.arange(3)) == pytest.approx(made.places[:3].mean(0))
    assert np.array_equal(umap_places(vectors), umap_places(vectors))
