"""N-pairs: each query against its positive and a list of negatives, with raw vectors."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from nearfar.losses.infonce import InfoNCE
from nearfar.losses.tiled.checks import check_setting
from nearfar.losses.tiled.relations import codes
from nearfar.pairs import Pairs


class NPairs(nn.Module):
    """Push a query's positive above all keys of its list at once, by raw products; and keep the vectors short.

        L = 1/n sum_i log( 1 + sum_{j far} a_j e^{q_i . k_j - q_i . k_i+} ) + l2 ( mean |q|^2 + mean |k|^2 )

    Source: Sohn 2016, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective", equation 7, with its
    penalty on long vectors. Scopes make the lists explicit: where queries and keys have them, a query's negatives are
    the keys of its own scope, and only these cells are ever computed. Without scopes all keys of other groups are.
    Several positives and copies of a key (a_j) count as in InfoNCE, which this is at temperature 1, one way.

    Args:
        l2: weight of the penalty; means are over distinct rows.
        tile: side of a tile, as in InfoNCE.

    Call: queries (n, d), keys (m, d), pairs -> scalar. Errors: `InputError` that names the rows: a query without a
    positive; a batch without a negative.

    Example:
        >>> import torch, nearfar as nf
        >>> loss = nf.losses.NPairs()(torch.randn(8, 4), torch.randn(8, 4), nf.Pairs.aligned(8))

    When not to use it: with vectors on the unit sphere, whose products are too small to tell: use InfoNCE there.
    """

    unit: ClassVar[bool] = False
    cacheable: ClassVar[bool] = True
    needs_negatives: ClassVar[bool] = True

    def __init__(self, l2: float = 0.005, tile: int = 1024) -> None:
        super().__init__()
        check_setting("npairs.l2", l2, least=0)
        check_setting("npairs.tile", tile, least=1)
        self.l2, self.tile = l2, tile
        self.ranking = InfoNCE(temperature=1.0, symmetric=False, tile=tile)

    def forward(self, queries: Tensor, keys: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss, a scalar."""
        return self.part(queries, keys, pairs, 0, 1)

    def part(self, queries: Tensor, keys: Tensor, pairs: Pairs, rank: int, world_size: int) -> Tensor:
        """Return the summand of one of several ranks that all hold the whole batch: the parts add up to the loss."""
        loss = self.ranking.part(queries, keys, pairs, rank, world_size)
        with torch.autocast(queries.device.type, enabled=False):
            lengths = sum(_mean_square(x, ids) for x, ids in zip((queries, keys), codes(pairs, "item", "scope")))
            return loss + self.l2 / world_size * lengths


def _mean_square(x: Tensor, ids: Tensor) -> Tensor:
    """Return the mean of |x|^2 over distinct rows, copies sharing one count."""
    _, place, count = torch.unique(ids.to(x.device), return_inverse=True, return_counts=True)
    exact = x.to(torch.promote_types(x.dtype, torch.float32))
    mean: Tensor = (exact.square().sum(1) / count[place]).sum() / len(count)
    return mean
