"""The positives' side of a pairwise loss: their similarities, one way."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nearfar.losses.tiled.relations import Relations, codes


@dataclass(frozen=True)
class PositiveTerms:
    """What the positives of each query amount to.

    mean: (n,) mean similarity, by weights w_ij a_j; mass: (n,) log sum_j a_j e^{s_ij}; inside: (n,) log of the mean of
    e^{s_ij}, by the same weights as `mean`. Where there is no positive, means are zero and mass is minus infinity.
    single: no query has two, so all three are one similarity.
    """

    mean: Tensor
    mass: Tensor
    inside: Tensor
    single: bool = False

    @classmethod
    def listed(cls, s: Tensor, relations: Relations) -> PositiveTerms:
        """s: (e,) similarities of `relations.near`."""
        (i, j), n = relations.near, relations.pairs.shape[0]
        share = None if relations.key_share is None else relations.key_share[j]  # (e,) float64
        logs = s if share is None else s + share.log().to(s.dtype)
        if relations.in_order:
            return cls(s, logs, s, single=True)
        count = torch.bincount(i, minlength=n)
        weight = relations.near_weight.double() if share is None else relations.near_weight * share
        part = (weight / weight.new_zeros(n).index_add(0, i, weight)[i]).to(s.dtype)  # (e,)
        mean = s.new_zeros(n).index_add(0, i, part * s)
        mass = segment_log_sum_exp(logs, i, n)
        if int(count.max()) <= 1:
            return cls(mean, mass, mean, single=True)
        inside = torch.where(count > 0, segment_log_sum_exp(s + part.log(), i, n), 0.0)
        return cls(mean, mass, inside)

    @classmethod
    def by_class(cls, s: Tensor, z: Tensor, k: Tensor, relations: Relations, tiled: Tensor) -> PositiveTerms:
        """The same of positives by class; s: (e,) of those listed beside, tiled: (n,) log-sum-exp of the others."""
        (i, j), n = relations.near, len(z)
        share = _shares_of(relations, j)  # (e,)
        mean, total = class_means(s, z, k, relations)
        parts = share.log().to(s.dtype), (relations.near_weight * share).log().to(s.dtype)
        mass, inside = (_log_add(tiled, segment_log_sum_exp(s + part, i, n), i) for part in parts)
        found = total > 0
        return cls(mean, mass, torch.where(found, inside - torch.where(found, total, 1.0).log().to(s.dtype), 0.0))

    def excess(self, of: Tensor) -> Tensor:
        """Return mass - of, for mean or inside: without a gradient where it is zero on paper, not rounding in it."""
        difference = self.mass - of
        return difference.detach() if self.single else difference

    def __getitem__(self, part: slice) -> PositiveTerms:
        if (part.start, part.stop) == (0, len(self.mean)):
            return self
        return PositiveTerms(self.mean[part], self.mass[part], self.inside[part], self.single)


def _log_add(tiled: Tensor, listed: Tensor, rows: Tensor) -> Tensor:
    """Return log(e^tiled + e^listed) in the rows that have something listed, (n,); the others are as they were."""
    some = torch.unique(rows)
    if len(some) == 0:
        return tiled
    safe = torch.where(torch.isneginf(tiled[some]), torch.finfo(tiled.dtype).min, tiled[some])
    return tiled.index_put((some,), torch.logaddexp(safe, listed[some]))


def class_means(s: Tensor, z: Tensor, k: Tensor, relations: Relations) -> tuple[Tensor, Tensor]:
    """Return the mean similarity of each query's positives, by class and listed (n,), and their weight (n,) float64."""
    i, j = relations.near
    weight = relations.near_weight * _shares_of(relations, j)  # (e,)
    centre, number = class_positives(relations, k)  # (n, d), (n,)
    total = number.index_add(0, i, weight)  # (n,)
    by_class = torch.where(number > 0, 1 / total, 0.0).to(s.dtype)
    mean = ((z * centre).sum(1) * by_class).index_add(0, i, (weight / total[i]).to(s.dtype) * s)
    return mean, total


def class_positives(relations: Relations, k: Tensor) -> tuple[Tensor, Tensor]:
    """Return, of the positives by class that are not listed, the sum of keys (n, d) and the number (n,) float64, by
    shares."""
    pairs, (i, j) = relations.pairs, (relations.known.rows, relations.known.columns)
    share = torch.ones(len(k), dtype=torch.float64, device=k.device) if (a := relations.key_share) is None else a
    own, others = codes(pairs, "group", "scope"), codes(pairs, "group", "scope", "item")
    known, _ = pairs.by_ids(i, j)
    i, j = i[known], j[known]

    def positives(rows: Tensor) -> Tensor:
        return (class_sum(rows, *own) - class_sum(rows, *others)).index_add(0, i, -rows[j])

    number = positives(share[:, None])[:, 0]
    number = torch.where(number > 1e-6, number, 0.0)  # shares are at least one over the batch: this is rounding
    return positives(k * share[:, None].to(k.dtype)), number


def _shares_of(relations: Relations, j: Tensor) -> Tensor:
    """Return the shares of some keys, (e,) float64."""
    if relations.key_share is None:
        return torch.ones(len(j), dtype=torch.float64, device=j.device)
    return relations.key_share[j]


def has_positive(relations: Relations) -> Tensor:
    """Return which queries have a positive, (n,) bool."""
    n = relations.pairs.shape[0]
    found = torch.zeros(n, dtype=torch.bool, device=relations.near[0].device)
    found[relations.near[0]] = True
    if relations.by_class:
        one = torch.ones(relations.pairs.shape[1], 0, dtype=torch.float64, device=found.device)
        found |= class_positives(relations, one)[1] > 0
    return found


def count_negatives(relations: Relations) -> Tensor:
    """Count each query's negatives by inclusion and exclusion over the ids, (n,)."""
    pairs, known = relations.pairs, relations.known
    one = torch.ones(pairs.shape[1], 1, dtype=torch.int64, device=pairs.key_group.device)
    everyone = torch.zeros_like(pairs.query_group), torch.zeros_like(pairs.key_group)
    kinds: list[tuple[int, tuple[str, ...]]] = [(1, ()), (-1, ("group",)), (-1, ("item",)), (1, ("group", "item"))]
    ids = [(sign, codes(pairs, "scope", *names) if names or pairs.query_scope is not None else everyone)
           for sign, names in kinds]  # fmt: skip
    count = torch.as_tensor(sum(sign * class_sum(one, *pair)[:, 0] for sign, pair in ids))
    i, j = known.rows, known.columns
    _, far = pairs.by_ids(i, j)
    return count.index_add(0, i, -far.to(torch.int64))


def segment_log_sum_exp(values: Tensor, segment: Tensor, n: int) -> Tensor:
    """Return log-sum-exp of the values (e,) of each of n segments, minus infinity for an empty one."""
    top = values.detach().new_full((n,), -torch.inf).scatter_reduce(0, segment, values.detach(), "amax")
    base = torch.where(torch.isneginf(top), 0.0, top)
    return base + values.new_zeros(n).index_add(0, segment, (values - base[segment]).exp()).log()


def class_sum(rows: Tensor, query_ids: Tensor, key_ids: Tensor) -> Tensor:
    """Return for each query the sum of the rows (m, d) of the keys with its id, (n, d)."""
    distinct, place = torch.unique(torch.cat([query_ids, key_ids]), return_inverse=True)
    query, key = place[: len(query_ids)], place[len(query_ids) :]
    return rows.new_zeros(len(distinct), rows.shape[1]).index_add(0, key, rows)[query]
