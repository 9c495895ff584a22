"""Near copies: all pairs that a slow comparison finds, planted copies of every kind, and no others."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest

from nearfar.column import Ids
from nearfar.pictures.near_copies import COARSE, DETAIL, grey_forms, near_copies
from tests.pictures.samples import encoded

pillow = pytest.importorskip("PIL.Image", reason="the extra images is not installed")
Picture = np.ndarray


def photograph(seed: int, height: int = 48, width: int = 48) -> Picture:
    """Return noise of all scales, as photographs have it."""
    draw = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for side in (2, 4, 8, 16, 32):
        field = pillow.fromarray(draw.integers(0, 256, (side, side, 3), np.uint8))
        total += np.asarray(field.resize((width, height), pillow.Resampling.BICUBIC), float) / side**0.7
    total -= total.min()
    picture: Picture = (20 + 200 * total / total.max()).astype(np.uint8)
    return picture


def resized(picture: Picture, factor: float) -> Picture:
    size = round(picture.shape[1] * factor), round(picture.shape[0] * factor)
    return np.asarray(pillow.fromarray(picture).resize(size, pillow.Resampling.BICUBIC))


def saved(picture: Picture) -> Picture:
    return np.asarray(pillow.open(io.BytesIO(encoded(picture, "JPEG", quality=50))))


CHANGES: dict[str, Callable[[Picture], Picture]] = {
    "saved": saved,
    "smaller": lambda picture: resized(picture, 0.9),
    "larger": lambda picture: resized(picture, 1.1),
    "brighter": lambda picture: (picture * 1.05).clip(0, 255).astype(np.uint8),
    "all": lambda picture: saved((resized(picture, 0.9) * 1.05).clip(0, 255).astype(np.uint8)),
}


def reader(pictures: list[Picture]) -> Callable[[Ids], list[Picture]]:
    return lambda rows: [pictures[row] for row in rows.tolist()]


@pytest.mark.parametrize("change", CHANGES)
def test_planted_copies_are_found_and_nothing_else(change: str) -> None:
    originals = [photograph(i) for i in range(40)]
    copies = [CHANGES[change](picture) for picture in originals[:10]]
    found = near_copies(reader([*originals, *copies]), 50)
    assert found.pairs.tolist() == [[i, 40 + i] for i in range(10)]
    assert found.similarity.min() >= DETAIL and not found.mirrored.any()


def test_the_mirrored_are_found_only_where_that_is_asked_for() -> None:
    pictures = [*(photograph(i) for i in range(6)), np.ascontiguousarray(photograph(2)[:, ::-1])]
    assert len(near_copies(reader(pictures), 7).pairs) == 0
    found = near_copies(reader(pictures), 7, mirrored=True)
    assert (found.pairs.tolist(), found.mirrored.tolist()) == ([[2, 6]], [True])


def test_a_symmetric_picture_and_its_copy_are_one_pair() -> None:
    half = photograph(1)[:, :24]
    symmetric = np.concatenate([half, half[:, ::-1]], 1)
    found = near_copies(reader([symmetric, saved(symmetric), photograph(2)]), 3, mirrored=True)
    assert (found.pairs.tolist(), found.mirrored.tolist()) == ([[0, 1]], [False])


def test_every_pair_that_a_slow_comparison_finds_is_found() -> None:
    draw = np.random.default_rng(0)
    base = [photograph(i, 32, 32).astype(float) for i in range(12)]
    pictures = [  # mixtures of two, so that similarities lie on both sides of the limits
        (base[i % 12] * (1 - weight) + base[(i + 1) % 12] * weight).astype(np.uint8)
        for i, weight in enumerate(draw.uniform(0, 0.5, 90))
    ]
    coarse, detail = (form.astype(np.float64) for form in grey_forms(pictures))

    def correlation(rows: np.ndarray, i: int, j: int) -> float:
        return float(np.corrcoef(rows[i], rows[j])[0, 1])

    expected = [
        [i, j]
        for i in range(90)
        for j in range(i + 1, 90)
        if correlation(coarse, i, j) >= COARSE and correlation(detail, i, j) >= DETAIL
    ]
    assert 20 < len(expected) < 2000
    assert near_copies(reader(pictures), 90).pairs.tolist() == expected


def test_pictures_of_one_colour_are_passed_over() -> None:
    pictures = [np.full((20, 20, 3), value, np.uint8) for value in (10, 10, 200)] + [photograph(0)]
    assert len(near_copies(reader(pictures), 4).pairs) == 0
    assert len(near_copies(reader(pictures[:1]), 1).pairs) == 0


def test_pictures_of_several_shapes_keep_their_order() -> None:
    pictures = [photograph(0), photograph(1, 64, 40), photograph(2), photograph(1, 64, 40), photograph(3, 32, 32)]
    coarse = grey_forms(pictures)[0]
    alone = np.concatenate([grey_forms([picture])[0] for picture in pictures])
    assert np.abs(coarse - alone).max() < 1e-3
    assert near_copies(reader(pictures), 5).pairs.tolist() == [[1, 3]]
