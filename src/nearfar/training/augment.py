"""Augmented views: raw cells that are changed anew in every epoch before the encoder reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nearfar.abilities import augmented_views, for_reader, inputs_at
from nearfar.column import Ids, take
from nearfar.contracts import Encoder, Inputs, Positives
from nearfar.positives.relations.augmented import augmented_cells
from nearfar.sides import side_of
from nearfar.text.prompts import prompt, with_prompt


def augment(
    positives: Positives, encoder: Encoder, view: str, rows: Ids, seeds: Ids, share: float = 1.0, done: float = 1.0
) -> Inputs:
    """Return the inputs of some rows (r,) of a view, augmented (`augmented`), after the share `done` of the steps."""
    return inputs_at(side_of(encoder, positives, view), augmented(positives, encoder, view, rows, seeds, share), done)


def augmented(
    positives: Positives, encoder: Encoder, view: str, rows: Ids, seeds: Ids, share: float = 1.0
) -> Sequence[Any]:
    """Return the augmented cells of some rows (r,) of a view; seeds (r, 3): `StreamedAugmentation.seeds`.

    A tensor (r, ...) where the augmentation returns one. Pictures have `share` times the encoder's size, where the
    augmentation has none. Prompts stand before texts only.

    Errors: `InputError` for an augmentation that leaves nothing of a cell, or returns another number of cells.
    """
    cells, reader = take(positives.views[view], rows), side_of(encoder, positives, view)
    changed = augmented_cells(for_reader(augmented_views(positives)[view], reader, share), cells, seeds, view, rows)
    return with_prompt(prompt(encoder, positives, view), changed) if isinstance(changed, list) else changed
