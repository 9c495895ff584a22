"""The positives' terms of a pairwise loss, in one direction: what follows from the logits of each query's positives."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nearfar.losses.tiled.relations import Relations, joint_ids


@dataclass(frozen=True)
class PositiveTerms:
    """Aggregates of the logits s_ij of each query's positives j, with weights w_ij and key shares a_j.

    mean: (n,) mean of s_ij, weighted by w_ij a_j. logsumexp: (n,) log sum_j a_j e^{s_ij}. log_mean_exp: (n,) log of the
    mean of e^{s_ij}, weighted like `mean`. A query without a positive has 0, minus infinity and 0. at_most_one: no
    query has two positives.
    """

    mean: Tensor
    logsumexp: Tensor
    log_mean_exp: Tensor
    at_most_one: bool = False

    @classmethod
    def listed(cls, s: Tensor, relations: Relations) -> PositiveTerms:
        """Return the terms where all positives are listed; s: (e,) logits of `relations.positives`."""
        (i, j), n = relations.positives, relations.pairs.shape[0]
        share = None if relations.key_share is None else relations.key_share[j]  # (e,) float64
        shared = s if share is None else s + share.log().to(s.dtype)  # (e,) log of a_j e^{s_ij}
        if relations.one_positive_each:
            return cls(s, shared, s, at_most_one=True)
        count = torch.bincount(i, minlength=n)
        weight = relations.positive_weight.double() if share is None else relations.positive_weight * share
        p = (weight / weight.new_zeros(n).index_add(0, i, weight)[i]).to(s.dtype)  # (e,) adds up to one for each query
        mean = s.new_zeros(n).index_add(0, i, p * s)
        logsumexp = segment_log_sum_exp(shared, i, n)
        if int(count.max()) <= 1:
            return cls(mean, logsumexp, mean, at_most_one=True)
        log_mean_exp = torch.where(count > 0, segment_log_sum_exp(s + p.log(), i, n), 0.0)
        return cls(mean, logsumexp, log_mean_exp)

    @classmethod
    def by_group(cls, s: Tensor, q: Tensor, k: Tensor, relations: Relations, tiled: Tensor) -> PositiveTerms:
        """Return the terms where group ids give most positives, which the tiles sum.

        s: (e,) logits of the listed positives; q (n, d), k (m, d): the factors of S; tiled: (n,) log-sum-exp of the
        positives that are not listed.
        """
        (i, j), n = relations.positives, len(q)
        share = _key_shares(relations, j)  # (e,)
        mean, total = group_means(s, q, k, relations)
        log_weights = share.log().to(s.dtype), (relations.positive_weight * share).log().to(s.dtype)
        logsumexp, weighted = (_add_listed(tiled, segment_log_sum_exp(s + log, i, n), i) for log in log_weights)
        some = total > 0
        log_total = torch.where(some, total, 1.0).log().to(s.dtype)
        return cls(mean, logsumexp, torch.where(some, weighted - log_total, 0.0))

    def logsumexp_above(self, term: Tensor) -> Tensor:
        """Return logsumexp - term, (n,), where the term is `mean` or `log_mean_exp`.

        With at most one positive this is constant in the logits, and has no gradient: autograd's would be rounding.
        """
        difference = self.logsumexp - term
        return difference.detach() if self.at_most_one else difference

    def __getitem__(self, rows: slice) -> PositiveTerms:
        if (rows.start, rows.stop) == (0, len(self.mean)):
            return self
        return PositiveTerms(self.mean[rows], self.logsumexp[rows], self.log_mean_exp[rows], self.at_most_one)


def _add_listed(tiled: Tensor, listed: Tensor, rows: Tensor) -> Tensor:
    """Return log(e^tiled + e^listed), (n,), in the rows that have something listed; in the others `tiled`."""
    some = torch.unique(rows)
    if len(some) == 0:
        return tiled
    finite = torch.where(torch.isneginf(tiled[some]), torch.finfo(tiled.dtype).min, tiled[some])
    return tiled.index_put((some,), torch.logaddexp(finite, listed[some]))


def group_means(s: Tensor, q: Tensor, k: Tensor, relations: Relations) -> tuple[Tensor, Tensor]:
    """Return the mean logit of each query's positives, listed or not, (n,), and their total weight, (n,) float64."""
    i, j = relations.positives
    weight = relations.positive_weight * _key_shares(relations, j)  # (e,)
    centre, number = group_positives(relations, k)  # (n, d), (n,)
    total = number.index_add(0, i, weight)  # (n,)
    by_group = torch.where(number > 0, 1 / total, 0.0).to(s.dtype)
    mean = ((q * centre).sum(1) * by_group).index_add(0, i, (weight / total[i]).to(s.dtype) * s)
    return mean, total


