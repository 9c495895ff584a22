"""The changes of pictures: each is torchvision's function, drawn as torchvision's transforms draw."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.stats import ks_2samp, kstest
from torch import Tensor

from nearfar.augmentations.image import ImageAugmentation
from nearfar.augmentations.image_changes import affine, blur, boxes, colour, stroke
from nearfar.augmentations.image_changes.presets import PRESETS
from nearfar.compute.draws import Draws
from nearfar.errors import InputError
from nearfar.pictures.resize import SMALL, resized, resized_crops

F = pytest.importorskip("torchvision.transforms.v2.functional", reason="torchvision is not installed")
T = pytest.importorskip("torchvision.transforms.v2")

CLOSE: dict[str, Any] = {"rtol": 0.0, "atol": 1e-5}


def drawn(n: int, seed: int = 0) -> Draws:
    return Draws.of(np.stack([np.full(n, seed), np.arange(n)], 1))


def pictures(n: int = 5, height: int = 13, width: int = 17, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), np.uint8))


def floats(n: int = 5, height: int = 13, width: int = 17) -> Tensor:
    """Return pictures in 0 to 1, some with grey, black, white and equal channels, where hue is not defined."""
    x = pictures(n, height, width).permute(0, 3, 1, 2).float() / 255
    x[:, :, 0] = x[:, :1, 0]
    x[:, :, 1], x[:, :, 2] = 0, 1
    x[:, 1, 3] = x[:, 0, 3]
    return x


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    side=st.integers(1, 40),
    seed=st.integers(0, 10**6),
    flipped=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_a_resized_crop_is_torchvisions(height: int, width: int, side: int, seed: int, flipped: bool) -> None:
    """Of small pictures, by matrix products, and of large ones."""
    random = np.random.default_rng(seed)
    tall, wide = int(random.integers(1, height + 1)), int(random.integers(1, width + 1))
    top, left = int(random.integers(0, height - tall + 1)), int(random.integers(0, width - wide + 1))
    cells = pictures(2, height, width, seed)
    found = resized_crops(cells, torch.tensor([[top, left, tall, wide]] * 2), side, side, torch.tensor([flipped] * 2))
    planes = cells.permute(0, 3, 1, 2).float() / 255
    expected = F.resized_crop(planes, top, left, tall, wide, [side, side], antialias=True)
    torch.testing.assert_close(found, expected.flip(3) if flipped else expected, **CLOSE)


def test_whole_pictures_of_many_sizes_are_resized_alike() -> None:
    cells = [pictures(1, height, width)[0] for height, width in ((20, 30), (100, 80), (16, 16))]
    found = resized(cells, 16, 16)
    for cell, one in zip(cells, found, strict=True):
        planes = cell.permute(2, 0, 1)[None].float() / 255
        torch.testing.assert_close(one[None], F.resize(planes, [16, 16], antialias=True), **CLOSE)
    assert max(cell.shape[0] * cell.shape[1] for cell in cells) > SMALL > 600  # both ways were taken


@pytest.mark.parametrize(
    ("change", "peer", "low", "high"),
    [
        (colour.brightened, F.adjust_brightness, 0.0, 2.0),
        (colour.contrasted, F.adjust_contrast, 0.0, 2.0),
        (colour.saturated, F.adjust_saturation, 0.0, 2.0),
        (colour.hue_turned, F.adjust_hue, -0.5, 0.5),
    ],
)
def test_changes_of_colour_are_torchvisions(change: Any, peer: Any, low: float, high: float) -> None:
    x = floats(9)
    factors = torch.linspace(low, high, 9)
    expected = torch.stack([peer(one, factor) for one, factor in zip(x, factors.tolist(), strict=True)])
    torch.testing.assert_close(change(x.clone(), factors), expected, **CLOSE)


def test_grey_solarised_and_blurred_are_torchvisions() -> None:
    x = floats(4, 40, 40)
    torch.testing.assert_close(colour.grey(x), F.rgb_to_grayscale(x, 1), **CLOSE)
    torch.testing.assert_close(colour.solarised(x, 0.5), F.solarize(x, 0.5), **CLOSE)
    sigmas = torch.tensor([0.1, 0.5, 1.0, 2.0])
    expected = torch.stack([F.gaussian_blur(one, [5, 5], [s, s]) for one, s in zip(x, sigmas.tolist(), strict=True)])
    torch.testing.assert_close(blur.blurred(x, sigmas, 5), expected, **CLOSE)


def test_a_bent_picture_is_sampled_where_the_bend_says() -> None:
    """Against a naive bilinear sample in float64, at each pixel, of what lies inside."""
    h, w = 6, 7
    x, bend = torch.rand(2, 3, h, w), torch.rand(2, 2, h, w) * 2 - 1
    still = torch.zeros(2), torch.zeros(2, 2), torch.ones(2), torch.zeros(2, 2), torch.zeros(2, 3)
    found = affine.warped(x, *still, bend)
    for n, i, j in np.ndindex(2, h, w):
        down, right = i + float(bend[n, 1, i, j]), j + float(bend[n, 0, i, j])
        top, left = math.floor(down), math.floor(right)
        expected = np.zeros(3)
        for y, x_ in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
            if 0 <= y < h and 0 <= x_ < w:
                expected += x[n, :, y, x_].double().numpy() * (1 - abs(down - y)) * (1 - abs(right - x_))
        assert found[n, :, i, j].numpy() == pytest.approx(expected, abs=1e-5)
    coarse = affine.warped(x, *still, torch.full((2, 2, 4, 4), 0.5))  # the same everywhere: moved
    move = torch.full((2, 2), -0.5)
    assert torch.allclose(coarse, affine.warped(x, still[0], move, *still[2:]), atol=1e-5)


def test_lines_are_bent_by_at_most_a_share_of_the_side_each_row_its_own() -> None:
    cells = torch.full((3, 32, 32, 3), 255, dtype=torch.uint8)
    cells[:, :, 14:18] = 0  # an upright line
    still: dict[str, Any] = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": 0.0, "jitter": 0.0, "grey": 0.0}
    same = torch.as_tensor(ImageAugmentation(size=32, **still)(cells, drawn(3)))
    bent = torch.as_tensor(ImageAugmentation(size=32, bend=0.1, **still)(cells, drawn(3)))
    assert torch.equal(same, cells)
    assert not torch.equal(bent[0], cells[0]) and not torch.equal(bent[0], bent[1])
    dark = (bent[..., 0] < 128).nonzero()  # (p, 3)
    assert dark[:, 2].min() >= 14 - 5 and dark[:, 2].max() <= 17 + 5  # 3.2 pixels, and what cubics overshoot
    assert torch.equal(bent[1], torch.as_tensor(ImageAugmentation(size=32, bend=0.1, **still)(cells, drawn(3)))[1])


def test_strokes_are_the_least_and_the_largest_of_their_neighbours_by_an_amount() -> None:
    """Against scipy's grey-scale morphology; what is cut off at the edge counts neither way."""
    x, amount = floats(5, 7, 9), torch.tensor([-1.0, -0.25, 0.0, 0.5, 1.0])
    found = stroke.restroked(x, amount)
    for n, share in enumerate(amount.tolist()):
        for c in range(3):
            plain = x[n, c].double().numpy()
            change = ndimage.grey_erosion if share > 0 else ndimage.grey_dilation
            expected = plain + abs(share) * (change(plain, size=(3, 3), mode="nearest") - plain)
            np.testing.assert_allclose(found[n, c].numpy(), expected, atol=1e-6)


