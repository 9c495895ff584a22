"""What training reads: the inputs of every view, by an encoder that has seen the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch

from nearfar.abilities import augmented_views, prepare_batches
from nearfar.compute.ranks import Ranks
from nearfar.contracts import Encoder, Positives, Store
from nearfar.model import Model
from nearfar.sides import prepare_sides, side_of
from nearfar.text.prompts import prompted
from nearfar.training.mixture import parts_of


def prepare_data(
    encoder: Encoder,
    positives: Positives,
    heldout: Positives | Sequence[Positives] | None,
    before: Callable[[Model], None] | None,
    device: torch.device,
    ranks: Ranks,
) -> dict[str, Store]:
    """Return the inputs of every view, of positives that are prepared with the encoder; let `before` see it."""
    late = [part for one in (positives, heldout) if one is not None for part in parts_of(one)]
    ranks.first_rank_first(lambda: prepare_batches(*late))  # by the encoder before training
    stores = ranks.first_rank_first(lambda: _prepare_stores(encoder, positives))
    if before is not None:
        cast("torch.nn.Module", encoder).to(device)  # where it is trained, too
        ranks.on_first_rank(lambda: before(Model(encoder)))
    return stores


def _prepare_stores(encoder: Encoder, positives: Positives) -> dict[str, Store]:
    """Let the encoder learn its tokenizer, and return the inputs of every view that is read unchanged."""
    prepare_sides(encoder, positives)
    augmented = augmented_views(positives)  # made into inputs by each step, which changes them
    unchanged = [view for view in positives.views if view not in augmented]
    return {view: side_of(encoder, positives, view).store(prompted(encoder, positives, view)) for view in unchanged}