def group_positives(relations: Relations, k: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of the keys (n, d) and the number (n,) float64 of each query's positives that are not listed.

    Both weigh keys by their shares. A query's positives are the keys of its group, less those of its item, less those
    in `known`.
    """
    pairs, (i, j) = relations.pairs, (relations.known.rows, relations.known.columns)
    share = torch.ones(len(k), dtype=torch.float64, device=k.device) if (a := relations.key_share) is None else a
    same_group, same_item = joint_ids(pairs, "group", "scope"), joint_ids(pairs, "group", "scope", "item")
    overridden, _ = pairs.by_ids(i, j)
    i, j = i[overridden], j[overridden]

    def sum_of_positives(rows: Tensor) -> Tensor:
        return (sum_by_id(rows, *same_group) - sum_by_id(rows, *same_item)).index_add(0, i, -rows[j])

    number = sum_of_positives(share[:, None])[:, 0]
    number = torch.where(number > 1e-6, number, 0.0)  # shares are at least one over the batch: less is rounding
    return sum_of_positives(k * share[:, None].to(k.dtype)), number


def _key_shares(relations: Relations, j: Tensor) -> Tensor:
    """Return the shares of the keys j, (e,) float64."""
    if relations.key_share is None:
        return torch.ones(len(j), dtype=torch.float64, device=j.device)
    return relations.key_share[j]


def has_positive(relations: Relations) -> Tensor:
    """Return which queries have a positive, (n,) bool."""
    n, m = relations.pairs.shape
    found = torch.zeros(n, dtype=torch.bool, device=relations.positives[0].device)
    found[relations.positives[0]] = True
    if relations.compare_groups:
        no_dimensions = torch.ones(m, 0, dtype=torch.float64, device=found.device)  # only the number is wanted
        found |= group_positives(relations, no_dimensions)[1] > 0
    return found


def count_negatives(relations: Relations) -> Tensor:
    """Return the number of each query's negatives, (n,), by inclusion and exclusion over the ids."""
    pairs, known = relations.pairs, relations.known
    ones = torch.ones(pairs.shape[1], 1, dtype=torch.int64, device=pairs.key_group.device)
    all_alike = torch.zeros_like(pairs.query_group), torch.zeros_like(pairs.key_group)
    signs: list[tuple[int, tuple[str, ...]]] = [(1, ()), (-1, ("group",)), (-1, ("item",)), (1, ("group", "item"))]
    ids = [(sign, joint_ids(pairs, "scope", *names) if names or pairs.query_scope is not None else all_alike)
           for sign, names in signs]  # fmt: skip
    count = torch.as_tensor(sum(sign * sum_by_id(ones, *pair)[:, 0] for sign, pair in ids))
    i, j = known.rows, known.columns
    _, overridden = pairs.by_ids(i, j)
    return count.index_add(0, i, -overridden.to(torch.int64))


def segment_log_sum_exp(values: Tensor, segment: Tensor, n: int) -> Tensor:
    """Return the log-sum-exp of the values (e,) of each of n segments, (n,), minus infinity for an empty one.

    segment: (e,) int64, the segment of each value.
    """
    top = values.detach().new_full((n,), -torch.inf).scatter_reduce(0, segment, values.detach(), "amax")
    base = torch.where(torch.isneginf(top), 0.0, top)
    return base + values.new_zeros(n).index_add(0, segment, (values - base[segment]).exp()).log()


def sum_by_id(rows: Tensor, query_ids: Tensor, key_ids: Tensor) -> Tensor:
    """Return for each query the sum of the rows (m, d) of the keys with its id, (n, d)."""
    distinct, place = torch.unique(torch.cat([query_ids, key_ids]), return_inverse=True)
    query, key = place[: len(query_ids)], place[len(query_ids) :]
    return rows.new_zeros(len(distinct), rows.shape[1]).index_add(0, key, rows)[query]