def test_each_row_has_a_stroke_of_its_own() -> None:
    cells = torch.full((40, 32, 32, 3), 255, dtype=torch.uint8)
    cells[:, :, 14:18] = 0
    still: dict[str, Any] = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": 0.0, "jitter": 0.0, "grey": 0.0}
    drawn_anew = torch.as_tensor(ImageAugmentation(size=32, stroke=0.5, **still)(cells, drawn(40)))
    wide = 1 - drawn_anew[:, 16, :, 0].float().mean(1) / 255  # share of a row that is dark
    assert wide.min() >= 3 / 32 - 1e-3 and wide.max() <= 5 / 32 + 1e-3  # half a pixel at each edge
    assert (wide > 4 / 32).float().mean() == pytest.approx(0.5, abs=0.3) and len(wide.unique()) > 30


def test_an_affine_change_is_torchvisions() -> None:
    x = floats(3, 24, 24)
    angle, scale = torch.tensor([10.0, -25.0, 0.0]), torch.tensor([1.0, 0.8, 1.3])
    move, shear = (
        torch.tensor([[2.0, -1.0], [0.0, 3.0], [0.0, 0.0]]),
        torch.tensor([[5.0, 0.0], [-10.0, 7.0], [0.0, 0.0]]),
    )
    found = affine.warped(x, angle, move, scale, shear, torch.zeros(3, 3))
    bilinear = F.InterpolationMode.BILINEAR
    settings = zip(x, angle.tolist(), move.tolist(), scale.tolist(), shear.tolist(), strict=True)
    expected = torch.stack([F.affine(*one, bilinear) for one in settings])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)  # places are computed in another order
    filled = affine.warped(torch.full_like(x, 0.25), angle, move, scale, shear, torch.full((3, 3), 0.25))
    torch.testing.assert_close(filled, torch.full_like(x, 0.25), **CLOSE)  # no dark seam at the edge


