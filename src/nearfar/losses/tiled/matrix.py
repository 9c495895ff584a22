"""The similarity matrix of a batch, never held: sums over its negatives and its positives, there and back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nearfar.compute.ranks import Ranks
from nearfar.losses.tiled.gathered_products import listed_products
from nearfar.losses.tiled.log_sum_exp import counts, log_sum_exp, lowest
from nearfar.losses.tiled.positive_terms import PositiveTerms, class_means, segment_log_sum_exp
from nearfar.losses.tiled.relations import Relations
from nearfar.losses.tiled.tiles import PairLists, SweepPlan, arithmetic

Limit = Tensor | None


@dataclass(frozen=True)
class SimilarityMatrix:
    """S = z k' with relations, as one of `of` ranks sees it: sums are of its share of rows, over all of the other side.

    z: (n, d) queries times the scale; k: (m, d) keys. back: the way back is wanted, too. itself: z is k and the
    relation symmetric, so the way back is the way forth. limits: similarities above which a negative of a query (n,)
    and of a key (m,) is ignored, or None. What is asked for "each way" is a list: forth, then back if that is wanted.
    """

    z: Tensor
    k: Tensor
    relations: Relations
    tile: int
    precision: str
    rank: int = 0
    world_size: int = 1
    back: bool = False
    itself: bool = False
    limits: tuple[Limit, Limit] = (None, None)

    @property
    def ways(self) -> list[Relations]:
        """The relations of all rows, each way."""
        return [self.relations, self.relations.transposed] if self.back else [self.relations]

    @property
    def shares(self) -> list[slice]:
        """This rank's rows, each way."""
        return [Ranks(self.rank, self.world_size).span(n) for n in self.relations.pairs.shape]

    def log_sums(self, side: PairLists, factor: float = 1.0) -> list[Tensor]:
        """Return log sum_j a_j e^{factor s_ij} over negatives ("far"), positives by class ("near") or both, each way.

        Minus infinity where there is none.
        """
        if side == "far" and self.relations.far is not None:
            i, j = self.relations.far
            s = listed_products(self.z, self.k, i, j)
            return [self._segments(s, way, factor) for way in range(len(self.ways))]
        found = []
        for z, k, plan in self.sweeps(side, factor):
            rows, columns, _ = log_sum_exp(z, k, plan)
            found += [rows, columns] if plan.columns else [rows]
        return found

    def listed(self) -> Tensor:
        """Return the similarities of the listed positives, (e,), in the vectors' own type."""
        return listed_products(self.z, self.k, *self.relations.near)

    def far_and_listed(self) -> tuple[list[Tensor], Tensor]:
        """Return `log_sums("far")` and `listed()`, from one sweep where the tiles are exact."""
        if self.world_size == 1 and self.relations.far is None:
            ((z, k, plan),) = self.sweeps("far")
            if plan.dtype == z.dtype:
                rows, columns, picked = log_sum_exp(z, k, replace(plan, pick=True))
                return [rows, columns] if plan.columns else [rows], picked
        return self.log_sums("far"), self.listed()

    def counts(self) -> list[Tensor]:
        """Return how many negatives there are, copies counting for their shares, each way."""
        if self.relations.far is not None:
            with torch.no_grad():
                s = listed_products(self.z, self.k, *self.relations.far)
                return [self._segments(s, way, 0.0).exp() for way in range(len(self.ways))]
        found = []
        for z, k, plan in self.sweeps("far"):
            rows, columns = counts(z, k, plan)
            found += [rows, columns] if plan.columns else [rows]
        return found

    def without_false_negatives(
        self, s: Tensor, margin: float, relative: bool, scale: Tensor | float
    ) -> SimilarityMatrix:
        """Return the same matrix with limits: the lowest positive of a row, and a margin, absolute or a share of it.

        s: (e,) similarities of the listed positives.
        """
        limits: list[Limit] = []
        whole = replace(self, rank=0, world_size=1)
        by_class = [low for z, k, plan in whole.sweeps("near") for low in lowest(z, k, plan)]
        for way, relations in enumerate(self.ways):
            i, n = relations.near[0], relations.pairs.shape[0]
            low = s.detach().new_full((n,), torch.inf).scatter_reduce(0, i, s.detach(), "amin")
            if relations.by_class:
                low = torch.minimum(low, by_class[way])
            limits.append(low + (margin * low.abs() if relative else margin * scale))
        return replace(self, limits=(limits[0], limits[-1] if self.back or self.itself else None))

    def nears(self, s: Tensor, side: PairLists) -> list[PositiveTerms]:
        """Return what the positives amount to, each way; s: (e,) similarities of the listed ones.

        side: what counts as mass where positives go by class: "near", or "both": then it is all candidates.
        """
        ways = zip([(self.z, self.k), (self.k, self.z)], self.ways, self.shares, strict=False)
        if not self.relations.by_class:
            return [PositiveTerms.listed(s, way)[share] for _, way, share in ways]
        found = []
        for ((z, k), way, share), tiled in zip(ways, self.log_sums(side)):
            kept = (way.near[0] >= share.start) & (way.near[0] < share.stop)
            found.append(PositiveTerms.by_class(s[kept], z[share], k, way.rows(share), tiled))
        return found

    def means(self, s: Tensor) -> list[Tensor]:
        """Return the positives' mean similarities of all rows, each way, (n,) and (m,)."""
        ways = zip([(self.z, self.k), (self.k, self.z)], self.ways)
        if not self.relations.by_class:
            return [PositiveTerms.listed(s, way).mean for _, way in ways]
        return [class_means(s, z, k, way)[0] for (z, k), way in ways]

    def sweeps(self, side: PairLists, factor: float = 1.0) -> Iterator[tuple[Tensor, Tensor, SweepPlan]]:
        """Yield what the tiles are swept over for: once with rows and columns, or by shares of rows, one way each."""
        if side == "near" and not self.relations.by_class:
            return
        z, k, (by_row, by_column) = self.z, self.k, self.limits if side == "far" else (None, None)
        if factor != 1.0 and self.itself:
            z = k = z * factor**0.5
        elif factor != 1.0:
            z = z * factor
        by_row, by_column = (None if limit is None else limit * factor for limit in (by_row, by_column))
        dtype, direct = arithmetic(z, k, self.precision)
        plan = SweepPlan(
            self.relations,
            side,
            columns=self.back,
            tile=self.tile,
            dtype=dtype,
            direct=direct,
            itself=self.itself,
            row_limit=by_row,
            column_limit=by_column,
        )
        if self.world_size == 1:
            yield z, k, plan
            return
        sides = [(z, k, by_row), (k, z, by_column)]
        for (left, right, limit), relations, share in zip(sides, self.ways, self.shares, strict=False):
            mine = None if limit is None else limit[share]
            part = replace(plan, relations=relations.rows(share), columns=False, itself=False)
            yield left[share], right, replace(part, row_limit=mine, column_limit=None)

    def _segments(self, s: Tensor, way: int, factor: float) -> Tensor:
        relations, share, limit = self.ways[way], self.shares[way], self.limits[way]
        assert relations.far is not None
        i, j = relations.far
        kept = torch.ones_like(i, dtype=torch.bool) if limit is None else s <= limit[i]
        s, i, j = s[kept] * factor, i[kept], j[kept]
        if relations.key_share is not None:
            s = s + relations.key_share[j].log().to(s.dtype)
        return segment_log_sum_exp(s, i, relations.pairs.shape[0])[share]


