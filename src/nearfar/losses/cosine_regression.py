"""Cosine regression: queries predict their positives, which get no gradient (BYOL, SimSiam)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from nearfar.losses.tiled.checks import exact_vectors
from nearfar.losses.tiled.gathered_products import listed_products
from nearfar.losses.tiled.lists import ListedPairs
from nearfar.pairs import Pairs


class CosineRegression(nn.Module):
    """Pull each query to its positives, without negatives and without a gradient to the keys.

        L = mean over positive pairs of 2 - 2 q_i . stopgrad(k_j)

    which on the sphere is the squared distance. Source: Grill et al. 2020 (BYOL), arXiv:2006.07733, equation 2; where
    one encoder serves both sides it is, up to scale and shift, SimSiam: Chen & He 2021, arXiv:2011.10566, equations 1
    to 3. A positive pair counts by its weight, and a row by one over the number of its copies. For the symmetric form
    of both papers, let both views be queries and both be keys.

    It collapses to one point unless something beyond this loss prevents it: a prediction head on the queries' side
    (both papers), and for BYOL an encoder of the keys that follows the queries' by momentum.

    Call: queries (n, d), keys (m, d), pairs -> scalar. Vectors are used as they are; `fit` puts them on the sphere.

    Errors: `InputError` that names the rows: a query without a positive.

    Example:
        >>> import torch, nearfar as nf
        >>> q, k = torch.nn.functional.normalize(torch.randn(2, 8, 4), dim=2)
        >>> loss = nf.losses.CosineRegression()(q, k, nf.Pairs.aligned(8))

    When not to use it: without a predictor (above); where negatives are at hand. A low value is no proof of a good
    space, a collapsed one has the lowest: watch the effective rank.
    """

    unit: ClassVar[bool] = True
    cacheable: ClassVar[bool] = True
    needs_negatives: ClassVar[bool] = False

    def forward(self, queries: Tensor, keys: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss, a scalar."""
        q, k = exact_vectors(queries, keys.detach(), pairs)
        with torch.autocast(q.device.type, enabled=False):
            listed = ListedPairs.positives(q, k, pairs)
            return 2 - 2 * (listed.weight @ listed_products(q, k, listed.i, listed.j))