def test_four_changes_come_in_each_rows_own_order() -> None:
    x = floats(6)
    rows = torch.tensor([0, 2, 3, 5])
    order = torch.stack([torch.randperm(4, generator=torch.Generator().manual_seed(i)) for i in range(4)])
    factors = torch.tensor([[0.6, 1.4, 0.3, 0.2], [1.5, 0.5, 1.5, -0.1], [1, 1, 1, 0.0], [0.9, 1.2, 0.1, 0.4]])
    expected = x.clone()
    peers = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
    for row, one, own in zip(rows.tolist(), factors.tolist(), order.tolist(), strict=True):
        for number in own:
            expected[row] = peers[number](expected[row], one[number])
    torch.testing.assert_close(colour.jittered(x.clone(), rows, factors, order), expected, **CLOSE)


N = 100_000  # draws of a distribution
LEAST_P = 1e-4  # of a test of Kolmogorov and Smirnov; the draws are fixed


@pytest.mark.parametrize("size", [(32, 32), (30, 90)])
@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.05, 0.4)])
def test_crops_have_torchvisions_distribution(size: tuple[int, int], scale: tuple[float, float]) -> None:
    found = boxes.crop_boxes(drawn(N), 0, torch.tensor([size]).expand(N, 2), scale, (3 / 4, 4 / 3)).numpy()
    torch.manual_seed(0)
    peer = T.RandomResizedCrop(32, scale=scale, ratio=(3 / 4, 4 / 3), antialias=True)
    picture = torch.empty(3, *size)
    names = ("top", "left", "height", "width")
    drawn_by_peer = [peer.make_params([picture]) for _ in range(N // 5)]
    expected = np.array([[one[name] for name in names] for one in drawn_by_peer])
    for axis, name in enumerate(names):
        assert ks_2samp(found[:, axis], expected[:, axis]).pvalue > LEAST_P, name
    ends = found[:, :2] + found[:, 2:]
    assert (found[:, :2] >= 0).all() and (ends <= size).all() and (found[:, 2:] > 0).all()


def test_cutouts_have_torchvisions_distribution() -> None:
    found = boxes.cutout_boxes(drawn(N), 0, (32, 32), (0.02, 0.33), (0.3, 3.3)).numpy()
    torch.manual_seed(0)
    peer, picture = T.RandomErasing(1.0), torch.empty(3, 32, 32)
    expected = np.array(
        [[one[name] for name in "ijhw"] for one in (peer.make_params([picture]) for _ in range(N // 5))]
    )
    for axis in range(4):
        assert ks_2samp(found[:, axis], expected[:, axis]).pvalue > LEAST_P


def test_colours_have_torchvisions_distribution() -> None:
    """Factors uniform in their ranges, a change of each chance, orders all alike."""
    image = ImageAugmentation("simclr", strength=1.0)
    factors = image._factors(drawn(N), 32).double().numpy()
    for column, (low, high) in enumerate([(0.2, 1.8), (0.2, 1.8), (0.2, 1.8), (-0.2, 0.2)]):
        assert kstest(factors[:, column], "uniform", (low, high - low)).pvalue > LEAST_P
    places = drawn(N).order(4, lane=40).numpy() @ [64, 16, 4, 1]
    counts = np.unique(places, return_counts=True)[1]
    assert len(counts) == math.factorial(4)
    assert np.abs(counts / N - 1 / 24).max() < 5 * math.sqrt(1 / 24 / N)


@pytest.mark.parametrize("preset", PRESETS)
def test_no_two_rows_and_no_two_passes_share_a_view(preset: Any) -> None:
    """The same picture in all rows: all views differ, and so do those of the next pass."""
    same = pictures(1, 40, 40).expand(64, 40, 40, 3)
    views = [ImageAugmentation(preset, size=24)(same, drawn(64, seed)) for seed in (0, 1)]
    together = torch.cat([torch.as_tensor(view) for view in views]).numpy()
    assert together.shape == (128, 24, 24, 3)
    assert len({view.tobytes() for view in together}) == 128


def test_chances_are_kept() -> None:
    """Of a black and white picture: one view in two is mirrored, one in five grey."""
    half = torch.zeros(4000, 8, 8, 3, dtype=torch.uint8)
    half[:, :, 4:, 0] = 255
    whole = ImageAugmentation(size=8, scale=(1.0, 1.0), ratio=(1.0, 1.0), jitter=0.0)
    views = torch.as_tensor(whole(half, drawn(4000)))
    mirrored, grey = (views[:, 4, 1] > 0).any(1), views[..., 0] == views[..., 1]
    assert abs(mirrored.float().mean().item() - 0.5) < 0.04
    assert abs(grey.flatten(1).all(1).float().mean().item() - 0.2) < 0.03


def test_small_results_are_not_blurred_unless_it_is_asked_for() -> None:
    cells = pictures(40, 100, 100)
    plain = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": 0.0, "jitter": 0.0, "grey": 0.0}
    small, asked, large = (
        torch.as_tensor(ImageAugmentation("byol", size=size, **plain, **more)(cells, drawn(40)))  # type: ignore[arg-type]
        for size, more in ((64, {}), (64, {"blur": 1.0}), (96, {}))
    )
    changed = [(views != rounded(cells, views.shape[1])).flatten(1).any(1) for views in (small, asked, large)]
    assert not changed[0].any()
    assert all(of_size.float().mean() > 0.5 for of_size in changed[1:])  # the narrowest blurs change nothing


def rounded(cells: Tensor, side: int) -> Tensor:
    """Return whole pictures as their views would be, without any change."""
    return (resized(cells, side, side) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def test_the_size_is_that_of_the_setting_the_reader_or_the_picture() -> None:
    cells = [pictures(1, height, 50)[0].numpy() for height in (40, 30, 40)]
    assert torch.as_tensor(ImageAugmentation(size=16)(cells, drawn(3))).shape == (3, 16, 16, 3)
    assert torch.as_tensor(ImageAugmentation().resized_to(24, cells, drawn(3))).shape == (3, 24, 24, 3)
    assert [tuple(view.shape[:2]) for view in ImageAugmentation()(cells, drawn(3))] == [(40, 40), (30, 30), (40, 40)]
    local = ImageAugmentation("dino_local")
    assert torch.as_tensor(local.resized_to(224, cells, drawn(3))).shape == (3, 96, 96, 3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"preset": "simclr2"}, "no preset 'simclr2'; there are simclr"),
        ({"flip": 1.5}, "flip is a probability, 0 to 1; it is 1.5"),
        ({"scale": (0.0, 1.0)}, "scale must be a range within 0 and 1"),
        ({"size": 0}, "size must be at least 1"),
        ({"bend": 1.0}, "bend is a share of the side, 0 to below 1; it is 1.0"),
        ({"stroke": 2.0}, "stroke is a number of pixels, 0 to 1; it is 2.0"),
    ],
)
def test_settings_that_cannot_be_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        ImageAugmentation(**given)


@pytest.mark.parametrize("cells", [["a text"], torch.zeros(2, 8, 8, 3), [np.zeros((8, 8), np.uint8)]])
def test_what_is_no_picture_is_refused(cells: Any) -> None:
    with pytest.raises(InputError, match=r"takes pictures, uint8 \(h, w, 3\); here is a cell of kind"):
        ImageAugmentation()(cells, drawn(len(cells)))
