"""Where a batch is cut into micro-batches."""

from __future__ import annotations

from nearfar.contracts import Inputs
from nearfar.training.settings import Settings


def micro_batches(inputs: Inputs, settings: Settings) -> list[slice]:
    """Return consecutive rows that are encoded at once: at most `micro_batch` rows, and `micro_cost` tokens or pixels.

    What they cost is their sum, or rows x longest row where the encoder pads to that (`padded`). A single row above the
    budget goes alone.
    """
    rows, budget = settings.micro_batch or len(inputs), settings.micro_cost
    costs = inputs.costs().tolist() if budget else [0] * len(inputs)
    padded = getattr(inputs, "padded", True)
    cuts, longest, spent = [0], 0, 0
    for i, cost in enumerate(costs):
        longest, spent = max(longest, cost), spent + cost
        size = i + 1 - cuts[-1]
        if size > 1 and (size > rows or (size * longest if padded else spent) > budget > 0):
            cuts.append(i)
            longest = spent = cost
    return [slice(start, stop) for start, stop in zip(cuts, [*cuts[1:], len(costs)])]
