"""InfoNCE: softmax cross-entropy of each query against its candidates, with its published variants."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from nearfar.abilities import Learnt
from nearfar.compute.scheduled import Scheduled
from nearfar.losses.tiled.checks import (
    PRECISIONS,
    check_choice,
    check_negatives,
    check_positives,
    check_setting,
    exact_vectors,
    tile_precision,
)
from nearfar.losses.tiled.matrix import SimilarityMatrix, negative_log_sums
from nearfar.losses.tiled.positive_terms import PositiveTerms, has_positive
from nearfar.losses.tiled.relations import Relations
from nearfar.losses.tiled.scale import Scale
from nearfar.losses.tiled.small_batch import SMALL, cross_entropy
from nearfar.pairs import Pairs


class InfoNCE(nn.Module):
    """Pull each query to its positives and push it from its negatives: cross-entropy over scaled similarities.

        L_i = log( sum_{j in P_i, N_i} a_j e^{s_ij} ) - sum_{j in P_i} p_ij s_ij,      s_ij = q_i . k_j / temperature

    over the positives P_i and the negatives N_i of query i, with a_j one over the number of copies of key j in the
    batch, and p_ij = w_ij a_j normalised over P_i, where w_ij is the positive's weight. The loss is the mean over
    queries; symmetric, it is the mean of this and of the key-to-query loss, over the distinct keys that have a positive
    (CLIP, Radford et al. 2021, arXiv:2103.00020). Source of the bound: van den Oord et al. 2018, arXiv:1807.03748. With
    views as queries and the same tensor as keys it is NT-Xent (SimCLR, Chen et al. 2020, arXiv:2002.05709), with labels
    as groups SupCon.

    Args:
        temperature: what similarities are divided by, > 0; 0.05 for text from scratch, 0.01 to 0.1 in the literature.
            In a recipe, learnt is that of the CLIP or SigLIP folder that the encoder begins from.
        learnable: train the log of the scale 1 / temperature; the scale is kept within 1 to 100, as CLIP does,
            or where it began.
        symmetric: add the key-to-query loss, which ranks queries for each key.
        positives: the sum over several positives is "outside" the logarithm, as above (SupCon's form 2), or "inside":
            the last term is log sum_{j in P_i} p_ij e^{s_ij} (its form 3; Khosla et al. 2020, arXiv:2004.11362).
        margin: subtracted from the positives' cosines in both terms (Yang et al. 2019, arXiv:1902.08564).
        decoupled: leave the positives out of the first sum (Yeh et al. 2021, arXiv:2110.06848); "weighted" also
            multiplies the last term by 2 - e^{c_i / sigma} / mean e^{c / sigma}, with c_i the mean cosine of the
            positives of i; this weight has no gradient.
        sigma: of that weight; 0.5 in the paper.
        hardness: beta; negatives count in proportion to e^{beta s_ij} (Robinson et al. 2021, arXiv:2010.04592).
        debiasing: tau+, the chance that a negative is a positive in truth; what these are expected to add is subtracted
            from the negatives' sum (Chuang et al. 2020, arXiv:2007.00224).
        false_negatives: a negative whose cosine exceeds that of its query's lowest positive (key-to-query: its key's)
            by more than this is ignored; None for never. The limit has no gradient.
        relative: `false_negatives` is a share of the positive's cosine.
        precision: of the tiles' products: "auto" is bf16 under bf16 autocast or for bf16 vectors, while scale x norms
            stay under 50, else fp32 (and always with debiasing or false_negatives). Listed positives are in fp32
            always; float64 inputs are float64 throughout.
        tile: side of a tile. Memory beyond the inputs is a few tiles and vectors, whatever the batch.

    Call: queries (n, d), keys (m, d), pairs -> scalar. Vectors are used as they are; `fit` puts them on the sphere.

    Errors: `InputError` that names the rows: a query without a positive; a batch without a negative.

    Example:
        >>> import torch, nearfar as nf
        >>> q = torch.nn.functional.normalize(torch.randn(8, 4), dim=1)
        >>> loss = nf.losses.InfoNCE(temperature=0.05)(q, q, nf.Pairs.aligned(8))

    When not to use it: for graded pairs (use a ranking loss), or with batches so small that a query has next to no
    negatives. Its value depends on the number of candidates: never compare it across batch sizes.
    """

    unit: ClassVar[bool] = True
    cacheable: ClassVar[bool] = True
    needs_negatives: ClassVar[bool] = True

    def __init__(
        self,
        temperature: float | Scheduled | Learnt = 0.05,
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
    def temperature(self) -> float | Scheduled:
        """The current temperature, which similarities are divided by; its schedule, where it has one."""
        return self.scale.setting

    @property
    def learnt(self) -> dict[str, float]:
        """What stands between cosines and logits, as it is (`abilities.HasLearnt`)."""
        return {"temperature": self.scale.temperature}

    def forward(self, queries: Tensor, keys: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss, a scalar."""
        return self.part(queries, keys, pairs, 0, 1)

    def part(self, queries: Tensor, keys: Tensor, pairs: Pairs, rank: int, world_size: int) -> Tensor:
        """Return one rank's part of the loss, a scalar. All ranks hold the whole batch; their parts add up to it."""
        precision = tile_precision(self.precision, keys)
        if self.precision == "auto" and (self.debiasing or self.false_negatives is not None):
            precision = "fp32"  # a difference of sums, or a limit, amplifies rounding
        with torch.autocast(queries.device.type, enabled=False):
            q, k = exact_vectors(queries, keys, pairs)
            relations = Relations.of(pairs).to(q.device)
            scale = self.scale.value(q.dtype)
            # NT-Xent: S is symmetric, both directions have the same loss, and half of the tiles is enough
            self_similarity = keys is queries and relations.query_share is None and relations.symmetric
            key_to_query = self.symmetric and not self_similarity
            bf16 = precision != "fp32" and q.dtype == torch.float32
            limit = SMALL if bf16 else self.tile  # rows up to which the matrix is held whole
            if world_size == 1 and self._is_plain() and max(pairs.shape) <= limit and relations.simple:
                check_negatives(relations)
                loss = cross_entropy(q, k, scale, relations, key_to_query=key_to_query, bf16=bf16)
                if loss is not None:
                    return loss
            # S = scale q k'; where q is k, each factor takes the root of the scale
            scaled_q = q * (scale**0.5 if self_similarity else scale)  # (n, d)
            matrix = SimilarityMatrix(
                scaled_q,
                scaled_q if self_similarity else k,
                relations,
                self.tile,
                precision,
                rank,
                world_size,
                key_to_query,
                self_similarity,
            )
            return self._loss(matrix, scale)

    def _loss(self, matrix: SimilarityMatrix, scale: Tensor | float) -> Tensor:
        """Return the loss of this rank's rows, a scalar."""
        anchor_weights = _anchor_weights(matrix)  # of all ranks' rows
        check_negatives(matrix.relations)
        if matrix.relations.compare_groups and self._is_plain():  # one sweep over all candidates is enough
            terms = matrix.positive_terms(matrix.positive_logits(), "both")
            losses = [term.logsumexp_above(term.mean) for term in terms]
        else:
            matrix, negatives, s = self._negatives_and_positives(matrix, scale)
            weights = self._decoupled_weights(matrix, s, anchor_weights, scale)
            terms = matrix.positive_terms(s, "positives")
            losses = [self._row_losses(*direction, scale) for direction in zip(terms, negatives, weights)]
        anchors = [weight[rows] for weight, rows in zip(anchor_weights, matrix.rank_rows)]
        totals = [torch.where(a > 0, loss, 0.0) @ a.to(loss.dtype) for a, loss in zip(anchors, losses)]
        return torch.stack(totals).mean()

    def _negatives_and_positives(
        self, matrix: SimilarityMatrix, scale: Tensor | float
    ) -> tuple[SimilarityMatrix, list[Tensor], Tensor]:
        """Return the matrix without false negatives, the log-sums of its negatives by direction, and the logits of its
        listed positives (e,)."""
        if self.false_negatives is None and not self.hardness and not self.debiasing:
            return matrix, *matrix.negative_sums_and_positives()
        s = matrix.positive_logits()  # (e,)
        if self.false_negatives is not None:
            matrix = matrix.without_false_negatives(s, self.false_negatives, self.relative, scale)
        return matrix, negative_log_sums(matrix, s, scale, self.hardness, self.debiasing), s

    def _is_plain(self) -> bool:
        """Return whether no setting changes the equation."""
        changed = self.margin or self.decoupled or self.hardness or self.debiasing
        return not changed and self.false_negatives is None and self.positives == "outside"

    def _decoupled_weights(
        self, matrix: SimilarityMatrix, s: Tensor, anchor_weights: list[Tensor], scale: Tensor | float
    ) -> list[Tensor | float]:
        """Return the weights of the positives' term (`decoupled`), (r,) by direction."""
        if self.decoupled != "weighted":
            return [1.0] * len(anchor_weights)
        with torch.no_grad():
            means = [mean / (scale * self.sigma) for mean in matrix.positive_means(s)]
            tops = [mean[a > 0].max() for a, mean in zip(anchor_weights, means)]
            exps = [torch.where(a > 0, (mean - top).exp(), 0.0) for a, mean, top in zip(anchor_weights, means, tops)]
            weights = [2 - exp / (exp @ a.to(exp.dtype)) for a, exp in zip(anchor_weights, exps)]
            return [weight[rows] for weight, rows in zip(weights, matrix.rank_rows)]

    def _row_losses(
        self, positives: PositiveTerms, negatives: Tensor, weight: Tensor | float, scale: Tensor | float
    ) -> Tensor:
        """Return the losses of some rows, (r,), which mean nothing where there is no positive.

        negatives: (r,) log-sums of the negatives; weight: (r,) of the positives' term.
        """
        attraction = positives.log_mean_exp if self.positives == "inside" else positives.mean
        shift = self.margin * scale
        if self.decoupled:
            repulsion = torch.where(torch.isneginf(negatives), 0.0, negatives)  # 0 where all negatives are ignored
            return repulsion - weight * (attraction - shift)
        # log(e^negatives + e^(logsumexp - shift)) - (attraction - shift), in a form whose gradient keeps its digits
        # where the positives dominate
        logsumexp = torch.where(torch.isneginf(positives.logsumexp), 0.0, positives.logsumexp)
        excess = torch.logaddexp(negatives - logsumexp + shift, torch.zeros_like(negatives))
        return excess + positives.logsumexp_above(attraction)


def _anchor_weights(matrix: SimilarityMatrix) -> list[Tensor]:
    """Return the weight of each row's loss, by direction, (n,) and (m,) float64, which add up to one.

    Queries count alike; key-to-query, distinct keys that have a positive do. Errors: `InputError` that names the
    queries without a positive.
    """
    found = [has_positive(relations) for relations in matrix.directions]
    check_positives(found[0])
    weights = [found[0].double() / len(found[0])]
    for has, relations in zip(found[1:], matrix.directions[1:]):
        weight = has.double() if relations.query_share is None else has * relations.query_share
        weights.append(weight / weight.sum())
    return weights
