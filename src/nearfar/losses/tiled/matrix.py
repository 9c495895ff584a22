"""The similarity matrix of a batch, never held whole: sums over negatives and positives, in one direction or both."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nearfar.compute.ranks import Ranks
from nearfar.losses.tiled.gathered_products import listed_products
from nearfar.losses.tiled.log_sum_exp import count_candidates, log_sum_exp, lowest_candidates
from nearfar.losses.tiled.positive_terms import PositiveTerms, group_means, segment_log_sum_exp
from nearfar.losses.tiled.relations import Relations
from nearfar.losses.tiled.tiles import Candidates, SweepPlan, arithmetic

Limit = Tensor | None


@dataclass(frozen=True)
class SimilarityMatrix:
    """The logits S = q k' (n, m) and their relations, as seen by one rank, which sums its part of the rows.

    q: (n, d) queries times the scale; k: (m, d) keys. key_to_query: this direction is wanted, too. self_similarity: q
    is k and the relations are symmetric, so that both directions are the same. limits: logits above which a negative of
    a query (n,) and of a key (m,) is ignored, or None.

    A result "by direction" is a list: query-to-key, with one value for each query of this rank; then with
    `key_to_query` that direction, with one value for each key of this rank.
    """

    q: Tensor
    k: Tensor
    relations: Relations
    tile: int
    precision: str
    rank: int = 0
    world_size: int = 1
    key_to_query: bool = False
    self_similarity: bool = False
    limits: tuple[Limit, Limit] = (None, None)

    @property
    def directions(self) -> list[Relations]:
        """The relations of the whole batch, by direction."""
        return [self.relations, self.relations.transposed] if self.key_to_query else [self.relations]

    @property
    def rank_rows(self) -> list[slice]:
        """The queries and the keys of this rank."""
        return [Ranks(self.rank, self.world_size).span(n) for n in self.relations.pairs.shape]

    def log_sums(self, candidates: Candidates, factor: float = 1.0) -> list[Tensor]:
        """Return log sum_j a_j e^{factor s_ij} over the candidates, by direction; minus infinity where there is none.

        "positives" are those that are not listed.
        """
        if candidates == "negatives" and self.relations.negatives is not None:
            i, j = self.relations.negatives
            s = listed_products(self.q, self.k, i, j)
            return [self._listed_log_sums(s, direction, factor) for direction in range(len(self.directions))]
        found = []
        for q, k, plan in self.sweeps(candidates, factor):
            rows, columns, _ = log_sum_exp(q, k, plan)
            found += [rows, columns] if plan.key_to_query else [rows]
        return found

    def positive_logits(self) -> Tensor:
        """Return the logits of the listed positives of the whole batch, (e,), in the type of the vectors."""
        return listed_products(self.q, self.k, *self.relations.positives)

    def negative_sums_and_positives(self) -> tuple[list[Tensor], Tensor]:
        """Return `log_sums("negatives")` and `positive_logits()`, from one sweep where the tiles are exact."""
        if self.world_size == 1 and self.relations.negatives is None:
            ((q, k, plan),) = self.sweeps("negatives")
            if plan.dtype == q.dtype:
                rows, columns, positives = log_sum_exp(q, k, replace(plan, read_positives=True))
                return [rows, columns] if plan.key_to_query else [rows], positives
        return self.log_sums("negatives"), self.positive_logits()

    def negative_counts(self) -> list[Tensor]:
        """Return the number of negatives, copies counting for their shares, by direction."""
        if self.relations.negatives is not None:
            with torch.no_grad():
                s = listed_products(self.q, self.k, *self.relations.negatives)
                return [self._listed_log_sums(s, direction, 0.0).exp() for direction in range(len(self.directions))]
        found = []
        for q, k, plan in self.sweeps("negatives"):
            rows, columns = count_candidates(q, k, plan)
            found += [rows, columns] if plan.key_to_query else [rows]
        return found

    def without_false_negatives(
        self, s: Tensor, margin: float, relative: bool, scale: Tensor | float
    ) -> SimilarityMatrix:
        """Return the same matrix with limits: each row's lowest positive logit plus a margin.

        s: (e,) logits of the listed positives. margin: of the cosine; relative, a share of the lowest positive.
        """
        limits: list[Limit] = []
        whole = replace(self, rank=0, world_size=1)
        unlisted = [low for q, k, plan in whole.sweeps("positives") for low in lowest_candidates(q, k, plan)]
        for direction, relations in enumerate(self.directions):
            i, n = relations.positives[0], relations.pairs.shape[0]
            low = s.detach().new_full((n,), torch.inf).scatter_reduce(0, i, s.detach(), "amin")
            if relations.compare_groups:
                low = torch.minimum(low, unlisted[direction])
            limits.append(low + (margin * low.abs() if relative else margin * scale))
        key_limit = limits[-1] if self.key_to_query or self.self_similarity else None
        return replace(self, limits=(limits[0], key_limit))

    def positive_terms(self, s: Tensor, candidates: Candidates) -> list[PositiveTerms]:
        """Return the terms of the positives, by direction; s: (e,) logits of the listed ones.

        candidates: what `PositiveTerms.logsumexp` sums beside the listed positives where the others are not listed:
        "positives", or "both" for all candidates.
        """
        directions = zip([(self.q, self.k), (self.k, self.q)], self.directions, self.rank_rows, strict=False)
        if not self.relations.compare_groups:
            return [PositiveTerms.listed(s, relations)[rows] for _, relations, rows in directions]
        found = []
        for ((q, k), relations, rows), tiled in zip(directions, self.log_sums(candidates)):
            kept = (relations.positives[0] >= rows.start) & (relations.positives[0] < rows.stop)
            found.append(PositiveTerms.by_group(s[kept], q[rows], k, relations.of_queries(rows), tiled))
        return found

    def positive_means(self, s: Tensor) -> list[Tensor]:
        """Return the mean logit of each row's positives, for all rows of the batch, by direction, (n,) and (m,)."""
        directions = zip([(self.q, self.k), (self.k, self.q)], self.directions)
        if not self.relations.compare_groups:
            return [PositiveTerms.listed(s, relations).mean for _, relations in directions]
        return [group_means(s, q, k, relations)[0] for (q, k), relations in directions]

    def sweeps(self, candidates: Candidates, factor: float = 1.0) -> Iterator[tuple[Tensor, Tensor, SweepPlan]]:
        """Yield the factors of factor * S and a plan for each sweep over tiles that the sums need.

        One rank sweeps once for both directions; several ranks sweep once for each direction, over their rows alone.
        """
        if candidates == "positives" and not self.relations.compare_groups:
            return
        q, k, (query_limit, key_limit) = self.q, self.k, self.limits if candidates == "negatives" else (None, None)
        if factor != 1.0 and self.self_similarity:
            q = k = q * factor**0.5
        elif factor != 1.0:
            q = q * factor
        query_limit, key_limit = (None if limit is None else limit * factor for limit in (query_limit, key_limit))
        dtype, unshifted = arithmetic(q, k, self.precision)
        plan = SweepPlan(
            self.relations,
            candidates,
            key_to_query=self.key_to_query,
            tile=self.tile,
            dtype=dtype,
            unshifted=unshifted,
            self_similarity=self.self_similarity,
            row_limit=query_limit,
            column_limit=key_limit,
        )
        if self.world_size == 1:
            yield q, k, plan
            return
        factors = [(q, k, query_limit), (k, q, key_limit)]
        for (left, right, limit), relations, rows in zip(factors, self.directions, self.rank_rows, strict=False):
            yield (
                left[rows],
                right,
                replace(
                    plan,
                    relations=relations.of_queries(rows),
                    key_to_query=False,
                    self_similarity=False,
                    row_limit=None if limit is None else limit[rows],
                    column_limit=None,
                ),
            )

    def _listed_log_sums(self, s: Tensor, direction: int, factor: float) -> Tensor:
        """Return the log-sums of the listed negatives, whose logits are s (e,), in one direction."""
        relations, rows, limit = self.directions[direction], self.rank_rows[direction], self.limits[direction]
        assert relations.negatives is not None
        i, j = relations.negatives
        kept = torch.ones_like(i, dtype=torch.bool) if limit is None else s <= limit[i]
        s, i, j = s[kept] * factor, i[kept], j[kept]
        if relations.key_share is not None:
            s = s + relations.key_share[j].log().to(s.dtype)
        return segment_log_sum_exp(s, i, relations.pairs.shape[0])[rows]


