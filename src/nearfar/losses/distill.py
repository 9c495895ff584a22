"""Distillation: the similarities of listed keys learn a teacher's scores."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from nearfar.compute.scheduled import Scheduled
from nearfar.errors import InputError
from nearfar.losses.tiled.checks import about_rows, check_choice, exact_vectors
from nearfar.losses.tiled.gathered_products import listed_products
from nearfar.losses.tiled.lists import ListedPairs
from nearfar.losses.tiled.positive_terms import segment_log_sum_exp
from nearfar.losses.tiled.scale import ScheduledNumber
from nearfar.pairs import Pairs


class Distill(nn.Module):
    """Learn from a teacher how the similarities of a query to its listed keys compare.

        kl:          L_i = sum_j p_ij log(p_ij / r_ij),  p_i = softmax_j(t_ij), r_i = softmax_j(s_ij)
        margin_mse:  L_i = mean over the positive + and the other listed keys j of ((s_i+ - s_ij) - (t_i+ - t_ij))^2

    with s_ij = q_i . k_j / temperature, t_ij the teacher's scores / teacher_temperature, j among the keys listed for i.
    The loss is the mean over the queries that have listed keys. Sources: Hinton et al. 2015, arXiv:1503.02531; for
    retrieval, kl: Ren et al. 2021 (RocketQAv2), arXiv:2110.07367; margin_mse: Hofstätter et al. 2020, arXiv:2010.02666,
    where the positive is the listed key of the query's own group (of several, the mean over them). A row counts by one
    over the number of its copies.

    The scores are the weights of `pairs.known`, which are >= 0. Both forms ignore a shift of all scores of a query, so
    shift negative scores until a query's lowest is 0. A key with a score of 0 is listed like any other.

    Args:
        form: "kl" or "margin_mse".
        temperature: what similarities are divided by, > 0; for margin_mse it sets which margins unit vectors can reach.
        teacher_temperature: what the teacher's scores are divided by, > 0.

    Call: queries (n, d), keys (m, d), pairs with `known` -> scalar. Vectors are used as they are; `fit` puts them on
    the sphere.

    Errors: `InputError`: no scores; no query with two listed keys; for margin_mse, the rows of queries whose listed
    keys hold no positive, or nothing else.

    Example:
        >>> import torch, nearfar as nf
        >>> q, k = torch.nn.functional.normalize(torch.randn(2, 3, 4), dim=2)
        >>> aligned, rows = nf.Pairs.aligned(3), torch.tensor([0, 0, 1, 1])
        >>> scores = nf.Known(rows, torch.tensor([0, 1, 1, 2]), torch.tensor([9.1, 0.3, 7.7, 0.0]))
        >>> ids = aligned.query_group, aligned.query_item, aligned.key_group, aligned.key_item
        >>> loss = nf.losses.Distill()(q, k, nf.Pairs(*ids, known=scores))

    When not to use it: with a teacher that is no better than the student; kl with one listed key for each query, which
    is zero whatever the vectors.
    """

    unit: ClassVar[bool] = True
    cacheable: ClassVar[bool] = True
    needs_negatives: ClassVar[bool] = False

    def __init__(
        self,
        form: Literal["kl", "margin_mse"] = "kl",
        temperature: float | Scheduled = 0.05,
        teacher_temperature: float | Scheduled = 1.0,
    ) -> None:
        super().__init__()
        self._temperature = ScheduledNumber("distill.temperature", temperature)
        self._teacher_temperature = ScheduledNumber("distill.teacher_temperature", teacher_temperature)
        check_choice("distill.form", form, ("kl", "margin_mse"))
        self.form = form

    @property
    def temperature(self) -> float | Scheduled:
        """What similarities are divided by, as it was given."""
        return self._temperature.setting

    @property
    def teacher_temperature(self) -> float | Scheduled:
        """What the teacher's scores are divided by, as it was given."""
        return self._teacher_temperature.setting

    def forward(self, queries: Tensor, keys: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss, a scalar."""
        q, k = exact_vectors(queries, keys, pairs)
        with torch.autocast(q.device.type, enabled=False):
            listed, score = ListedPairs.known(q, k, pairs, "distill")
            s = listed_products(q, k, listed.i, listed.j) / self._temperature.value  # (e,)
            t = score / self._teacher_temperature.value  # (e,)
            losses = (_divergence if self.form == "kl" else _margins)(s, t, listed)  # (n,)
            weight = torch.zeros_like(losses).index_fill(0, listed.i, 1) * listed.query_share  # (n,)
            return losses @ weight / weight.sum()


def _divergence(s: Tensor, t: Tensor, listed: ListedPairs) -> Tensor:
    """Return the divergence KL(teacher, student) of each query, (n,), 0 where it has no listed keys."""
    i, share, n = listed.i, listed.key_share[listed.j], len(listed.query_share)
    if not bool((s.new_zeros(n).index_add(0, i, share) > 1 + 1e-3).any()):  # shares are fractions: this is rounding
        raise InputError("distill: every query has one listed key or none, which leaves nothing to compare")
    log_p = t - segment_log_sum_exp(t + share.log(), i, n)[i]  # (e,)
    log_r = s - segment_log_sum_exp(s + share.log(), i, n)[i]  # (e,)
    return s.new_zeros(n).index_add(0, i, share * log_p.exp() * (log_p - log_r))


def _margins(s: Tensor, t: Tensor, listed: ListedPairs) -> Tensor:
    """Return the mean squared error of each query's margins, (n,), 0 where it has no listed keys."""
    i, share, n = listed.i, listed.key_share[listed.j], len(listed.query_share)
    positive = listed.relations.pairs.query_group[i] == listed.relations.pairs.key_group[listed.j]  # (e,)
    unlisted = torch.ones(n, dtype=torch.bool, device=i.device).index_fill(0, i, False)
    kinds = ("key of their own group, the positive", positive), ("other key than the positive", ~positive)
    for kind, which in kinds:
        lacking = ~unlisted.index_fill(0, i[which], True)  # (n,)
        if bool(lacking.any()):
            raise about_rows(lacking.nonzero()[:, 0], f"distill: queries with scores but no listed {kind}")
    error = s - t  # (e,); the error of a margin is the difference of two of these

    def mean(values: Tensor, which: Tensor) -> Tensor:  # (n,), of some values of each query
        total = s.new_zeros(n).index_add(0, i[which], (share * values)[which])
        count = s.new_zeros(n).index_add(0, i[which], share[which])
        return total / torch.where(unlisted, 1.0, count)

    squared = (error - mean(error, positive)[i]).square()  # (e,)
    return mean(squared, ~positive) + mean(squared, positive)  # the second is the variance of the positives
