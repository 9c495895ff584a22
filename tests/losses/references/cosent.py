from __future__ import annotations

import torch
from torch import Tensor

from nearfar.compute.scheduled import value_at
from nearfar.errors import InputError
from nearfar.losses.cosent import CoSENT
from nearfar.pairs import Pairs
from tests.losses.batches import graded
from tests.losses.references import known, shares, total

VARIANTS = [{}, {"temperature": 0.7}]
BATCHES = graded()
GRADED = True
QUERIES_COUNT_ONCE = True


def reference(loss: CoSENT, q: Tensor, k: Tensor, pairs: Pairs) -> Tensor:
    grades = known(pairs)
    a, b = shares(pairs)
    s = q @ k.T / value_at(loss.temperature, 0, 1)  # (n, m)
    logs = [
        s[low] - s[high] + torch.tensor(a[low[0]] * b[low[1]] * a[high[0]] * b[high[1]], dtype=q.dtype).log()
        for low, lower in grades.items()
        for high, higher in grades.items()
        if higher > lower
    ]
    if not logs:
        raise InputError("nothing to order")
    top = max(0.0, max(float(log.detach()) for log in logs))  # the sum itself would overflow
    return top + torch.log(torch.exp(q.new_tensor(-top)) + total([torch.exp(log - top) for log in logs], q))
