"""Cross-entropy over a vocabulary that never holds all logits: the positive is the token, the keys are the embeddings.

With states h (n, d), embeddings E (v, d), biases b (v,) and targets t (n,), S = h E' + b and the loss of row i is

    -log softmax(S_i)[t_i] = log(1 + r_i / e_i),    r_i = sum_{j != t_i} exp(S_ij),    e_i = exp(S_i,t_i).

Rows are taken in tiles whose exponentials over the whole vocabulary are held, block by block. So the forward pass has
all that the gradient needs, and computes it, too (as Liger does, Hsu et al. 2024, arXiv:2410.10989): three products of
(n, d) and (v, d), as many as without tiles, where a backward pass that recomputes S takes four. A row is never
normalised: with u_i = 1 / (r_i + e_i), the gradient of h_i is u_i sum_{j != t_i} exp(S_ij) E_j - r_i u_i E_{t_i}, and
that of E_j sums exp(S_ij) (u_i h_i), so that the factors go to vectors instead of to the tile.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nearfar.errors import InputError
from nearfar.losses.tiled.checks import about_rows, tile_precision
from nearfar.losses.tiled.tiles import Tile, accumulate_gradients
from nearfar.losses.tiled.vocabulary_tiles import OutputLayer, RowTile


def token_cross_entropy(states: Tensor, embeddings: Tensor, targets: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return the summed cross-entropy of tokens, a scalar in fp32, in float64 for float64 states.

    states: (n, d); n may be 0. embeddings: (v, d) of the output layer; bias: (v,) or None. targets: (n,) token ids.
    Products are in bf16, summed in fp32, where the states are bf16 or bf16 autocast is on; the targets' logits are
    exact. States that are not finite give a loss that is not, which the training step refuses with the batch's rows.

    Errors: `InputError`: shapes that do not fit; a target that is no token, by row.
    """
    return _summed(states, embeddings, targets, bias, count_hits=False)[0]


def token_cross_entropy_and_hits(
    states: Tensor, embeddings: Tensor, targets: Tensor, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return `token_cross_entropy` and the number of hits, int64: rows whose target's logit is above all others.

    A tie is no hit, so that a layer whose logits are all equal hits nothing.
    """
    return _summed(states, embeddings, targets, bias, count_hits=True)


def _summed(
    states: Tensor, embeddings: Tensor, targets: Tensor, bias: Tensor | None, *, count_hits: bool
) -> tuple[Tensor, Tensor]:
    """Return the loss, and the number of hits if they are to be counted."""
    _check(states, embeddings, targets, bias)
    dtype = _product_type(states, embeddings)  # before autocast is off
    with torch.autocast(states.device.type, enabled=False):
        total, hits = _TokenCrossEntropy.apply(states, embeddings, bias, targets, dtype, count_hits)
    return total, hits


@torch.no_grad()
def token_log_probabilities(
    states: Tensor, embeddings: Tensor, targets: Tensor, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the log-probability of each target (n,), in fp32 or float64, and whether it is a hit (n,); no gradient.

    Arguments as `token_cross_entropy`. Errors: `InputError`, too, for rows whose states are not finite.
    """
    _check(states, embeddings, targets, bias)
    layer = OutputLayer.of(states, embeddings, bias, _product_type(states, embeddings))
    losses, hits = states.new_empty(len(states), dtype=layer.exact), targets.new_empty(len(states), dtype=torch.bool)
    with torch.autocast(states.device.type, enabled=False):
        for rows, tile in layer.row_tiles(states, targets, count_hits=True):
            losses[rows], hits[rows] = tile.losses, tile.hits
    if not bool(losses.isfinite().all()):
        raise about_rows((~losses.isfinite()).nonzero()[:, 0], "states that give no finite log-probability")
    return -losses, hits


class _TokenCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        embeddings: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        dtype: torch.dtype,
        count_hits: bool,
    ) -> tuple[Tensor, Tensor]:
        layer = OutputLayer.of(states, embeddings, bias, dtype)
        total, hits = states.new_zeros((), dtype=torch.float64), targets.new_zeros(())
        grads = None
        if any(ctx.needs_input_grad):
            grads = tuple(torch.zeros_like(x, dtype=layer.exact) for x in (states, embeddings))
            grad_bias = None if bias is None else torch.zeros_like(bias, dtype=layer.exact)
        for rows, tile in layer.row_tiles(states, targets, count_hits=count_hits):
            total += tile.losses.sum(dtype=torch.float64)
            hits += tile.hits.sum() if count_hits else 0
            if grads is not None:
                _add_gradients(layer, tile, states[rows], targets[rows], grads[0][rows], grads[1], grad_bias)
        if grads is not None:
            ctx.save_for_backward(grads[0].to(states.dtype), grads[1].to(embeddings.dtype), grad_bias)
        ctx.mark_non_differentiable(hits)
        return total.to(layer.exact), hits

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph: the saved gradients would count as constants
            raise RuntimeError("this loss has no second derivative; leave create_graph out")
        saved: tuple[Tensor | None, ...] = ctx.saved_tensors
        return *(None if grad is None else grads[0].to(grad.dtype) * grad for grad in saved), None, None, None


