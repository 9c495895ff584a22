from __future__ import annotations

import torch
from torch import Tensor

from nearfar.errors import InputError
from nearfar.losses.barlow_twins import BarlowTwins
from nearfar.pairs import Pairs
from tests.losses.references import positives, shares

VARIANTS = [{}, {"redundancy": 1.0}]
QUERIES_COUNT_ONCE = True


def reference(loss: BarlowTwins, q: Tensor, k: Tensor, pairs: Pairs) -> Tensor:
    listed = positives(pairs)
    a, b = shares(pairs)
    if sum(a[i] * b[j] for i, j, _ in listed) < 1.999:
        raise InputError("one pair correlates with nothing")
    weight = torch.tensor([w for _, _, w in listed], dtype=q.dtype)
    x, y = torch.stack([q[i] for i, _, _ in listed]), torch.stack([k[j] for _, j, _ in listed])  # (e, d), pair by pair
    x, y = _standardised(x, weight), _standardised(y, weight)
    value = q.new_zeros(())
    for c in range(q.shape[1]):
        for e in range(q.shape[1]):
            correlation = (weight * x[:, c] * y[:, e]).sum()
            value = value + ((1 - correlation) ** 2 if c == e else loss.redundancy * correlation**2)
    return value


def _standardised(x: Tensor, weight: Tensor) -> Tensor:
    mean = (weight[:, None] * x).sum(0)
    variance = (weight[:, None] * (x - mean) ** 2).sum(0)
    return (x - mean) / (variance + 1e-5).sqrt()
