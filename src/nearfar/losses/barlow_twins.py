"""Barlow Twins: the cross-correlation of positives is driven to the identity."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from nearfar.compute.fp32_products import product
from nearfar.errors import InputError
from nearfar.losses.tiled.checks import check_setting, exact_vectors
from nearfar.losses.tiled.lists import ListedPairs
from nearfar.pairs import Pairs

EPSILON = 1e-5  # added to variances, as in the authors' batch normalisation: a constant dimension is no NaN


class BarlowTwins(nn.Module):
    """Make each dimension agree over the positives and no two dimensions repeat each other, without negatives.

        L = sum_a (1 - C_aa)^2 + redundancy sum_{a != b} C_ab^2,      C_ab = sum_{(i, j) in P} p_ij zq_ia zk_jb

    over the positive pairs P, with p_ij their weights over the sum of these, and with zq and zk the columns of q and k
    standardised over the pairs, as (q - mean) / sqrt(variance + 1e-5). Source: Zbontar et al. 2021, arXiv:2103.03230,
    equations 1 and 2. A pair of rows with c and c' copies counts 1 / (c c').

    Args:
        redundancy: weight of the off-diagonal terms, > 0 (the paper's lambda).

    Call: queries (n, d), keys (m, d), pairs -> scalar. Vectors are raw, not on the sphere, and usually those of a wide
    projection head. Memory beyond the inputs is n x d and d x d.

    Errors: `InputError` that names the rows: a query without a positive; fewer than two distinct positive pairs.

    Example:
        >>> import torch, nearfar as nf
        >>> q, k = torch.randn(8, 4), torch.randn(8, 4)
        >>> loss = nf.losses.BarlowTwins()(q, k, nf.Pairs.aligned(8))

    When not to use it: with fewer pairs than a few times d, whose correlations are noise; for retrieval, where
    negatives teach more. Its value grows with d: never compare it across dimensions.
    """

    unit: ClassVar[bool] = False
    cacheable: ClassVar[bool] = True
    needs_negatives: ClassVar[bool] = False

    def __init__(self, redundancy: float = 5e-3) -> None:
        super().__init__()
        check_setting("barlow_twins.redundancy", redundancy, above=0)
        self.redundancy = redundancy

    def forward(self, queries: Tensor, keys: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss, a scalar."""
        q, k = exact_vectors(queries, keys, pairs)
        with torch.autocast(q.device.type, enabled=False):
            listed = ListedPairs.positives(q, k, pairs)
            distinct = float(listed.query_share[listed.i] @ listed.key_share[listed.j])
            if distinct < 2 - 1e-3:  # shares are fractions: this is rounding
                raise InputError(f"barlow_twins needs two distinct positive pairs; rows 0 to {len(q) - 1} are one")
            by_query = q.new_zeros(len(q)).index_add(0, listed.i, listed.weight)  # (n,)
            by_key = k.new_zeros(len(k)).index_add(0, listed.j, listed.weight)  # (m,)
            zq, zk = _standardised(q, by_query), _standardised(k, by_key)  # (n, d), (m, d)
            correlation = product(zq.T, listed.sum_of_keys(zk).T)  # (d, d)
            agreement = correlation.diagonal()  # (d,)
            off_diagonal = (correlation - agreement.diag()).square().sum()
            return (1 - agreement).square().sum() + self.redundancy * off_diagonal


def _standardised(x: Tensor, weight: Tensor) -> Tensor:
    """Return x (n, d) with mean zero and variance one in each column; the weights (n,) add up to one."""
    centred = x - weight @ x
    return centred / (weight @ centred.square() + EPSILON).sqrt()
