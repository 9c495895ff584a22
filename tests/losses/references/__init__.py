"""Every loss in its naive form: entry by entry, in float64, slow. Read these to know what the losses are.

A file a loss, named like it:

    VARIANTS: list[dict]          settings to prove
    reference(loss, q, k, pairs)  the value; raises `InputError` where the loss must refuse the batch for its own reason
                                  (all refuse a query without a positive, or no negatives where those are needed)

and where they differ from what is written here:

    BATCHES = batches()           a strategy of queries (n, d), keys (m, d) and pairs
    GRADED = False                the loss wants graded pairs, and no other positives
    KEYS_STOPPED = False          no gradient reaches the keys
    QUERIES_COUNT_ONCE = False    a copy of a query changes nothing (that of a key never does)
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from nearfar.errors import InputError
from nearfar.pairs import Pairs
from tests.losses import naive


def of(name: str) -> ModuleType | None:
    """Return a loss's reference, None where there is none."""
    try:
        return importlib.import_module(f"tests.losses.references.{name}")
    except ModuleNotFoundError:
        return None


def declares(name: str, word: str) -> bool:
    """Return whether a loss's reference declares something, such as GRADED."""
    return bool(getattr(of(name), word, False))


def check(name: str, loss: Any, pairs: Pairs) -> None:
    """Raise `InputError` where any loss of this kind must refuse."""
    if not declares(name, "GRADED"):
        positives(pairs)
    if loss.needs_negatives:
        negatives(pairs)


def shares(pairs: Pairs) -> tuple[list[float], list[float]]:
    """Return what each query and each key counts: one over its number of copies."""
    n, m = pairs.shape
    a = [1 / len(naive.copies(pairs.query_item, pairs.query_scope, i)) for i in range(n)]
    b = [1 / len(naive.copies(pairs.key_item, pairs.key_scope, j)) for j in range(m)]
    return a, b


def positives(pairs: Pairs) -> list[tuple[int, int, float]]:
    """Return the positive pairs (i, j) and what each counts; these weights add up to one."""
    weights, _ = naive.relation(pairs)
    if not (weights > 0).any(1).all():
        raise InputError("a query without a positive")
    a, b = shares(pairs)
    listed = [(i, j, float(weights[i, j]) * a[i] * b[j]) for i, j in (weights > 0).nonzero().tolist()]
    total = sum(weight for _, _, weight in listed)
    return [(i, j, weight / total) for i, j, weight in listed]


def negatives(pairs: Pairs) -> list[list[int]]:
    """Return the negatives of each query."""
    weights, candidate = naive.relation(pairs)
    found = [row.nonzero()[:, 0].tolist() for row in candidate & (weights == 0)]
    if not any(found):
        raise InputError("no query has a negative")
    return found


def known(pairs: Pairs) -> dict[tuple[int, int], float]:
    """Return the known weights by pair, for all copies of its query and key; of several weights the largest."""
    found: dict[tuple[int, int], float] = {}
    if pairs.known is not None:
        for r, c, w in zip(pairs.known.rows, pairs.known.columns, pairs.known.weight, strict=True):
            for i in naive.copies(pairs.query_item, pairs.query_scope, int(r)):
                for j in naive.copies(pairs.key_item, pairs.key_scope, int(c)):
                    found[i, j] = max(found.get((i, j), 0.0), float(w))
    if not found:
        raise InputError("nothing is known")
    return found


def total(terms: list[Tensor], like: Tensor) -> Tensor:
    """Return the sum of the terms, 0 where there are none."""
    return torch.stack(terms).sum() if terms else like.new_zeros(())
