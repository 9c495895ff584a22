"""VICReg: positives close, variance in every dimension, no two dimensions correlated."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from nearfar.compute.fp32_products import product
from nearfar.errors import InputError
from nearfar.losses.tiled.checks import check_setting, exact_vectors
from nearfar.losses.tiled.gathered_products import squared_distances
from nearfar.losses.tiled.lists import ListedPairs
from nearfar.pairs import Pairs

EPSILON = 1e-4  # added to variances: keeps the root's gradient finite where a dimension is constant


class VICReg(nn.Module):
    """Pull positives together and keep the space from collapsing by statistics of its dimensions, without negatives.

        L = invariance s(Q, K) + variance [v(Q) + v(K)] / 2 + covariance [c(Q) + c(K)]
        s = mean over positive pairs and dimensions of (q - k)^2
        v(Z) = 1/d sum_a max(0, 1 - sqrt(Cov(Z)_aa + 1e-4)),      c(Z) = 1/d sum_{a != b} Cov(Z)_ab^2

    with the unbiased covariance over all distinct rows. Source: Bardes et al. 2022, arXiv:2105.04906, equations 1 to 6;
    s is also the mean over dimensions, and v the mean over both sides, as in the authors' code, which the published
    weights 25, 25, 1 belong to; equation 6 has neither. A positive pair counts by its weight, and a row by one
    over the number of its copies.

    Args:
        invariance: weight of s, > 0 (the paper's lambda).
        variance: weight of v, > 0 (its mu).
        covariance: weight of c, > 0 (its nu).

    Call: queries (n, d), keys (m, d), pairs -> scalar. Vectors are raw, not on the sphere, and usually those of a wide
    projection head. Memory beyond the inputs is d x d.

    Errors: `InputError` that names the rows: a query without a positive; fewer than two distinct queries or keys.

    Example:
        >>> import torch, nearfar as nf
        >>> q, k = torch.randn(8, 4), torch.randn(8, 4)
        >>> loss = nf.losses.VICReg()(q, k, nf.Pairs.aligned(8))

    When not to use it: with fewer rows than a few times d, whose covariance says little; for retrieval, where negatives
    teach more; without a projection head, since it spreads every dimension to a deviation of one.
    """

    unit: ClassVar[bool] = False
    cacheable: ClassVar[bool] = True
    needs_negatives: ClassVar[bool] = False

    def __init__(self, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0) -> None:
        super().__init__()
        for name, weight in (("invariance", invariance), ("variance", variance), ("covariance", covariance)):
            check_setting(f"vicreg.{name}", weight, above=0)
        self.invariance, self.variance, self.covariance = invariance, variance, covariance

    def forward(self, queries: Tensor, keys: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss, a scalar."""
        q, k = exact_vectors(queries, keys, pairs)
        with torch.autocast(q.device.type, enabled=False):
            listed = ListedPairs.positives(q, k, pairs)
            invariance = listed.weight @ squared_distances(q, k, listed.i, listed.j) / q.shape[1]
            variance_q, covariance_q = _variance_and_covariance(q, listed.query_share, "queries")
            variance_k, covariance_k = _variance_and_covariance(k, listed.key_share, "keys")
            variance, covariance = (variance_q + variance_k) / 2, covariance_q + covariance_k
            return self.invariance * invariance + self.variance * variance + self.covariance * covariance


def _variance_and_covariance(x: Tensor, share: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Return the terms v and c of the vectors x (n, d), two scalars; share: (n,) of each row; name: for errors."""
    distinct = round(float(share.sum()))
    if distinct < 2:
        raise InputError(f"vicreg needs two distinct {name} for a variance: rows 0 to {len(x) - 1} are one item")
    centred = x - share @ x / distinct  # (n, d)
    covariance = product((centred * share[:, None]).T, centred.T) / (distinct - 1)  # (d, d)
    variance = covariance.diagonal()  # (d,)
    v = torch.relu(1 - (variance + EPSILON).sqrt()).mean()
    return v, (covariance - variance.diag()).square().sum() / x.shape[1]