def _add_gradients(
    layer: OutputLayer,
    tile: RowTile,
    h: Tensor,
    targets: Tensor,
    grad_h: Tensor,
    grad_embeddings: Tensor,
    grad_bias: Tensor | None,
) -> None:
    """Add the gradients of a tile of rows h (r, d) in place: of the rows (r, d), of the layer (v, d) and (v,)."""
    u = 1.0 / (tile.others + tile.positive)  # (r,)
    pull = -tile.others * u  # (r,) the gradient of the target's logit
    exact_h = h.to(layer.exact)
    scaled = (exact_h * u[:, None]).to(layer.embeddings.dtype)  # (r, d)
    weight = u.to(layer.embeddings.dtype)
    for columns, block in tile.blocks:
        every_row = Tile(slice(None), columns, block, None, None)
        accumulate_gradients(grad_h, grad_embeddings, block, scaled, layer.embeddings, every_row)
        if grad_bias is not None:
            grad_bias[columns] += weight @ block
    grad_h.mul_(u[:, None]).addcmul_(pull[:, None], layer.given[0][targets].to(layer.exact))
    grad_embeddings.index_add_(0, targets, pull[:, None] * exact_h)
    if grad_bias is not None:
        grad_bias.index_add_(0, targets, pull)


def _product_type(states: Tensor, embeddings: Tensor) -> torch.dtype:
    """Return the type of the products: bf16 under autocast and for bf16 states, else the wider one, fp32 at least."""
    wider = torch.promote_types(torch.promote_types(states.dtype, embeddings.dtype), torch.float32)
    bf16 = tile_precision("auto", states) != "fp32" and wider == torch.float32
    return torch.bfloat16 if bf16 else wider


def _check(states: Tensor, embeddings: Tensor, targets: Tensor, bias: Tensor | None) -> None:
    """Raise `InputError` for shapes that do not fit, and for targets that are no tokens."""
    name, v = "token cross-entropy", len(embeddings)
    fits = states.ndim == 2 and embeddings.ndim == 2 and states.shape[1] == embeddings.shape[1] and v > 0
    if not fits or targets.shape != states.shape[:1] or (bias is not None and bias.shape != (v,)):
        given = {"states": states, "embeddings": embeddings, "targets": targets, "bias": bias}
        shown = ", ".join(f"{what} {tuple(x.shape)}" for what, x in given.items() if x is not None)
        raise InputError(f"{name}: states (n, d) need embeddings (v, d), targets (n,) and bias (v,); given are {shown}")
    if not states.is_floating_point() or not embeddings.is_floating_point() or targets.is_floating_point():
        raise InputError(
            f"{name}: states and embeddings are floats and targets whole numbers; given are {states.dtype}, "
            f"{embeddings.dtype} and {targets.dtype}"
        )
    if len(targets) and not (int(targets.amin()) >= 0 and int(targets.amax()) < v):
        wrong = ((targets < 0) | (targets >= v)).nonzero()[:, 0]
        first = int(targets[wrong[0]])
        raise about_rows(wrong, f"{name}: targets that are no token (the first is {first}; tokens are 0 to {v - 1})")
