from __future__ import annotations

import torch
from torch import Tensor

from nearfar.compute.scheduled import value_at
from nearfar.errors import InputError
from nearfar.losses.distill import Distill
from nearfar.pairs import Pairs
from tests.losses.batches import graded
from tests.losses.references import known, shares, total

VARIANTS = [
    {},
    {"temperature": 0.8, "teacher_temperature": 2.0},
    {"form": "margin_mse", "temperature": 0.5, "teacher_temperature": 3.0},
]
BATCHES = graded()
GRADED = True
QUERIES_COUNT_ONCE = True


def reference(loss: Distill, q: Tensor, k: Tensor, pairs: Pairs) -> Tensor:
    scores = known(pairs)
    a, b = shares(pairs)
    lists = {i: [j for row, j in scores if row == i] for i in sorted({i for i, _ in scores})}
    if loss.form == "kl" and all(sum(b[j] for j in keys) < 1.001 for keys in lists.values()):
        raise InputError("nothing to compare")
    terms = []
    for i, keys in lists.items():
        share = torch.tensor([b[j] for j in keys], dtype=q.dtype)
        s = torch.stack([q[i] @ k[j] for j in keys]) / value_at(loss.temperature, 0, 1)
        t = torch.tensor([scores[i, j] for j in keys], dtype=q.dtype) / value_at(loss.teacher_temperature, 0, 1)
        positive = [bool(pairs.query_group[i] == pairs.key_group[j]) for j in keys]
        terms.append(a[i] * (_divergence(s, t, share) if loss.form == "kl" else _margins(s, t, share, positive)))
    return total(terms, q) / sum(a[i] for i in lists)


def _divergence(s: Tensor, t: Tensor, share: Tensor) -> Tensor:
    """The sum over distinct keys: a copy has its part of a key's probability."""
    log_p, log_r = t + share.log(), s + share.log()
    log_p, log_r = log_p - torch.logsumexp(log_p, 0), log_r - torch.logsumexp(log_r, 0)
    return (log_p.exp() * (log_p - log_r)).sum()


def _margins(s: Tensor, t: Tensor, share: Tensor, positive: list[bool]) -> Tensor:
    value, count = s.new_zeros(()), 0.0
    for x in range(len(positive)):
        for y in range(len(positive)):
            if positive[x] and not positive[y]:
                value = value + share[x] * share[y] * ((s[x] - s[y]) - (t[x] - t[y])) ** 2
                count += float(share[x] * share[y])
    if count == 0:
        raise InputError("no positive, or nothing else")
    return value / count
