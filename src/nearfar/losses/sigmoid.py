"""Sigmoid: every pair of the batch is a yes or a no of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import logsigmoid

from nearfar.losses.tiled.checks import (
    Scale,
    check_choice,
    check_negatives,
    check_positives,
    check_setting,
    exact_vectors,
)
from nearfar.losses.tiled.gathered_products import listed_products
from nearfar.losses.tiled.matrix import SimilarityMatrix
from nearfar.losses.tiled.positive_terms import has_positive
from nearfar.losses.tiled.relations import Relations
from nearfar.losses.tiled.tiles import PRECISIONS, PairLists, Sweep, SweepPlan, Tile, add_products, tile_precision
from nearfar.pairs import Pairs

SIDES: tuple[tuple[PairLists, float], ...] = (("far", 1.0), ("near", -1.0))


class Sigmoid(nn.Module):
    """Ask of each query and key by itself whether they belong together: SigLIP's loss, without a softmax.

        L = - 1/|B| sum_{i,j} b_i a_j w_ij log sigmoid( y_ij (q_i . k_j / temperature + bias) ),   y = 1 near, -1 far

    over the candidates of the batch, with |B| its number of distinct queries, a_j and b_i one over a row's number of
    copies, w_ij a positive's weight (1 for negatives). Source: Zhai et al. 2023, arXiv:2303.15343, algorithm 1.
    One sweep over tiles gives the value and the gradient.

    Args:
        temperature: what similarity is divided by at first; the paper begins at 0.1, a log-scale of log 10.
        bias: at first; -10 in the paper: most pairs are far.
        learnable: train the log of the scale (kept within 1 to 100) and the bias.
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
        temperature: float = 0.1,
        bias: float = -10.0,
        learnable: bool = True,
        precision: Literal["auto", "bf16", "fp32"] = "auto",
        tile: int = 1024,
    ) -> None:
        super().__init__()
        check_setting("sigmoid.bias", bias)
        check_setting("sigmoid.tile", tile, least=1)
        check_choice("sigmoid.precision", precision, PRECISIONS)
        self.scale = Scale("sigmoid.temperature", temperature, learnable)
        self.bias = nn.Parameter(torch.tensor(float(bias)), requires_grad=learnable)
        self.learnable, self.precision, self.tile = learnable, precision, tile

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
        with torch.autocast(queries.device.type, enabled=False):
            q, k = exact_vectors(queries, keys, pairs)
            relations = Relations.of(pairs).to(q.device)
            z, bias = q * self.scale.value(q.dtype), self.bias.to(q.dtype)  # (n, d), ()
            matrix = SimilarityMatrix(z, k, relations, self.tile, precision, rank, world_size)
            check_positives(has_positive(relations))
            check_negatives(relations)
            total = _listed(matrix, bias)
            for side, sign in SIDES:
                for left, right, plan in matrix.sweeps(side):
                    total = total + _SoftPlus.apply(left, right, bias, replace(plan, direct=False), sign)
            share = relations.query_share
            return total / (len(queries) if share is None else share.sum().to(total.dtype))


def _listed(matrix: SimilarityMatrix, bias: Tensor) -> Tensor:
    """Return the sum over the listed positives of this rank's queries, a scalar."""
    relations, part = matrix.relations, matrix.shares[0]
    mine = (relations.near[0] >= part.start) & (relations.near[0] < part.stop)
    i, j = (entries[mine] for entries in relations.near)
    weight = relations.near_weight[mine].to(bias.dtype)
    for share, rows in ((relations.query_share, i), (relations.key_share, j)):
        weight = weight if share is None else weight * share[rows].to(weight.dtype)
    return -(weight @ logsigmoid(listed_products(matrix.z, matrix.k, i, j) + bias))


class _SoftPlus(torch.autograd.Function):
    """sum_ij b_i a_j log(1 + e^{sign (S_ij + bias)}): the gradient falls out of the same sweep as the value."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, k: Tensor, bias: Tensor, plan: SweepPlan, sign: float) -> Tensor:
        sweep = Sweep(z.detach(), k.detach(), plan)
        slopes = bias.new_zeros(z.shape), bias.new_zeros(k.shape), bias.new_zeros(())
        total = bias.new_zeros(())
        for tile in sweep.tiles():
            logits = sign * (tile.s.to(sweep.exact) + bias)  # (r, c)
            if sign < 0:
                logits.masked_fill_(torch.isneginf(tile.s), -torch.inf)
            total -= _weighed(logsigmoid(-logits), sweep, tile).sum()  # softplus rounds to a line from 20 on
            if not any(ctx.needs_input_grad):
                continue
            ds = _weighed(logits.sigmoid_(), sweep, tile).mul_(sign)
            slopes[2].add_(ds.sum())
            add_products(slopes[0], slopes[1], ds.to(sweep.z.dtype), sweep.z, sweep.k, tile)
        ctx.save_for_backward(*slopes)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return *(grads[0] * slope for slope in ctx.saved_tensors), None, None


def _weighed(values: Tensor, sweep: Sweep, tile: Tile) -> Tensor:
    values = values if sweep.a is None else values.mul_(sweep.a[tile.columns])
    return values if sweep.b is None else values.mul_(sweep.b[tile.rows][:, None])
