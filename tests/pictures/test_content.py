"""Pictures cut to what they show: centred, of one size wherever it lay, by the colour of the edge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nearfar import Model
from nearfar.augmentations import ImageAugmentation
from nearfar.compute.draws import Draws
from nearfar.encoders import Image
from nearfar.pictures.content import DIFFERENT, LEAST, MARGIN, trimmed

SIDES = st.integers(1, 24)


def naive(picture: np.ndarray) -> np.ndarray:
    """Return the square, pixel by pixel."""
    h, w, _ = picture.shape
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    edge = np.sort(border, axis=0)[(len(border) - 1) // 2].astype(int)  # torch's median: the lower of two
    shown = [(i, j) for i in range(h) for j in range(w) if max(abs(picture[i, j].astype(int) - edge)) > DIFFERENT]
    top, left, down, right = 0, 0, h, w
    if shown:
        (top, down), (left, right) = ((min(at), max(at) + 1) for at in zip(*shown))
    longest = max(down - top, right - left)
    side = longest + 2 * max(LEAST, round(longest * MARGIN))
    first = (top + down - side) // 2, (left + right - side) // 2
    found = np.empty((side, side, 3), np.uint8)
    for i, j in np.ndindex(side, side):
        y, x = first[0] + i, first[1] + j
        found[i, j] = picture[y, x] if 0 <= y < h and 0 <= x < w else edge
    return found


@settings(deadline=None)
@given(height=SIDES, width=SIDES, seed=st.integers(0, 99), levels=st.sampled_from([1, 2, 256]))
def test_it_is_the_square_around_what_differs_from_the_edge(height: int, width: int, seed: int, levels: int) -> None:
    random = np.random.default_rng(seed)
    picture = (random.integers(0, levels, (height, width, 3)) * (255 // max(1, levels - 1))).astype(np.uint8)
    picture[random.random((height, width)) < 0.7] = 200
    np.testing.assert_array_equal(trimmed(torch.from_numpy(picture)).numpy(), naive(picture))


def letter(top: int, left: int, ground: int = 255) -> Tensor:
    """Return a picture of a mark somewhere on a plain ground."""
    picture = torch.full((60, 90, 3), ground, dtype=torch.uint8)
    picture[top : top + 20, left : left + 4] = 30
    picture[top + 16 : top + 20, left : left + 12] = 30
    return picture


def test_where_a_mark_lies_does_not_matter() -> None:
    expected = trimmed(letter(20, 40))
    for place in ((0, 40), (20, 0), (40, 78), (3, 4)):
        assert torch.equal(trimmed(letter(*place)), expected)
    assert torch.equal(
        trimmed(torch.full((4, 7, 3), 9, dtype=torch.uint8)), torch.full((11, 11, 3), 9, dtype=torch.uint8)
    )


def test_a_model_reads_marks_alike_wherever_they_lie_and_promises_no_other_library(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"model": "resnet18", "stem": "own", "size": 32}
    model = Model(Image(**settings, fit="content"))
    vectors = model.embed([letter(20, 40).numpy(), letter(1, 3).numpy()])
    np.testing.assert_array_equal(vectors[0], vectors[1])
    other = Model(Image(**settings, fit="squash"))
    assert model.fingerprint != other.fingerprint
    apart = other.embed([letter(20, 40).numpy(), letter(1, 3).numpy()])
    assert not np.array_equal(apart[0], apart[1])
    again = Model.load(model.save(tmp_path / "m"))
    np.testing.assert_allclose(again.embed([letter(20, 40).numpy()]), vectors[:1], atol=1e-6)
    assert again.fingerprint == model.fingerprint
    promised, card = (tmp_path / "m" / "README.md").read_text(), (other.save(tmp_path / "o") / "README.md").read_text()
    assert "timm.create_model" in card and "timm.create_model" not in promised


def test_views_are_cut_as_pictures_are() -> None:
    encoder = Image(model_args={"widths": [4, 8]}, size=32, fit="content")
    views = ImageAugmentation("handwriting", size=64)(
        torch.stack([letter(20, 40)] * 3), Draws.of(np.array([[0], [1], [2]]))
    )
    expected = encoder.inputs(list(views))
    (part,) = encoder.inputs(torch.as_tensor(views)).parts
    assert part.shape == (3, 32, 32, 3) and torch.equal(part, expected.parts[0])


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 9, 3), (9, 1, 3)])
def test_the_smallest_pictures_are_squares_of_their_edge(shape: tuple[int, int, int]) -> None:
    assert trimmed(torch.full(shape, 7, dtype=torch.uint8)).unique().tolist() == [7]
