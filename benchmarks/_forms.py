"""InfoNCE in forms: ours, the plain ones that hold the whole matrix, and torch's own lean one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

SCALE = 20.0
Compute = Callable[[Tensor, Tensor], Tensor]


def ours(n: int) -> Compute:
    from nearfar.losses.infonce import InfoNCE
    from nearfar.pairs import Pairs

    loss, pairs = InfoNCE(1.0 / SCALE), Pairs.aligned(n)
    return lambda q, k: loss(q, k, pairs)


def transposed(n: int) -> Compute:
    """Return the form that everyone writes."""
    t = torch.arange(n)

    def compute(q: Tensor, k: Tensor) -> Tensor:
        s = (q * SCALE) @ k.T  # (n, n)
        return (cross_entropy(s, t) + cross_entropy(s.T, t)) / 2

    return compute


def contiguous(n: int) -> Compute:
    """Return the same with the transposed matrix copied, so that the way back reads along memory."""
    t = torch.arange(n)

    def compute(q: Tensor, k: Tensor) -> Tensor:
        s = (q * SCALE) @ k.T  # (n, n)
        return (cross_entropy(s, t) + cross_entropy(s.T.contiguous(), t)) / 2

    return compute


def logsumexp(n: int) -> Compute:  # noqa: ARG001  the forms are called alike
    """Return the same without cross_entropy's intermediate: log-sum-exp over both sides, positives apart.

    In fp32 after the product: under autocast log-sum-exp stays in bf16, and its gradient is off by a seventh.
    """

    def compute(q: Tensor, k: Tensor) -> Tensor:
        z = q * SCALE
        s = (z @ k.T).float()  # (n, n)
        positive = (z * k).sum(1)  # (n,)
        return (s.logsumexp(1) + s.logsumexp(0)).mean() / 2 - positive.mean()

    return compute


def chunked(n: int) -> Compute:
    """Return torch's own form that never holds the matrix, in new releases: no rival in speed, but one in memory."""
    t, options = torch.arange(n), nn.LinearCrossEntropyOptions()

    def compute(q: Tensor, k: Tensor) -> Tensor:
        z, entropy = q * SCALE, nn.functional.linear_cross_entropy
        return (entropy(z, k, t, options=options) + entropy(k, z, t, options=options)) / 2

    return compute


NAIVE: dict[str, Callable[[int], Compute]] = {f.__name__: f for f in (transposed, contiguous, logsumexp)}
LEAN = {"chunked": chunked} if hasattr(nn.functional, "linear_cross_entropy") else {}
FORMS = {"ours": ours, **NAIVE, **LEAN}