def negatives(matrix: SimilarityMatrix, s: Tensor, scale: Tensor | float, beta: float, chance: float) -> list[Tensor]:
    """Return the logarithm of what the negatives weigh, each way; minus infinity where there is none.

    s: (e,) similarities of the listed positives.

    With N negatives, beta the hardness and tau+ the chance that one is a positive in truth:

        R = N sum e^{(1 + beta) s_ij} / sum e^{beta s_ij}
        G = max( (R - N tau+ mean_near e^{s_ij}) / (1 - tau+), N e^{-1/tau} )

    (Robinson et al. 2021, arXiv:2010.04592, with the sampling weights of its code; Chuang et al. 2020,
    arXiv:2007.00224, equation 8.)
    """
    if not beta and not chance:
        return matrix.log_sums("far")
    number = [count.log() for count in matrix.counts()]
    sums = matrix.log_sums("far", 1 + beta)
    if beta:
        sums = [_harder(*way) for way in zip(sums, matrix.log_sums("far", beta), number)]
    if not chance:
        return sums
    return [_debiased(*way, scale, chance) for way in zip(sums, matrix.nears(s, "near"), number)]


def _harder(sums: Tensor, weights: Tensor, number: Tensor) -> Tensor:
    some = ~torch.isneginf(number)
    return torch.where(some, torch.where(some, sums, 0.0) - torch.where(some, weights, 0.0) + number, -torch.inf)


def _debiased(sums: Tensor, near: PositiveTerms, number: Tensor, scale: Tensor | float, chance: float) -> Tensor:
    some = ~torch.isneginf(number)
    hidden = torch.where(some, number, 0.0) + math.log(chance) + near.inside  # positives among the negatives
    above = torch.where(some, sums, 0.0) - hidden
    left = above > 0
    rest = hidden + torch.expm1(torch.where(left, above, 1.0)).log() - math.log1p(-chance)
    least = number - scale  # no similarity is below -1
    return torch.where(some & left, torch.maximum(rest, least), least)
