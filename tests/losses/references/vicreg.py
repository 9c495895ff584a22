from __future__ import annotations

import torch
from torch import Tensor

from nearfar.errors import InputError
from nearfar.losses.vicreg import VICReg
from nearfar.pairs import Pairs
from tests.losses.references import positives, shares, total

VARIANTS = [{}, {"invariance": 1.0, "variance": 0.5, "covariance": 2.0}]
QUERIES_COUNT_ONCE = True


def reference(loss: VICReg, q: Tensor, k: Tensor, pairs: Pairs) -> Tensor:
    invariance = total([w * ((q[i] - k[j]) ** 2).mean() for i, j, w in positives(pairs)], q)
    variance, off_diagonal = q.new_zeros(()), q.new_zeros(())
    for x, share in zip((q, k), shares(pairs), strict=True):
        d, count = x.shape[1], sum(share)  # of distinct rows
        if count < 1.5:
            raise InputError("no variance")
        mean = _mean(x, share)
        for a in range(d):
            for b in range(d):
                products = [s * (row[a] - mean[a]) * (row[b] - mean[b]) for s, row in zip(share, x, strict=True)]
                covariance = total(products, x) / (count - 1)
                if a == b:
                    variance = variance + torch.relu(1 - (covariance + 1e-4).sqrt()) / d / 2  # mean of both sides
                else:
                    off_diagonal = off_diagonal + covariance**2 / d
    return loss.invariance * invariance + loss.variance * variance + loss.covariance * off_diagonal


def _mean(x: Tensor, share: list[float]) -> Tensor:
    return torch.stack([s * row for s, row in zip(share, x, strict=True)]).sum(0) / sum(share)
