"""Sigmoid: every pair of a query and a key is a binary classification."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import logsigmoid

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
from nearfar.losses.tiled.gathered_products import listed_products
from nearfar.losses.tiled.matrix import SimilarityMatrix
from nearfar.losses.tiled.positive_terms import has_positive
from nearfar.losses.tiled.relations import Relations
from nearfar.losses.tiled.scale import Scale, not_filled_in
from nearfar.losses.tiled.tiles import (
    Candidates,
    Sweep,
    SweepPlan,
    Tile,
    accumulate_gradients,
)
from nearfar.pairs import Pairs

SIGNS: tuple[tuple[Candidates, float], ...] = (("negatives", 1.0), ("positives", -1.0))  # -y of the equation


class Sigmoid(nn.Module):
    """Classify each pair of a query and a key as positive or negative, without a softmax: SigLIP's loss.

        L = - 1/|B| sum_{i,j} b_i a_j w_ij log sigmoid( y_ij (q_i . k_j / temperature + bias) )

    over the positives (y = 1) and negatives (y = -1) of the batch, with |B| its number of distinct queries, a_j and b_i
    one over a row's number of copies, w_ij a positive's weight (1 for negatives). Source: Zhai et al. 2023,
    arXiv:2303.15343, algorithm 1. One sweep over tiles gives the value and the gradient.

    Args:
        temperature: what similarities are divided by, > 0; the initial value: 0.1 in the paper, a log-scale of log 10.
        bias: the initial value; -10 in the paper, because most pairs are negatives. In a recipe, learnt is that of the
            SigLIP folder that the encoder begins from, and so it is of temperature.
        learnable: train the log of the scale (kept within 1 to 100, or where it began) and the bias.
        precision: of the tiles' products, as in InfoNCE; listed positives are in fp32 always.
        tile: side of a tile.

    Call: queries (n, d), keys (m, d), pairs -> scalar. Errors: `InputError` that names the rows: a query without a
    positive; a batch without a negative.

    Example:
        >>> import torch, nearfar as nf
        >>> q = torch.nn.functional.normalize(torch.randn(8, 4), dim=1)
        >>> loss = nf.losses.Sigmoid()(q, q, nf.Pairs.aligned(8))

    When not to use it: for small batches of text, where a softmax learns from the hardest negatives sooner.
    """

    unit: ClassVar[bool] = True
    cacheable: ClassVar[bool] = True
    needs_negatives: ClassVar[bool] = True

    def __init__(
        self,
        temperature: float | Scheduled | Learnt = 0.1,
        bias: float | Learnt = -10.0,
        learnable: bool = True,
        precision: Literal["auto", "bf16", "fp32"] = "auto",
        tile: int = 1024,
    ) -> None:
        super().__init__()
        if isinstance(bias, str):
            raise not_filled_in("sigmoid.bias")
        check_setting("sigmoid.bias", bias)
        check_setting("sigmoid.tile", tile, least=1)
        check_choice("sigmoid.precision", precision, PRECISIONS)
        self.scale = Scale("sigmoid.temperature", temperature, learnable)
        self.bias = nn.Parameter(torch.tensor(float(bias)), requires_grad=learnable)
        self.learnable, self.precision, self.tile = learnable, precision, tile

    @property
    def temperature(self) -> float | Scheduled:
        """The current temperature, which similarities are divided by; its schedule, where it has one."""
        return self.scale.setting

    @property
    def learnt(self) -> dict[str, float]:
        """What stands between cosines and logits, as it is (`abilities.HasLearnt`)."""
        return {"temperature": self.scale.temperature, "bias": self.bias.item()}

    def forward(self, queries: Tensor, keys: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss, a scalar."""
        return self.part(queries, keys, pairs, 0, 1)

    def part(self, queries: Tensor, keys: Tensor, pairs: Pairs, rank: int, world_size: int) -> Tensor:
        """Return one rank's part of the loss, a scalar. All ranks hold the whole batch; their parts add up to it."""
        precision = tile_precision(self.precision, keys)
        with torch.autocast(queries.device.type, enabled=False):
            q, k = exact_vectors(queries, keys, pairs)
            relations = Relations.of(pairs).to(q.device)
            scaled_q, bias = q * self.scale.value(q.dtype), self.bias.to(q.dtype)  # (n, d), ()
            matrix = SimilarityMatrix(scaled_q, k, relations, self.tile, precision, rank, world_size)
            check_positives(has_positive(relations))
            check_negatives(relations)
            total = _listed_positives(matrix, bias)
            for candidates, sign in SIGNS:
                for left, right, plan in matrix.sweeps(candidates):
                    total = total + _SoftPlus.apply(left, right, bias, replace(plan, unshifted=False), sign)
            share = relations.query_share
            return total / (len(queries) if share is None else share.sum().to(total.dtype))


def _listed_positives(matrix: SimilarityMatrix, bias: Tensor) -> Tensor:
    """Return the sum over the listed positives of this rank's queries, a scalar."""
    relations, rows = matrix.relations, matrix.rank_rows[0]
    in_rank = (relations.positives[0] >= rows.start) & (relations.positives[0] < rows.stop)
    i, j = (entries[in_rank] for entries in relations.positives)
    weight = relations.positive_weight[in_rank].to(bias.dtype)
    for share, row in ((relations.query_share, i), (relations.key_share, j)):
        weight = weight if share is None else weight * share[row].to(weight.dtype)
    return -(weight @ logsigmoid(listed_products(matrix.q, matrix.k, i, j) + bias))


class _SoftPlus(torch.autograd.Function):
    """sum_ij b_i a_j log(1 + e^{sign (S_ij + bias)}) over the tiles; the sweep for the value computes the gradients."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, bias: Tensor, plan: SweepPlan, sign: float) -> Tensor:
        sweep = Sweep(q.detach(), k.detach(), plan)
        grad_q, grad_k, grad_bias = bias.new_zeros(q.shape), bias.new_zeros(k.shape), bias.new_zeros(())
        total = bias.new_zeros(())
        for tile in sweep.tiles():
            logits = sign * (tile.s.to(sweep.exact) + bias)  # (r, c)
            if sign < 0:
                logits.masked_fill_(torch.isneginf(tile.s), -torch.inf)
            total -= _weighted(logsigmoid(-logits), sweep, tile).sum()  # torch's softplus is linear from 20 on
            if not any(ctx.needs_input_grad):
                continue
            ds = _weighted(logits.sigmoid_(), sweep, tile).mul_(sign)
            grad_bias.add_(ds.sum())
            accumulate_gradients(grad_q, grad_k, ds.to(sweep.q.dtype), sweep.q, sweep.k, tile)
        ctx.save_for_backward(grad_q, grad_k, grad_bias)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return *(grads[0] * gradient for gradient in ctx.saved_tensors), None, None


def _weighted(values: Tensor, sweep: Sweep, tile: Tile) -> Tensor:
    """Multiply a tile's values (r, c) by the shares of its keys and queries, in place."""
    values = values if sweep.a is None else values.mul_(sweep.a[tile.columns])
    return values if sweep.b is None else values.mul_(sweep.b[tile.rows][:, None])
