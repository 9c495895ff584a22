"""The cross-entropy of tokens, without the logits of all of them at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear
from torch.utils.checkpoint import checkpoint

LOGITS = 1 << 22  # computed at once: 16 MB of fp32


def summed_token_loss(states: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return the sum of -log softmax(x W' + b)[target] over n tokens, a scalar in at least float32.

    states (n, d), weight (v, d), bias (v,), targets (n,). Logits are computed for a block of tokens at a time, and
    again in the backward pass, so that (n, v) never exists where it is large.
    """
    rows = max(1, LOGITS // len(weight))
    if len(states) <= rows:
        return _block(states, weight, targets, bias)
    sums = [
        checkpoint(_block, states[i : i + rows], weight, targets[i : i + rows], bias, use_reentrant=False)
        for i in range(0, len(states), rows)
    ]
    return torch.stack([one for one in sums if one is not None]).sum()


def _block(states: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None) -> Tensor:
    logits = linear(states, weight, bias)
    return cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), targets, reduction="sum")
