"""InfoNCE: softmax cross-entropy of each query against its candidates, in all its forms."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from nearfar.losses.tiled.checks import (
    Scale,
    check_choice,
    check_negatives,
    check_positives,
    check_setting,
    exact_vectors,
)
from nearfar.losses.tiled.matrix import SimilarityMatrix, negatives
from nearfar.losses.tiled.positive_terms import PositiveTerms, has_positive
from nearfar.losses.tiled.relations import Relations
from nearfar.losses.tiled.small_batch import SMALL, cross_entropy
from nearfar.losses.tiled.tiles import PRECISIONS, tile_precision
from nearfar.pairs import Pairs


class InfoNCE(nn.Module):
    """Pull each query to its positives and push it from its negatives: cross-entropy over scaled similarities.

        L_i = log( sum_{j near or far} a_j e^{s_ij} ) - sum_{j near} p_ij s_ij,      s_ij = q_i . k_j / temperature

    with p_ij = w_ij a_j normalised over the positives of i and a_j one over the number of copies of key j in the batch.
    The loss is the mean over queries; symmetric, it is half of that and half of the way back, over the distinct keys
    that have a positive (CLIP, Radford et al. 2021, arXiv:2103.00020). Source of the bound: van den Oord et al. 2018,
    arXiv:1807.03748. With views as queries and the same tensor as keys it is NT-Xent (SimCLR, Chen et al. 2020,
    arXiv:2002.05709), with labels as groups SupCon.

    Args:
        temperature: what similarity is divided by, > 0; 0.05 for text from scratch, 0.01 to 0.1 in the field.
        learnable: train the log of the scale 1 / temperature; the scale is kept within 1 to 100, as CLIP does.
        symmetric: add the way back, keys asking for queries.
        positives: several ones "outside" the logarithm, as above (SupCon's form 2), or "inside" it: the last term is
            log sum_{near} p_ij e^{s_ij} (its form 3; Khosla et al. 2020, arXiv:2004.11362).
        margin: taken from the positives' cosines wherever they stand (Yang et al. 2019, arXiv:1902.08564).
        decoupled: leave the positives out of the first sum (Yeh et al. 2021, arXiv:2110.06848); "weighted" also
            multiplies the last term by 2 - e^{c_i / sigma} / mean e^{c / sigma}, c the positives' mean cosine, without
            a gradient.
        sigma: of that weight; 0.5 in the paper.
        hardness: beta; negatives count in proportion to e^{beta s_ij} (Robinson et al. 2021, arXiv:2010.04592).
        debiasing: tau+, the chance that a negative is a positive in truth, which is taken out of their sum (Chuang et
            al. 2020, arXiv:2007.00224).
        false_negatives: a negative whose cosine exceeds that of its query's lowest positive (on the way back: its
            key's) by more than this is ignored; None for never. The limit has no gradient.
        relative: this margin is a share of the positive's cosine.
        precision: of the tiles' products: "auto" takes bf16 under autocast while scale x norms stay under 50, else fp32
            (and always with debiasing or false_negatives). Listed positives are in fp32 always; float64 inputs are
            float64 throughout.
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
        positives: Literal["outside", "inside"] = "outside",
        margin: float = 0.0,
        decoupled: bool | Literal["weighted"] = False,
        sigma: float = 0.5,
        hardness: float = 0.0,
        debiasing: float = 0.0,
        false_negatives: float | None = None,
        relative: bool = False,
        precision: Literal["auto", "bf16", "fp32"] = "auto",
        tile: int = 1024,
    ) -> None:
        super().__init__()
        check_setting("infonce.sigma", sigma, above=0)
        check_setting("infonce.margin", margin)
        check_setting("infonce.hardness", hardness, least=0)
        check_setting("infonce.debiasing", debiasing, least=0, below=1)
        check_setting("infonce.false_negatives", false_negatives or 0.0)
        check_setting("infonce.tile", tile, least=1)
        check_choice("infonce.positives", positives, ("outside", "inside"))
        check_choice("infonce.decoupled", decoupled, (False, True, "weighted"))
        check_choice("infonce.precision", precision, PRECISIONS)
        self.scale = Scale("infonce.temperature", temperature, learnable)
        self.learnable, self.symmetric, self.positives = learnable, symmetric, positives
        self.margin, self.decoupled, self.sigma = margin, decoupled, sigma
        self.hardness, self.debiasing = hardness, debiasing
        self.false_negatives, self.relative = false_negatives, relative
        self.precision, self.tile = precision, tile

    @property
    def temperature(self) -> float:
        """What similarity is divided by, now."""
        return self.scale.temperature

    def forward(self, queries: Tensor, keys: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss, a scalar."""
        return self.part(queries, keys, pairs, 0, 1)

    def part(self, queries: Tensor, keys: Tensor, pairs: Pairs, rank: int, world_size: int) -> Tensor:
        """Return the summand of one of several ranks that all hold the whole batch: the parts add up to the loss."""
        precision = tile_precision(self.precision, keys)
        if self.precision == "auto" and (self.debiasing or self.false_negatives is not None):
            precision = "fp32"  # a difference of sums, or a limit, makes much of a small rounding
        with torch.autocast(queries.device.type, enabled=False):
            q, k = exact_vectors(queries, keys, pairs)
            relations = Relations.of(pairs).to(q.device)
            scale = self.scale.value(q.dtype)
            # NT-Xent: every view asks all others, there and back is the same, and half of the matrix says it all
            itself = keys is queries and relations.query_share is None and relations.reflexive
            back = self.symmetric and not itself
            bf16 = precision != "fp32" and q.dtype == torch.float32
            most = SMALL if bf16 else self.tile  # rows: beyond, tiles in bf16 are faster
            if world_size == 1 and self._plain() and max(pairs.shape) <= most and relations.simple:
                check_negatives(relations)
                loss = cross_entropy(q, k, scale, relations, back=back, bf16=bf16)
                if loss is not None:
                    return loss
            # the loss sees nothing but scale q.k: in both factors where they are one
            z = q * (scale**0.5 if itself else scale)  # (n, d)
            matrix = SimilarityMatrix(
                z, z if itself else k, relations, self.tile, precision, rank, world_size, back, itself
            )
            return self._of(matrix, scale)

    def _of(self, matrix: SimilarityMatrix, scale: Tensor | float) -> Tensor:
        anchors = _anchors(matrix)  # (n,), (m,): over all ranks
        check_negatives(matrix.relations)
        if matrix.relations.by_class and self._plain():  # one sweep holds all candidates
            losses = [near.excess(near.mean) for near in matrix.nears(matrix.listed(), "both")]
        else:
            matrix, far, s = self._sums(matrix, scale)
            weights = self._weights(matrix, s, anchors, scale)
            nears = matrix.nears(s, "near")
            losses = [self._one_way(near, push, weight, scale) for near, push, weight in zip(nears, far, weights)]
        mine = [anchor[share] for anchor, share in zip(anchors, matrix.shares)]
        ways = [torch.where(a > 0, loss, 0.0) @ a.to(loss.dtype) for a, loss in zip(mine, losses)]
        return torch.stack(ways).mean()

    def _sums(self, matrix: SimilarityMatrix, scale: Tensor | float) -> tuple[SimilarityMatrix, list[Tensor], Tensor]:
        """Return the matrix without false negatives, its negatives' logarithmic sums each way, and its positives."""
        if self.false_negatives is None and not self.hardness and not self.debiasing:
            return matrix, *matrix.far_and_listed()
        s = matrix.listed()  # (e,)
        if self.false_negatives is not None:
            matrix = matrix.without_false_negatives(s, self.false_negatives, self.relative, scale)
        return matrix, negatives(matrix, s, scale, self.hardness, self.debiasing), s

    def _plain(self) -> bool:
        changed = self.margin or self.decoupled or self.hardness or self.debiasing
        return not changed and self.false_negatives is None and self.positives == "outside"

    def _weights(
        self, matrix: SimilarityMatrix, s: Tensor, anchors: list[Tensor], scale: Tensor | float
    ) -> list[Tensor | float]:
        """Return the weights of the positives' term, each way: decreasing in their similarity, one on average."""
        if self.decoupled != "weighted":
            return [1.0] * len(anchors)
        with torch.no_grad():
            means = [mean / (scale * self.sigma) for mean in matrix.means(s)]
            tops = [mean[a > 0].max() for a, mean in zip(anchors, means)]
            waves = [torch.where(a > 0, (mean - top).exp(), 0.0) for a, mean, top in zip(anchors, means, tops)]
            every = [2 - wave / (wave @ a.to(wave.dtype)) for a, wave in zip(anchors, waves)]
            return [weight[share] for weight, share in zip(every, matrix.shares)]

    def _one_way(self, near: PositiveTerms, far: Tensor, weight: Tensor | float, scale: Tensor | float) -> Tensor:
        """Return the losses of some rows (r,); no number where there is no positive."""
        pulled = near.inside if self.positives == "inside" else near.mean
        shift = self.margin * scale
        if self.decoupled:
            push = torch.where(torch.isneginf(far), 0.0, far)  # all negatives are ignored: nothing pushes
            return push - weight * (pulled - shift)
        # log(e^far + e^mass) - pulled, in the form whose gradient keeps its digits where the positive wins
        mass = torch.where(torch.isneginf(near.mass), 0.0, near.mass)
        return torch.logaddexp(far - mass + shift, torch.zeros_like(far)) + near.excess(pulled)


def _anchors(matrix: SimilarityMatrix) -> list[Tensor]:
    """Return what each row's loss counts, each way, (n,) and (m,) float64: alike for queries, and on the way back for
    distinct keys that have a positive. Errors: `InputError` that names the queries without a positive."""
    found = [has_positive(way) for way in matrix.ways]
    check_positives(found[0])
    anchors = [found[0].double() / len(found[0])]
    for has, way in zip(found[1:], matrix.ways[1:]):
        weight = has.double() if way.query_share is None else has * way.query_share
        anchors.append(weight / weight.sum())
    return anchors
