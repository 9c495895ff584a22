"""What the encoder sees of some examples in training: each source beside its views, as they are given to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nearfar import registry
from nearfar.abilities import ShowsPictures, augmented_views, batch_of, with_aliases
from nearfar.column import Ids, take
from nearfar.contracts import Batch, Encoder, Positives
from nearfar.sides import prepare_sides, side_of
from nearfar.text.alike import aliases_of
from nearfar.text.prompts import prompted
from nearfar.training.augment import augmented
from nearfar.training.by_pairs import without_auto
from nearfar.training.mixture import mix
from nearfar.training.settings import Settings
from nearfar.training.trained_rows import TrainedRows


@dataclass(frozen=True)
class SeenView:
    """One view of an example in one epoch (from 0): its name, and the cell, a picture in the pixels that are encoded.

    source: the cell before the augmentation, None where there is none.
    """

    name: str
    epoch: int
    cell: Any
    source: Any = None


@dataclass(frozen=True)
class SeenExample:
    """An example: its number among the positives, its row in the data (as `describe` names it), and its views."""

    example: int
    row: int | str
    views: list[SeenView]

    @property
    def source(self) -> Any:
        """The cell before any augmentation; None where no view is augmented."""
        return next((view.source for view in self.views if view.source is not None), None)


def seen_views(
    encoder: Encoder,
    positives: Positives | Sequence[Positives],
    *,
    most: int = 12,
    in_epochs: Sequence[int] = (0,),
    **settings: Any,
) -> list[SeenExample]:
    """Return the first examples of a run's first batch with the views that the encoder gets of them.

    They are those of a run with these settings to the last bit: examples are drawn as there, and a view's random
    numbers are a function of (seed, epoch, example). The encoder is prepared, and nothing is trained.

    Args:
        encoder, positives, settings: as for `fit`. Positives that a model must prepare (`PreparedLate`) are
            prepared by it, if they have not been.
        most: examples. in_epochs: from 0, in which their views are shown.

    Errors: those of `fit` before its first step.
    """
    given = Settings(**registry.coerced_settings(Settings, settings, "training"))
    positives = mix(positives, apart=given.apart)
    training = without_auto(given, len(positives))
    prepare_sides(encoder, positives)
    aliases = aliases_of(encoder, positives)
    positives = with_aliases(positives, aliases)
    first_batch = TrainedRows.of(positives, encoder, training, aliases).sampler.batch(0)
    places = np.sort(np.unique(first_batch, return_index=True)[1])  # of a mixture it may hold some twice
    examples = first_batch[places][:most]
    batch = batch_of(positives, examples, None)
    views = dict.fromkeys([*positives.query_views, *positives.key_views])
    found: dict[int, list[SeenView]] = {place: [] for place in range(len(examples))}
    for epoch in in_epochs:
        for view in views:
            for place, seen in _seen(positives, encoder, view, batch, examples, training.seed, epoch):
                found[place].append(seen)
    rows = [one.get("row", int(example) + 1) for one, example in zip(positives.describe(examples), examples)]
    return [SeenExample(int(example), row, found[i]) for i, (example, row) in enumerate(zip(examples, rows))]


def _seen(
    positives: Positives, encoder: Encoder, view: str, batch: Batch, examples: Ids, seed: int, epoch: int
) -> list[tuple[int, SeenView]]:
    """Return the rows of one view, each with the place of its example."""
    rows = batch.rows[view]
    if not len(rows):
        return []
    reader, sources = side_of(encoder, positives, view), take(prompted(encoder, positives, view), rows)
    index = batch.example_index.get(view, np.arange(len(examples)) if len(rows) == len(examples) else None)
    if index is None:  # further keys, which are of no one example
        return []
    cells: Sequence[Any] = sources
    streamed = augmented_views(positives).get(view)
    if streamed is not None:
        seeds = streamed.seeds(seed, np.full(len(index), epoch), examples[index], rows)  # (r, 3)
        cells = augmented(positives, encoder, view, rows, seeds)
    inputs = reader.inputs(cells)
    shown = inputs.pictures() if isinstance(inputs, ShowsPictures) else list(cells)
    return [
        (int(place), SeenView(view, epoch, cell, None if streamed is None else source))
        for place, cell, source in zip(index, shown, sources, strict=True)
    ]
