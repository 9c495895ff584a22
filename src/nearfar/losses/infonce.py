"""InfoNCE: softmax cross-entropy of each query against its candidates."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from nearfar.errors import InputError
from nearfar.losses._checks import check_negatives, check_positives, check_vectors
from nearfar.losses._near import Near
from nearfar.losses._relations import Relations
from nearfar.losses._tiles import Plan, log_sum_exp, tile_precision
from nearfar.pairs import Pairs


class InfoNCE(nn.Module):
    """Pull each query to its positives and push it from its negatives: cross-entropy over scaled similarities.

        L_i = log( sum_{j near or far} a_j e^{s_ij} ) - sum_{j near} p_ij s_ij,      s_ij = q_i . k_j / temperature

    with p_ij = w_ij a_j normalised over the positives of i (several positives: SupCon's outer form, Khosla et al. 2020,
    arXiv:2004.11362, equation 2) and a_j one over the number of copies of key j in the batch. The loss is the mean over
    queries; symmetric, it is half of that and half of the way back, over the distinct keys that have a positive (CLIP,
    Radford et al. 2021, arXiv:2103.00020). Source of the bound: van den Oord et al. 2018, arXiv:1807.03748.

    Args:
        temperature: what similarity is divided by, > 0; 0.05 for text from scratch, 0.01 to 0.1 in the field.
        learnable: train the log of the scale 1 / temperature; the scale is kept within 1 to 100, as CLIP does.
        symmetric: add the way back, keys asking for queries.
        precision: of the tiles' products: "auto" takes bf16 under autocast while scale x norms stay under 50, else
            fp32. Listed positives are in fp32 always; float64 inputs are float64 throughout.
        tile: side of a tile. Memory beyond the inputs is a few tiles and vectors, whatever the batch.

    Call: queries (n, d), keys (m, d), pairs -> scalar. Vectors are used as they are; `fit` puts them on the sphere.

    Errors: `InputError` that names the rows: a query without a positive; a batch without a negative.

    Example:
        >>> import torch, nearfar as nf
        >>> q = torch.nn.functional.normalize(torch.randn(8, 4), dim=1)
        >>> loss = nf.losses.InfoNCE(temperature=0.05)(q, q, nf.Pairs.aligned(8))

    When not to use it: for graded pairs (use a ranking loss), or with batches so small that a query sees next to no
    negatives. Its value depends on the number of candidates: never compare it across batch sizes.
    """

    unit: ClassVar[bool] = True
    cacheable: ClassVar[bool] = True
    needs_negatives: ClassVar[bool] = True

    def __init__(
        self,
        temperature: float = 0.05,
        learnable: bool = False,
        symmetric: bool = True,
        precision: Literal["auto", "bf16", "fp32"] = "auto",
        tile: int = 1024,
    ) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise InputError(f"infonce.temperature must be positive and finite, it is {temperature}; 0.05 is usual")
        if tile < 1:
            raise InputError(f"infonce.tile must be at least 1, it is {tile}")
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)), requires_grad=learnable)
        self.learnable, self.symmetric = learnable, symmetric
        self.precision, self.tile = precision, tile
        self.first_scale = 1.0 / temperature  # a fixed scale stays exact in float64

    @property
    def temperature(self) -> float:
        """What similarity is divided by, now."""
        return math.exp(-self.log_scale.item())

    def clamp_(self) -> None:
        """Keep a learnt scale within 1 to 100; the training step calls this after each update."""
        with torch.no_grad():
            self.log_scale.clamp_(0.0, math.log(100.0))

    def forward(self, queries: Tensor, keys: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss, a scalar."""
        check_vectors(queries, keys, pairs)
        precision = tile_precision(self.precision, keys)
        with torch.autocast(queries.device.type, enabled=False):
            relations = Relations.of(pairs).to(queries.device)
            exact = torch.promote_types(torch.promote_types(queries.dtype, keys.dtype), torch.float32)
            scale = self.log_scale.to(exact).exp() if self.learnable else self.first_scale
            z, k = queries.to(exact) * scale, keys.to(exact)  # (n, d), (m, d): the loss sees nothing but scale q.k
            plan = Plan.of(z, k, relations, columns=self.symmetric, tile=self.tile, precision=precision)
            rows, columns = log_sum_exp(z, k, plan)  # (n,), (m,)
            forth = Near.of(z, k, relations)
            check_positives(forth)
            check_negatives(rows, forth, relations)
            loss = forth.cross_entropy(rows).mean()
            if not self.symmetric:
                return loss
            back = Near.of(k, z, relations.transposed)
            losses = back.cross_entropy(columns)  # (m,), of use where there is a positive
            weight = back.found if relations.key_share is None else back.found * relations.key_share
            return (loss + torch.where(back.found, losses, 0.0) @ weight.to(exact) / weight.sum()) / 2
