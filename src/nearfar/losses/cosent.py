"""CoSENT: similarities in the order of the grades."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from nearfar.compute.scheduled import Scheduled
from nearfar.errors import InputError
from nearfar.losses.tiled.checks import exact_vectors
from nearfar.losses.tiled.gathered_products import listed_products
from nearfar.losses.tiled.lists import ListedPairs
from nearfar.losses.tiled.scale import ScheduledNumber
from nearfar.pairs import Pairs


class CoSENT(nn.Module):
    """Order graded pairs by their similarity: every pair of a higher grade above every pair of a lower one.

        L = log( 1 + sum_{a, b: grade_a > grade_b} e^{s_b - s_a} ),      s_a = q . k / temperature of the graded pair a

    The grades are the weights of `pairs.known`, 0 among them; only their order matters, and equal grades give no term.
    Source: Su 2022, https://kexue.fm/archives/8847; Huang et al. 2024, doi:10.1109/TASLP.2024.3402087. The same query
    and key twice are one pair, of the larger grade. By sorting, the cost is e log e for e pairs.

    Args:
        temperature: what similarities are divided by, > 0.

    Call: queries (n, d), keys (m, d), pairs with `known` -> scalar. Vectors are used as they are; `fit` puts them on
    the sphere. Groups do not matter; items and scopes only tell which rows are copies.

    Errors: `InputError`: no graded pairs; all of one grade, which leaves nothing to order.

    Example:
        >>> import torch, nearfar as nf
        >>> q, k = torch.nn.functional.normalize(torch.randn(2, 3, 4), dim=2)
        >>> aligned, rows = nf.Pairs.aligned(3), torch.arange(3)
        >>> grades = nf.Known(rows, rows, torch.tensor([5.0, 2.5, 0.0]))
        >>> ids = aligned.query_group, aligned.query_item, aligned.key_group, aligned.key_item
        >>> loss = nf.losses.CoSENT()(q, k, nf.Pairs(*ids, known=grades))

    When not to use it: for plain positives (use InfoNCE, which has negatives to push from); for grades with gross
    errors, whose wrong orders weigh most. Its value grows with the number of pairs: never compare it across batches.
    """

    unit: ClassVar[bool] = True
    cacheable: ClassVar[bool] = True
    needs_negatives: ClassVar[bool] = False

    def __init__(self, temperature: float | Scheduled = 0.05) -> None:
        super().__init__()
        self._temperature = ScheduledNumber("cosent.temperature", temperature)

    @property
    def temperature(self) -> float | Scheduled:
        """What similarities are divided by, as it was given."""
        return self._temperature.setting

    def forward(self, queries: Tensor, keys: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss, a scalar."""
        q, k = exact_vectors(queries, keys, pairs)
        with torch.autocast(q.device.type, enabled=False):
            listed, grade = ListedPairs.known(q, k, pairs, "cosent")
            grade, order = grade.sort(stable=True)  # (e,) ascending
            lower = torch.searchsorted(grade, grade)  # (e,) the number of pairs with a lower grade
            higher = lower > 0  # (e,) the pairs a of the equation
            if not bool(higher.any()):
                grades = f"all {len(grade)} pairs of pairs.known have the grade {float(grade[0]):g}"
                raise InputError(f"cosent has nothing to order: {grades}")
            s = listed_products(q, k, listed.i[order], listed.j[order]) / self._temperature.value  # (e,)
            log_weight = listed.weight[order].log()
            cumulative = torch.logcumsumexp(s + log_weight, 0)  # (e,)
            log_sums = cumulative[lower[higher] - 1] - s[higher] + log_weight[higher]  # for each a, over its b
            return torch.logsumexp(torch.cat([log_sums.new_zeros(1), log_sums]), 0)
