"""Augmented views: raw cells, changed anew in every pass, on the way to the encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nearfar.column import Ids, take
from nearfar.contracts import AugmentedView, Encoder, Inputs, Positives
from nearfar.errors import InputError
from nearfar.text.prompts import prompt, side_of


def augmented_views(positives: Positives) -> Mapping[str, AugmentedView]:
    """Return the views of some positives that are drawn anew each time; most have none."""
    found: Mapping[str, AugmentedView] = getattr(positives, "augmentations", {})
    return found


def augment(positives: Positives, encoder: Encoder, view: str, rows: Ids, draws: Ids) -> Inputs:
    """Return inputs of some rows (r,) of an augmented view, seen as seed, pass and example (r, 3) draw them.

    Errors: `InputError` for a view that leaves nothing of a text.
    """
    augmentation = augmented_views(positives)[view]
    cells = take(positives.views[view], rows)
    streams = ([*draw, augmentation.stream] for draw in draws.tolist())
    looks = [augmentation.view(cell, np.random.default_rng(s)) for cell, s in zip(cells, streams, strict=True)]
    for row, (cell, seen) in enumerate(zip(cells, looks, strict=True)):
        if _nothing(seen) and not _nothing(cell):
            raise InputError(f"view {view!r}: nothing is left of row {rows[row] + 1}; a view must leave something")
    before = prompt(encoder, positives, view)
    side = side_of(encoder, positives, view)
    return side.inputs([before + seen for seen in looks] if before else looks)


def _nothing(cell: Any) -> bool:
    return isinstance(cell, str) and not cell.strip()
