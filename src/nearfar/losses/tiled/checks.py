"""Checks of settings and batches that the pairwise losses share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nearfar.errors import InputError
from nearfar.losses.tiled.positive_terms import count_negatives
from nearfar.losses.tiled.relations import Relations
from nearfar.pairs import Pairs

PRECISIONS = ("auto", "bf16", "fp32")


def check_setting(
    name: str, value: float, *, least: float = -math.inf, above: float = -math.inf, below: float = math.inf
) -> None:
    """Raise `InputError` unless a setting is finite, at least `least`, above `above` and below `below`."""
    if not (math.isfinite(value) and least <= value < below and value > above):
        words = [f"at least {least:g}"] * (least > -math.inf) + [f"above {above:g}"] * (above > -math.inf)
        words += [f"below {below:g}"] * (below < math.inf)
        raise InputError(f"{name} must be a finite number {' and '.join(words)}".rstrip() + f", it is {value}")


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Raise `InputError` unless a setting is one of the choices."""
    if value not in choices:
        raise InputError(f"{name} must be one of {', '.join(map(str, choices))}; it is {value!r}")


def check_vectors(queries: Tensor, keys: Tensor, pairs: Pairs) -> None:
    """Raise `InputError` unless queries (n, d) and keys (m, d) are floats, of the pairs' n and m, at least one each."""
    n, m = pairs.shape
    if queries.ndim != 2 or keys.ndim != 2 or queries.shape[1] != keys.shape[1]:
        raise InputError(
            f"queries and keys must be (n, d) and (m, d) with one d; they are {tuple(queries.shape)} and "
            f"{tuple(keys.shape)}"
        )
    if (len(queries), len(keys)) != (n, m) or n == 0 or m == 0:
        raise InputError(f"pairs are of {n} queries and {m} keys; the vectors are {len(queries)} and {len(keys)}")
    if not queries.is_floating_point() or not keys.is_floating_point():
        raise InputError(f"queries and keys must be floats, they are {queries.dtype} and {keys.dtype}")


def exact_vectors(queries: Tensor, keys: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Return checked queries (n, d) and keys (m, d) in their wider type, fp32 at least."""
    check_vectors(queries, keys, pairs)
    exact = torch.promote_types(torch.promote_types(queries.dtype, keys.dtype), torch.float32)
    return queries.to(exact), keys.to(exact)


def tile_precision(precision: str, vectors: Tensor) -> str:
    """Return the precision; "auto" becomes "fp32" unless bf16 autocast is on or the vectors are bf16."""
    device = vectors.device.type
    autocast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16
    return precision if precision != "auto" or autocast or vectors.dtype == torch.bfloat16 else "fp32"


def check_positives(found: Tensor) -> None:
    """Raise `InputError` unless every query has a positive; found: (n,) bool, whether it has."""
    if not bool(found.all()):
        raise about_rows((~found).nonzero()[:, 0], "queries without a positive in the batch")


def check_negatives(relations: Relations) -> None:
    """Raise `InputError` unless some query has a negative."""
    pairs = relations.pairs
    if relations.negatives is not None:
        none = len(relations.negatives[0]) == 0
    else:
        n, m = pairs.shape
        listed = len(relations.positives[0]) + len(relations.ignored[0])
        complete = pairs.query_scope is None and not relations.compare_groups and not relations.compare_items
        some = complete and listed < n * m  # so in most batches, which need no counting
        none = not some and bool((count_negatives(relations) == 0).all())
    if none:
        rows = torch.arange(pairs.shape[0])
        why = "no query has a negative (all keys are positives, the same item, or of another scope)"
        raise about_rows(rows, f"{why}; train on several things, holding less out, or in larger batches")


def about_rows(rows: Tensor, what: str) -> InputError:
    """Return the error that `what` holds for some rows, (r,) int64, with the first ten of them."""
    shown = ", ".join(str(int(row)) for row in rows[:10]) + (", ..." if len(rows) > 10 else "")
    return InputError(f"{what}: {len(rows)} rows of the batch ({shown})")
