"""Triplet: a positive is closer than a negative by a margin."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from nearfar.compute.fp32_products import product
from nearfar.losses.tiled.checks import check_choice, check_negatives, check_setting, exact_vectors
from nearfar.losses.tiled.gathered_products import listed_products
from nearfar.losses.tiled.lists import ListedPairs, count_below, mean_hinge, row_blocks
from nearfar.pairs import Pairs

FEW = 4  # positives in a row, up to which one search for each is faster than sorting the row


class Triplet(nn.Module):
    """Keep every positive closer to its query than a negative by a margin; a triplet that keeps it costs nothing.

        L = mean over positive pairs (i, j) of max(0, d_ij - d_il + margin),      d_ij = 1 - q_i . k_j

    with a negative l of i chosen for each pair: the closest that is still farther than the positive, or where there is
    none the farthest ("semihard"); the closest of all ("hardest"). "all" takes the mean over all negatives, too.
    Source: Schroff et al. 2015 (FaceNet), arXiv:1503.03832, section 3. A positive pair counts by its weight, and a row
    by one over the number of its copies; a query without a negative has no triplets and is left out.

    Args:
        margin: in units of 1 - cosine, > 0 (half of the squared distance that FaceNet uses).
        negatives: "semihard", "hardest" or "all", see above. "hardest" may collapse early in training.

    Call: queries (n, d), keys (m, d), pairs -> scalar. Vectors are used as they are; `fit` puts them on the sphere.
    Memory beyond the inputs is a few blocks of at most 256 x m.

    Errors: `InputError` that names the rows: a query without a positive; a batch without a negative.

    Example:
        >>> import torch, nearfar as nf
        >>> q, k = torch.nn.functional.normalize(torch.randn(2, 8, 4), dim=2)
        >>> loss = nf.losses.Triplet(margin=0.2)(q, k, nf.Pairs.aligned(8))

    When not to use it: for training from scratch with large batches, where InfoNCE weighs all negatives together and
    learns faster; for graded pairs.
    """

    unit: ClassVar[bool] = True
    cacheable: ClassVar[bool] = True
    needs_negatives: ClassVar[bool] = True

    def __init__(self, margin: float = 0.2, negatives: Literal["semihard", "hardest", "all"] = "semihard") -> None:
        super().__init__()
        check_setting("triplet.margin", margin, above=0)
        check_choice("triplet.negatives", negatives, ("semihard", "hardest", "all"))
        self.margin, self.negatives = margin, negatives

    def forward(self, queries: Tensor, keys: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss, a scalar."""
        q, k = exact_vectors(queries, keys, pairs)
        with torch.autocast(q.device.type, enabled=False):
            listed = ListedPairs.positives(q, k, pairs)
            check_negatives(listed.relations)
            if self.negatives == "all":
                return mean_hinge(q, k, listed, self.margin)
            return self._chosen_negatives(q, k, listed)

    def _chosen_negatives(self, q: Tensor, k: Tensor, listed: ListedPairs) -> Tensor:
        """Return the loss with one negative for each positive, a scalar."""
        negative = torch.full_like(listed.i, -1)  # (e,)
        with torch.no_grad():
            for rows, part in row_blocks(listed):
                s, negatives = product(q[rows], k), listed.negatives(rows)  # (r, m)
                negative[part] = self._choose(s, negatives, listed.i[part] - rows[0], listed.j[part])
        kept = negative >= 0
        i, j, negative, weight = listed.i[kept], listed.j[kept], negative[kept], listed.weight[kept]
        gap = listed_products(q, k, i, negative) - listed_products(q, k, i, j)  # (e,)
        return weight @ torch.relu(gap + self.margin) / weight.sum()

    def _choose(self, s: Tensor, negatives: Tensor, row: Tensor, j: Tensor) -> Tensor:
        """Return the chosen negative's key for each positive, (e,), -1 in a row without negatives.

        s: (r, m) similarities of a block of rows; negatives: (r, m) bool; row, j: (e,) the positives in the block.
        """
        if self.negatives == "hardest":
            chosen = torch.where(negatives, s, -torch.inf).argmax(1)[row]
        elif len(row) <= FEW * len(s):
            similarity, farthest = s[row], torch.where(negatives, s, torch.inf).argmin(1)  # (e, m), (r,)
            farther = negatives[row] & (similarity < s[row, j][:, None])  # (e, m) than the positive
            closest, key = torch.where(farther, similarity, -torch.inf).max(1)  # (e,) each
            chosen = torch.where(closest > -torch.inf, key, farthest[row])
        else:
            ordered, order = torch.where(negatives, s, torch.inf).sort(1)
            count = count_below(ordered, row, s[row, j])  # (e,) of the negatives farther than the positive
            chosen = order[row, (count - 1).clamp_min(0)]
        return torch.where(negatives.any(1)[row], chosen, -1)
