"""ImageAugmentation: a random crop of a picture, its colours changed: the views of SimCLR, MoCo, BYOL and DINO."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from nearfar.augmentations.image_changes.affine import warped
from nearfar.augmentations.image_changes.blur import blurred
from nearfar.augmentations.image_changes.boxes import Range, crop_boxes, cutout_boxes
from nearfar.augmentations.image_changes.colour import grey, jittered, solarised
from nearfar.augmentations.image_changes.presets import PRESETS, Preset
from nearfar.augmentations.image_changes.stroke import restroked
from nearfar.column import kind_of
from nearfar.compute.draws import Draws
from nearfar.errors import InputError
from nearfar.pictures.resize import by_shape, resized_crops

CROP, FLIP, JITTER, FACTORS, ORDER, GREY, BLUR, SOLARISE, CUTOUT, WARP, BEND, STROKE = range(0, 120, 10)  # lanes
SMALL = 64  # pixels of the result's side up to which colours change half as much, and nothing is blurred
BLOCK = 1 << 19  # numbers of a block of pictures that are changed together: they fit the cache
BENT = 4  # places along a side that are moved on their own, where lines are bent
LARGEST = 224  # pixels of the result's side where none is said


class ImageAugmentation:
    """A crop of a picture, resized, mirrored, its colours changed in a random order, made grey, blurred, solarised.

    Every picture of a batch has draws of its own. Each change is torchvision's of that name, its parameters have the
    distributions of torchvision's transforms, and resizing is antialiased.

    Args:
        preset: simclr, moco_v2, moco_v3, byol, dino_global, dino_local or handwriting; the settings below change it.
        size: side of the result in pixels; left out, the encoder's, times the preset's part.
        scale: range of the crop's share of the area. ratio: of width over height.
        flip, jitter, grey, blur, solarise, cutout: probabilities of being mirrored, of changed colours, of none, of a
            blur, of inverted bright values, of a box cut out.
        bend: share of the side by which lines are bent at most, smoothly.
        stroke: how many pixels of the result dark lines grow or shrink at most at each edge, 0 to 1.
        strength: factor on the changes of colour; left out, 1, and a half for results of up to 64 pixels (SimCLR,
            appendix B.9).

    The blur's width is 0.1 to 2 pixels for a result of 224, and in proportion for others. Results of up to 64 pixels
    are not blurred unless `blur` is given: at 32 pixels it costs more than it teaches.

    Call: (pictures, draws) -> uint8 (n, size, size, 3); pictures are a tensor (n, h, w, 3) or a list of (h, w, 3).

    Errors: `InputError` for an unknown preset, for settings out of range, for cells that are no pictures.

    Example:
        >>> import numpy as np, nearfar as nf
        >>> from nearfar.compute.draws import Draws
        >>> pictures = np.zeros((2, 40, 60, 3), np.uint8)
        >>> nf.augmentations.ImageAugmentation(size=32)(list(pictures), Draws.of(np.array([[0], [1]]))).shape
        torch.Size([2, 32, 32, 3])

    When not to use it: flips and turned hues where left and right or a colour decide what the picture is: text, signs,
    X-rays; take `handwriting`, or set flip and jitter to 0.
    """

    reads: tuple[str, ...] = ("image",)

    def __init__(
        self,
        preset: Literal["simclr", "moco_v2", "moco_v3", "byol", "dino_global", "dino_local", "handwriting"] = "simclr",
        size: int | None = None,
        scale: Range | None = None,
        ratio: Range | None = None,
        flip: float | None = None,
        jitter: float | None = None,
        grey: float | None = None,
        blur: float | None = None,
        solarise: float | None = None,
        cutout: float | None = None,
        bend: float | None = None,
        stroke: float | None = None,
        strength: float | None = None,
    ) -> None:
        if preset not in PRESETS:
            raise InputError(f"augmentations.image: there is no preset {preset!r}; there are {', '.join(PRESETS)}")
        chances = {"flip": flip, "jitter": jitter, "grey": grey, "blur": blur, "solarise": solarise, "cutout": cutout}
        settings: dict[str, Any] = {**chances, "scale": scale, "ratio": ratio, "bend": bend, "stroke": stroke}
        given = {name: value for name, value in settings.items() if value is not None}
        self.preset, self.size, self.scale, self.ratio, self.strength = preset, size, scale, ratio, strength
        self.bend, self.stroke = bend, stroke
        self.flip, self.jitter, self.grey, self.blur, self.solarise, self.cutout = chances.values()
        self.changes: Preset = replace(PRESETS[preset], **given)
        _check(self.changes, size, strength)

    def __call__(self, cells: Tensor | Sequence[Any], draws: Draws) -> Tensor | list[Tensor]:
        """Return a view of each picture: a tensor, but a list where no size is set and the pictures' sizes differ."""
        return self.resized_to(self.size, cells, draws)

    def resized_to(self, size: int | None, cells: Tensor | Sequence[Any], draws: Draws) -> Tensor | list[Tensor]:
        """Return a view of each picture, of the side that was set, else for a reader of pictures of side `size`."""
        parts: list[tuple[list[int], Tensor]] = []
        with torch.no_grad():
            for rows, pictures in _of_one_size(_pictures(cells)):
                side = self.size or _part(size or min(*pictures.shape[1:3], LARGEST), self.changes.part)
                views = torch.empty((len(rows), side, side, 3), dtype=torch.uint8, device=pictures.device)
                block = max(1, BLOCK // (3 * side * side))
                for part in (slice(start, start + block) for start in range(0, len(rows), block)):
                    view = self._view(pictures[part], draws[rows[part]], side)  # (b, 3, side, side)
                    views[part].copy_(view.mul_(255).round_().permute(0, 2, 3, 1))
                parts.append((rows, views))
        if len(parts) == 1:
            return parts[0][1]  # the rows are in order
        by_row = {row: view for rows, views in parts for row, view in zip(rows, views)}
        found = [by_row[row] for row in range(len(by_row))]
        return torch.stack(found) if len({view.shape for view in found}) == 1 else found

    def says(self, size: int | None = None) -> list[str]:
        """Return a line about what small results change less, for a reader of pictures of side `size`."""
        side = self.size or (0 if size is None else _part(size, self.changes.part))
        facts = ["blur is off"] * bool(self.changes.blur and not self.blur)
        facts += ["colours change half as much"] * bool(self.changes.jitter and self.strength is None)
        return [f"{' and '.join(facts)}, because they have {side} px"] if 0 < side <= SMALL and facts else []

    def _view(self, pictures: Tensor, draws: Draws, side: int) -> Tensor:
        """Return views (n, 3, side, side) in 0 to 1 of pictures (n, h, w, 3)."""
        changes, n = self.changes, len(pictures)
        sizes = torch.tensor([pictures.shape[1:3]], device=pictures.device).expand(n, 2)
        boxes = crop_boxes(draws, CROP, sizes, changes.scale, changes.ratio)
        x = resized_crops(pictures, boxes, side, side, _chosen(draws, FLIP, changes.flip) if changes.flip else None)
        x = self._warped(x, draws)
        if changes.stroke:
            x = restroked(x, draws.uniform(1, -changes.stroke, changes.stroke, lane=STROKE)[:, 0])
        if changes.jitter:
            rows = _chosen(draws, JITTER, changes.jitter).nonzero()[:, 0]
            jittered(x, rows, self._factors(draws[rows], side), draws[rows].order(4, lane=ORDER))
        if changes.grey:
            rows = _chosen(draws, GREY, changes.grey).nonzero()[:, 0]
            x.index_copy_(0, rows, grey(x.index_select(0, rows)).expand(-1, 3, -1, -1))
        if changes.blur and (side > SMALL or self.blur):
            rows = _chosen(draws, BLUR, changes.blur).nonzero()[:, 0]
            low, high = (sigma * side / 224 for sigma in changes.sigma)
            pixels = 2 * max(1, round(side / 20)) + 1  # a tenth of the side, SimCLR's
            sigma = draws[rows].uniform(1, low, high, lane=BLUR + 1)[:, 0]
            x.index_copy_(0, rows, blurred(x.index_select(0, rows), sigma, pixels))
        if changes.solarise:
            rows = _chosen(draws, SOLARISE, changes.solarise).nonzero()[:, 0]
            x.index_copy_(0, rows, solarised(x.index_select(0, rows)))
        if changes.cutout:
            self._cut_out(x, draws, _chosen(draws, CUTOUT, changes.cutout).nonzero()[:, 0])
        return x

    def _factors(self, draws: Draws, side: int) -> Tensor:
        """Return the factors (n, 4) of brightness, contrast, saturation, and the turn of the hue."""
        changes = self.changes
        strength = self.strength if self.strength is not None else (0.5 if side <= SMALL else 1.0)
        most = [strength * value for value in (changes.brightness, changes.contrast, changes.saturation, changes.hue)]
        low = torch.tensor([*(max(0.0, 1 - value) for value in most[:3]), -min(most[3], 0.5)], device=draws.key.device)
        high = torch.tensor([*(1 + value for value in most[:3]), min(most[3], 0.5)], device=draws.key.device)
        return low + (high - low) * draws.uniform(4, lane=FACTORS)

    def _warped(self, x: Tensor, draws: Draws) -> Tensor:
        """Return pictures turned, moved, zoomed, sheared and bent, on the colour of their edge."""
        changes = self.changes
        if not (changes.turn or changes.move or changes.shear or changes.bend or changes.zoom != (1.0, 1.0)):
            return x
        most = changes.bend * x.shape[3]
        bend = draws.uniform(2 * BENT * BENT, -most, most, lane=BEND).view(-1, 2, BENT, BENT) if changes.bend else None
        drawn = draws.uniform(6, -1, 1, lane=WARP)  # (n, 6)
        low, high = changes.zoom
        zoom = low + (high - low) * (drawn[:, 5] + 1) / 2
        move = drawn[:, 1:3] * changes.move * x.shape[3]
        edge = torch.cat([x[:, :, 0], x[:, :, -1], x[:, :, :, 0], x[:, :, :, -1]], 2)  # (n, 3, 4 * side)
        turn, shear = drawn[:, 0] * changes.turn, drawn[:, 3:5] * changes.shear
        return warped(x, turn, move, zoom, shear, edge.median(2).values, bend)

    def _cut_out(self, x: Tensor, draws: Draws, rows: Tensor) -> None:
        """Cut a box out of some pictures, in place."""
        side = x.shape[3]
        boxes = cutout_boxes(draws[rows], CUTOUT + 1, (side, side), self.changes.cutout_scale, (0.3, 3.3))
        place = torch.arange(side, device=x.device)
        tall, wide = (
            (place >= boxes[:, axis, None]) & (place < (boxes[:, axis] + boxes[:, axis + 2])[:, None])
            for axis in (0, 1)
        )
        x[rows] = x[rows].masked_fill((tall[:, :, None] & wide[:, None, :])[:, None], 0.0)


def _chosen(draws: Draws, lane: int, chance: float) -> Tensor:
    """Return which rows (n,) a change of some chance is made to."""
    return draws.uniform(1, lane=lane)[:, 0] < chance


def _pictures(cells: Tensor | Sequence[Any]) -> Tensor | list[Tensor]:
    """Return pictures as tensors. Errors: `InputError` for cells that are no pictures."""
    if isinstance(cells, Tensor) and cells.dtype == torch.uint8 and cells.dim() == 4 and cells.shape[3] == 3:
        return cells
    wrong = next((cell for cell in cells if kind_of(cell) != "image"), None)
    if wrong is not None or isinstance(cells, Tensor):
        found = kind_of(cells[0] if wrong is None else wrong)
        raise InputError(f"augmentations.image takes pictures, uint8 (h, w, 3); here is a cell of kind {found}")
    return [cell if isinstance(cell, Tensor) else torch.from_numpy(np.ascontiguousarray(cell)) for cell in cells]


def _of_one_size(pictures: Tensor | list[Tensor]) -> Iterator[tuple[list[int], Tensor]]:
    """Yield rows and their pictures (b, h, w, 3), those of one size together."""
    if isinstance(pictures, Tensor):
        yield list(range(len(pictures))), pictures
        return
    for rows in by_shape(pictures):
        yield rows, torch.stack([pictures[row] for row in rows])


def _part(size: int, part: float) -> int:
    """Return a part of a side, in steps of 4 pixels, of 16 from 112 on; the side itself for the whole."""
    step = 16 if size >= 112 else 4
    return size if part == 1 else max(step, round(size * part / step) * step)


def _check(changes: Preset, size: int | None, strength: float | None) -> None:
    for field in fields(changes):
        value = getattr(changes, field.name)
        if field.name in ("flip", "jitter", "grey", "blur", "solarise", "cutout") and not 0 <= value <= 1:
            raise InputError(f"augmentations.image.{field.name} is a probability, 0 to 1; it is {value}")
    if not 0 < changes.scale[0] <= changes.scale[1] <= 1 or not 0 < changes.ratio[0] <= changes.ratio[1]:
        raise InputError(
            "augmentations.image: scale must be a range within 0 and 1, and ratio one above 0; they are "
            f"{changes.scale} and {changes.ratio}"
        )
    if not 0 <= changes.bend < 1:
        raise InputError(f"augmentations.image.bend is a share of the side, 0 to below 1; it is {changes.bend}")
    if not 0 <= changes.stroke <= 1:
        raise InputError(f"augmentations.image.stroke is a number of pixels, 0 to 1; it is {changes.stroke}")
    if (size is not None and size < 1) or (strength is not None and strength < 0):
        raise InputError(f"augmentations.image: size must be at least 1 and strength at least 0: {size}, {strength}")
