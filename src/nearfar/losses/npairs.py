"""N-pairs: each query against its positive and a list of negatives, with raw vectors."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from nearfar.losses.infonce import InfoNCE
from nearfar.losses.tiled.checks import check_setting
from nearfar.losses.tiled.relations import joint_ids
from nearfar.pairs import Pairs


class NPairs(nn.Module):
    """Push a query's positive above all of its negatives together, by raw products; and keep the vectors short.

        L = 1/n sum_i log( 1 + sum_{j in N_i} a_j e^{q_i . k_j - q_i . k_i+} ) + l2 ( mean |q|^2 + mean |k|^2 )

    over the negatives N_i of query i, with k_i+ its positive. Source: Sohn 2016, "Improved Deep Metric Learning with
    Multi-class N-pair Loss Objective", equation 7, with its penalty on long vectors. Scopes make explicit lists: where
    queries and keys have them, a query's negatives are the keys of its scope, and only their products are computed.
    Without scopes all keys of other groups are negatives. Several positives and copies of a key (a_j) count as in
    InfoNCE, which this is at temperature 1, query-to-key only.

    Args:
        l2: weight of the penalty, >= 0; its means are over distinct rows.
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
        """Return one rank's part of the loss, a scalar. All ranks hold the whole batch; their parts add up to it."""
        loss = self.ranking.part(queries, keys, pairs, rank, world_size)
        with torch.autocast(queries.device.type, enabled=False):
            sides = zip((queries, keys), joint_ids(pairs, "item", "scope"))
            return loss + self.l2 / world_size * sum(_mean_square(x, ids) for x, ids in sides)


def _mean_square(x: Tensor, ids: Tensor) -> Tensor:
    """Return the mean of |x|^2 over distinct rows, a scalar; x: (n, d), ids: (n,), equal for copies."""
    _, place, count = torch.unique(ids.to(x.device), return_inverse=True, return_counts=True)
    exact = x.to(torch.promote_types(x.dtype, torch.float32))
    mean: Tensor = (exact.square().sum(1) / count[place]).sum() / len(count)
    return mean
