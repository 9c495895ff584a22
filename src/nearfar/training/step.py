"""One step's forward pass: read the rows, encode each view once, put it on the sphere, compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nearfar.column import Ids
from nearfar.contracts import Encoder, Inputs, Loss, Positives, Store
from nearfar.pairs import Pairs


@dataclass(frozen=True)
class Prepared:
    """A batch as the encoder eats it: the inputs of its views one after the other, and each view's number of rows."""

    examples: Ids
    inputs: Inputs
    sizes: dict[str, int]
    pairs: Pairs


@dataclass(frozen=True)
class Outcome:
    """What a forward pass gives: the loss (a scalar), the queries (n, d) and the keys (m, d) that it compared."""

    loss: Tensor
    queries: Tensor
    keys: Tensor


def prepare(positives: Positives, stores: Mapping[str, Store], examples: Ids) -> Prepared:
    """Read the inputs of some examples."""
    batch = positives.batch(examples)
    views = list(dict.fromkeys([*positives.query_views, *positives.key_views]))
    parts = [stores[view][batch.rows[view]] for view in views]
    sizes = {view: len(part) for view, part in zip(views, parts, strict=True)}
    return Prepared(examples, parts[0].join(parts[1:]), sizes, batch.pairs)


def forward(
    encoder: Encoder, loss: Loss, positives: Positives, prepared: Prepared, device: torch.device, precision: str
) -> Outcome:
    """Return the loss of a batch and the vectors it was made of."""
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        vectors = encoder(prepared.inputs.to(device))  # (rows of all views, d)
        if loss.unit:
            vectors = normalize(vectors.float(), dim=1)
        parts = torch.split(vectors, list(prepared.sizes.values()))
        views = dict(zip(prepared.sizes, parts, strict=True))
        queries = torch.cat([views[view] for view in positives.query_views])  # (n, d)
        keys = torch.cat([views[view] for view in positives.key_views])  # (m, d)
        return Outcome(loss(queries, keys, prepared.pairs), queries.detach(), keys.detach())


def clamp(loss: Any) -> None:
    """Let a loss bring its learnt parameters back into their range, if it has such."""
    if hasattr(loss, "clamp_"):
        cast("Any", loss).clamp_()
