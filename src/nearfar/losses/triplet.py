"""Triplet: a positive nearer than a negative by a margin."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from nearfar.losses.tiled.checks import check_choice, check_negatives, check_setting, exact_vectors
from nearfar.losses.tiled.gathered_products import listed_products
from nearfar.losses.tiled.lists import ListedPairs, count_below, mean_hinge, row_blocks
from nearfar.pairs import Pairs

FEW = 4  # positives a row, up to which looking once for each is faster than sorting the row


class Triplet(nn.Module):
    """Hold every positive nearer to its query than a negative, by a margin; what is already so costs nothing.

        L = mean over positive pairs (i, j) of max(0, d_ij - d_il + margin),      d_ij = 1 - q_i . k_j

    with a negative l of i chosen for each pair: the closest that is still farther than the positive, or where there is
    none the farthest ("semihard"); the closest of all ("hardest"). "all" takes the mean over every negative, too.
    Source: Schroff et al. 2015 (FaceNet), arXiv:1503.03832, section 3. A positive pair counts by its weight, and a row
    by one over the number of its copies; a query without a negative has no triplets and is left out.

    Args:
        margin: in units of 1 - cosine, > 0 (half of the squared distance that FaceNet uses).
        negatives: which of them, see above. "hardest" may collapse early in training.

    Call: queries (n, d), keys (m, d), pairs -> scalar. Vectors are used as they are; `fit` puts them on the sphere.
    Memory beyond the inputs is some panels of at most 1024 x m.

    Errors: `InputError` that names the rows: a query without a positive; a batch without a negative.

    Example:
        >>> import torch, nearfar as nf
        >>> q, k = torch.nn.functional.normalize(torch.randn(2, 8, 4), dim=2)
        >>> loss = nf.losses.Triplet(margin=0.2)(q, k, nf.Pairs.aligned(8))

    When not to use it: for training from scratch with large batches, where InfoNCE weighs all negatives at once and
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
            every = self.negatives == "all"
            return mean_hinge(q, k, listed, self.margin) if every else self._chosen(q, k, listed)

    def _chosen(self, q: Tensor, k: Tensor, listed: ListedPairs) -> Tensor:
        negative = torch.full_like(listed.i, -1)  # (e,)
        with torch.no_grad():
            for rows, part in row_blocks(listed):
                s, far = q[rows] @ k.T, listed.far(rows)  # (r, m)
                negative[part] = self._negative(s, far, listed.i[part] - rows[0], listed.j[part])
        kept = negative >= 0
        i, j, negative, weight = listed.i[kept], listed.j[kept], negative[kept], listed.weight[kept]
        gap = listed_products(q, k, i, negative) - listed_products(q, k, i, j)  # (e,)
        return weight @ torch.relu(gap + self.margin) / weight.sum()

    def _negative(self, s: Tensor, far: Tensor, row: Tensor, j: Tensor) -> Tensor:
        """Return a key for each positive (row, j) of a panel of similarities (r, m), -1 where none is far."""
        if self.negatives == "hardest":
            found = torch.where(far, s, -torch.inf).argmax(1)[row]
        elif len(row) <= FEW * len(s):
            own, farthest = s[row], torch.where(far, s, torch.inf).argmin(1)  # (e, m), (r,)
            own = torch.where(far[row] & (own < s[row, j][:, None]), own, -torch.inf)  # (e, m)
            closest, at = own.max(1)  # (e,) each
            found = torch.where(closest > -torch.inf, at, farthest[row])
        else:
            ordered, order = torch.where(far, s, torch.inf).sort(1)
            farther = count_below(ordered, row, s[row, j])  # (e,) negatives farther than the positive
            found = order[row, (farther - 1).clamp_min(0)]
        return torch.where(far.any(1)[row], found, -1)
