"""Augmented views: raw cells that are changed anew in every epoch before the encoder reads them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nearfar.column import Ids, take
from nearfar.contracts import AugmentedView, Encoder, Inputs, Positives
from nearfar.errors import InputError
from nearfar.text.prompts import prompt, side_of
from nearfar.vectors.embed import is_empty


def augmented_views(positives: Positives) -> Mapping[str, AugmentedView]:
    """Return the augmented views of some positives by name; most have none."""
    views: Mapping[str, AugmentedView] = getattr(positives, "augmentations", {})
    return views


def augment(positives: Positives, encoder: Encoder, view: str, rows: Ids, seeds: Ids) -> Inputs:
    """Return the augmented inputs of some rows (r,) of a view; seeds (r, 3) are run seed, epoch and example.

    Errors: `InputError` for an augmentation that leaves nothing of a text.
    """
    augmented_view = augmented_views(positives)[view]
    cells = take(positives.views[view], rows)
    generators = (np.random.default_rng([*seed, augmented_view.stream]) for seed in seeds.tolist())
    augmented = [augmented_view.augmentation(cell, g) for cell, g in zip(cells, generators, strict=True)]
    for row, (cell, changed) in enumerate(zip(cells, augmented, strict=True)):
        if is_empty(changed) and not is_empty(cell):
            raise InputError(f"view {view!r}: nothing is left of row {rows[row] + 1}; a view must leave something")
    prefix = prompt(encoder, positives, view)
    side = side_of(encoder, positives, view)
    return side.inputs([prefix + text for text in augmented] if prefix else augmented)