def negative_log_sums(
    matrix: SimilarityMatrix, s: Tensor, scale: Tensor | float, beta: float, chance: float
) -> list[Tensor]:
    """Return the log of the negatives' weighted sum, by direction; minus infinity where there is none.

    s: (e,) logits of the listed positives.

    With N negatives, P the positives, beta the hardness and tau+ the chance that a negative is a positive in truth:

        R = N sum e^{(1 + beta) s_ij} / sum e^{beta s_ij}
        G = max( (R - N tau+ mean_{j in P} e^{s_ij}) / (1 - tau+), N e^{-1/tau} )

    (Robinson et al. 2021, arXiv:2010.04592, with the sampling weights of its code; Chuang et al. 2020,
    arXiv:2007.00224, equation 8.)
    """
    if not beta and not chance:
        return matrix.log_sums("negatives")
    number = [count.log() for count in matrix.negative_counts()]
    sums = matrix.log_sums("negatives", 1 + beta)
    if beta:
        sums = [_hardened(*logs) for logs in zip(sums, matrix.log_sums("negatives", beta), number)]
    if not chance:
        return sums
    terms = matrix.positive_terms(s, "positives")
    return [_debiased(*logs, scale, chance) for logs in zip(sums, terms, number)]


def _hardened(sums: Tensor, weights: Tensor, number: Tensor) -> Tensor:
    """Return log R from the logs of its two sums and of N, (r,) each."""
    some = ~torch.isneginf(number)
    return torch.where(some, torch.where(some, sums, 0.0) - torch.where(some, weights, 0.0) + number, -torch.inf)


def _debiased(sums: Tensor, positives: PositiveTerms, number: Tensor, scale: Tensor | float, chance: float) -> Tensor:
    """Return log G from log R, the positives and log N, (r,) each."""
    some = ~torch.isneginf(number)
    hidden = torch.where(some, number, 0.0) + math.log(chance) + positives.log_mean_exp  # positives among the negatives
    excess = torch.where(some, sums, 0.0) - hidden
    positive = excess > 0  # else nothing is left of the negatives
    rest = hidden + torch.expm1(torch.where(positive, excess, 1.0)).log() - math.log1p(-chance)
    least = number - scale  # no cosine is below -1
    return torch.where(some & positive, torch.maximum(rest, least), least)
