"""What every pairwise loss asks of its batch; each error names the rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nearfar.errors import InputError
from nearfar.losses.tiled.positive_terms import count_negatives
from nearfar.losses.tiled.relations import Relations
from nearfar.pairs import Pairs

MOST = 100.0  # CLIP's limit (Radford et al. 2021, section 2.5)


def check_setting(
    name: str, value: float, *, least: float = -math.inf, above: float = -math.inf, below: float = math.inf
) -> None:
    """A number is finite and in its range."""
    if not (math.isfinite(value) and least <= value < below and value > above):
        words = [f"at least {least:g}"] * (least > -math.inf) + [f"above {above:g}"] * (above > -math.inf)
        words += [f"below {below:g}"] * (below < math.inf)
        raise InputError(f"{name} must be a finite number {' and '.join(words)}".rstrip() + f", it is {value}")


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """A word is one of those known."""
    if value not in choices:
        raise InputError(f"{name} must be one of {', '.join(map(str, choices))}; it is {value!r}")


def check_vectors(queries: Tensor, keys: Tensor, pairs: Pairs) -> None:
    """Queries (n, d) and keys (m, d) of floats, as many as the pairs speak of, at least one each."""
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


def check_positives(found: Tensor) -> None:
    """Every query has a positive; found: (n,) bool."""
    if not bool(found.all()):
        raise about_rows((~found).nonzero()[:, 0], "queries without a positive in the batch")


def check_negatives(relations: Relations) -> None:
    """Some query has a negative."""
    pairs = relations.pairs
    if relations.far is not None:
        none = len(relations.far[0]) == 0
    else:  # most batches: fewer cells are taken than there are
        taken = len(relations.near[0]) + len(relations.ignored[0])
        far = pairs.query_scope is None and not relations.by_class and not relations.items
        none = not (far and taken < pairs.shape[0] * pairs.shape[1]) and bool((count_negatives(relations) == 0).all())
    if none:
        rows = torch.arange(pairs.shape[0])
        raise about_rows(rows, "no query has a negative (all keys are near, the same, or of another scope)")


def about_rows(rows: Tensor, what: str) -> InputError:
    """Return the error that something is wrong with some rows."""
    shown = ", ".join(str(int(row)) for row in rows[:10]) + (", ..." if len(rows) > 10 else "")
    return InputError(f"{what}: {len(rows)} rows of the batch ({shown})")


class Scale(nn.Module):
    """e^log, learnt within 1 to 100; or fixed, and then exact in float64.

    name: of the setting, for errors.
    """

    def __init__(self, name: str, temperature: float, learnable: bool) -> None:
        super().__init__()
        check_setting(name, temperature, above=0)
        self.first = 1.0 / temperature
        self.learnable = learnable
        self.log = nn.Parameter(torch.tensor(-math.log(temperature)), requires_grad=learnable)

    @property
    def temperature(self) -> float:
        """What similarity is divided by, now."""
        return math.exp(-self.log.item()) if self.learnable else 1.0 / self.first

    def value(self, dtype: torch.dtype) -> Tensor | float:
        """Return the scale, with a gradient if it is learnt."""
        return self.log.to(dtype).exp() if self.learnable else self.first

    def clamp_(self) -> None:
        """Keep a learnt scale in its range."""
        if self.learnable:
            with torch.no_grad():
                self.log.clamp_(0.0, math.log(MOST))
