"""Alignment and uniformity: the two terms that InfoNCE tends to with many negatives, with a weight between them."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from nearfar.errors import InputError
from nearfar.losses.tiled.checks import PRECISIONS, check_choice, check_setting, exact_vectors, tile_precision
from nearfar.losses.tiled.gathered_products import squared_distances
from nearfar.losses.tiled.lists import ListedPairs
from nearfar.losses.tiled.log_sum_exp import log_sum_exp
from nearfar.losses.tiled.relations import Relations
from nearfar.losses.tiled.tiles import SweepPlan, arithmetic
from nearfar.pairs import Pairs


class AlignmentUniformity(nn.Module):
    """Bring positives together and spread everything else over the sphere, each by its own term.

        L = mean_{(i, j) in P} |q_i - k_j|^2 + weight (U(Q) + U(K)) / 2
        U(X) = log mean_{i < j} e^{-t |x_i - x_j|^2}

    over the positive pairs P, on the unit sphere, where the loss puts the vectors. Source: Wang & Isola 2020,
    arXiv:2005.10242, equations 4 and 5. Copies (same item) count once and do not push each other, nor do rows of
    different scopes. U is computed tile by tile, on and above the diagonal.

    Args:
        weight: of the uniformity, >= 0.
        t: sharpness of the uniformity, > 0; 2 in the paper.
        precision: of the tiles' products, as in InfoNCE.
        tile: side of a tile.

    Call: queries (n, d), keys (m, d), pairs -> scalar. Errors: `InputError`: a query without a positive, by row; fewer
    than two distinct queries or keys.

    Example:
        >>> import torch, nearfar as nf
        >>> loss = nf.losses.AlignmentUniformity()(torch.randn(8, 4), torch.randn(8, 4), nf.Pairs.aligned(8))

    When not to use it: where hard negatives matter: every row pushes every other by its distance alone.
    """

    unit: ClassVar[bool] = True
    cacheable: ClassVar[bool] = True
    needs_negatives: ClassVar[bool] = False

    def __init__(
        self,
        weight: float = 1.0,
        t: float = 2.0,
        precision: Literal["auto", "bf16", "fp32"] = "auto",
        tile: int = 1024,
    ) -> None:
        super().__init__()
        check_setting("alignment_uniformity.weight", weight, least=0)
        check_setting("alignment_uniformity.t", t, above=0)
        check_setting("alignment_uniformity.tile", tile, least=1)
        check_choice("alignment_uniformity.precision", precision, PRECISIONS)
        self.weight, self.t, self.precision, self.tile = weight, t, precision, tile

    def forward(self, queries: Tensor, keys: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss, a scalar."""
        precision = tile_precision(self.precision, keys)
        with torch.autocast(queries.device.type, enabled=False):
            q, k = (normalize(x, dim=1) for x in exact_vectors(queries, keys, pairs))
            listed = ListedPairs.positives(q, k, pairs)
            alignment = listed.weight @ squared_distances(q, k, listed.i, listed.j)
            uniformity = [self._uniformity(q, pairs, "queries", precision)]
            uniformity.append(self._uniformity(k, pairs.transposed, "keys", precision))
            return alignment + self.weight * torch.stack(uniformity).mean()

    def _uniformity(self, x: Tensor, pairs: Pairs, name: str, precision: str) -> Tensor:
        """Return U of x (n, d), the queries of the pairs."""
        item, scope = pairs.query_item, pairs.query_scope
        each_other = Pairs(item, item, item, item, scope, scope)  # all rows but a row's copies are its negatives
        relations = Relations.of(each_other).to(x.device)
        scaled = x * (2 * self.t) ** 0.5  # |x_i - x_j|^2 = 2 - 2 x_i . x_j
        dtype, unshifted = arithmetic(scaled, scaled, precision)
        plan = SweepPlan(
            relations,
            "negatives",
            key_to_query=False,
            tile=self.tile,
            dtype=dtype,
            unshifted=unshifted,
            self_similarity=True,
        )
        rows = log_sum_exp(scaled, scaled, plan)[0]  # (n,)
        share = rows.new_ones(len(x)) if relations.query_share is None else relations.query_share.to(rows.dtype)
        some = ~torch.isneginf(rows.detach())
        if not bool(some.any()):
            raise InputError(f"alignment_uniformity: all {len(x)} {name} are copies of one, or alone in their scopes")
        log_sum = torch.logsumexp(rows[some] + share[some].log(), 0)
        return log_sum - _ordered_pairs(item, scope, share).log() - 2 * self.t


def _ordered_pairs(item: Tensor, scope: Tensor | None, share: Tensor) -> Tensor:
    """Return the number of ordered pairs of distinct rows of one scope, a scalar."""
    place = torch.zeros_like(item) if scope is None else torch.unique(scope, return_inverse=True)[1]
    distinct = share.new_zeros(int(place.max()) + 1).index_add(0, place.to(share.device), share)
    return (distinct * (distinct - 1)).sum()
