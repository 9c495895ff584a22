"""Alignment, uniformity, effective rank and mean random cosine of vectors, with gradients."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from nearfar.errors import InputError

LONGEST = 1e18  # inner products of longer float32 vectors may overflow


def check_vectors(x: Tensor, name: str = "vectors", least: int = 1, first: int = 0) -> Tensor:
    """Return x (n, d) in float32 or float64 (half precision is widened), after checks.

    name: of x, for errors. least: the number of rows needed. first: the number of x's first row, for errors, where x is
    a block of a larger matrix.

    Errors: `InputError`: another shape or type; too few rows; rows with NaN, infinity, or a norm of 1e18 and more, by
    number.
    """
    if x.ndim != 2 or x.shape[1] == 0 or not x.is_floating_point():
        raise InputError(f"{name} must be (n, d) floats, they are {tuple(x.shape)} {x.dtype}")
    if len(x) < least:
        raise InputError(f"{name}: {least} rows are needed, there are {len(x)}")
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    # Not (norm >= LONGEST): a comparison with NaN is false, so this catches all three.
    _name_rows(~(torch.linalg.vector_norm(x.detach(), dim=1) < LONGEST), name, "NaN, infinite or far too long", first)
    return x


def alignment(x: Tensor, y: Tensor, alpha: float = 2.0) -> Tensor:
    """Return how far apart positive pairs are: mean_i |x_i - y_i|^alpha. 0 is best; on the unit sphere at most 2^alpha.

    Source: Wang & Isola 2020, arXiv:2005.10242, equation 3. Row i of x (n, d) and of y (n, d) are a positive pair.

    Errors: `InputError`: shapes that differ, broken rows, alpha <= 0.

    When not to use it alone: a space that has collapsed to one point has the best alignment of all.
    """
    x, y = check_vectors(x, "x"), check_vectors(y, "y")
    if x.shape != y.shape:
        raise InputError(f"x and y must be of one shape, they are {tuple(x.shape)} and {tuple(y.shape)}")
    if not 0 < alpha < math.inf:
        raise InputError(f"alpha must be positive and finite, it is {alpha}; 2 is usual")
    if alpha == 2:
        return (x - y).square().sum(1).mean()  # no root: its gradient is infinite where a pair coincides
    distance: Tensor = torch.linalg.vector_norm(x - y, dim=1)  # (n,)
    return distance.pow(alpha).mean()


def uniformity(x: Tensor, t: float = 2.0, block: int = 1024) -> Tensor:
    """Return how evenly vectors fill the sphere: log mean_{i<j} exp(-t |x_i - x_j|^2). Lower is better, 0 is collapse.

    Source: Wang & Isola 2020, arXiv:2005.10242, equation 5. x is (n, d), n >= 2. Memory is that of a few blocks of
    block x block, also for the gradient, which recomputes the blocks. On the unit sphere the value lies in
    (-4t, 0]; for random vectors of a large dimension it is near -2t. It depends on d: compare at one dimension.

    Errors: `InputError`: fewer than two rows, broken rows, t <= 0.
    """
    x = check_vectors(x, "x", least=2)
    if not 0 < t < math.inf:
        raise InputError(f"t must be positive and finite, it is {t}; 2 is usual")
    n = len(x)
    x = x - x.detach().mean(0)  # keeps distances, and reduces cancellation in |x|^2 + |y|^2 - 2 x.y
    recompute = n > block and torch.is_grad_enabled() and x.requires_grad
    parts = []
    for i in range(0, n, block):
        for j in range(i, n, block):
            a, b = x[i : i + block], x[j : j + block]
            if i == j and len(a) == 1:
                continue  # a single row has no pair here; the gradient of log 0 would be NaN
            if recompute:
                part = checkpoint(_log_sum_pairs, a, b, t, i == j, use_reentrant=False, preserve_rng_state=False)
            else:
                part = _log_sum_pairs(a, b, t, i == j)
            parts.append(part)
    return torch.logsumexp(torch.stack(parts), 0) - math.log(n * (n - 1) / 2)


def effective_rank(x: Tensor) -> Tensor:
    """Return how many dimensions the vectors (n, d) use, RankMe: exp(-sum_k p_k log p_k), 1 is collapse to a line.

    p_k = sigma_k / sum_j sigma_j + 1e-7 over the min(n, d) singular values of x, not centred. Source: Garrido et al.
    2023, arXiv:2210.02885, equations 1 and 2. It cannot exceed n: use several times d rows, and compare at one n.
    Without a gradient they come from the inner products in float64, in half the time.

    Errors: `InputError`: broken rows; all vectors zero.
    """
    x = check_vectors(x, "x")
    if torch.is_grad_enabled() and x.requires_grad:
        sigma = torch.linalg.svdvals(x)  # (min(n, d),)
    else:
        y = x.double() if len(x) >= x.shape[1] else x.double().T
        sigma = torch.linalg.eigvalsh(y.T @ y).clamp(min=0).sqrt().to(x.dtype)
    if not bool(sigma.detach().any()):
        raise InputError("x: all vectors are zero, which have no rank")
    p = sigma / sigma.sum() + 1e-7
    return torch.exp(-(p * p.log()).sum())


def random_cosine(x: Tensor) -> Tensor:
    """Return the mean cosine of distinct rows of x (n, d), n >= 2: 0 for a space without a preferred direction.

    In closed form from the sum of the unit vectors u: (|sum_i u_i|^2 - n) / (n (n - 1)), so all pairs count at the
    cost of one sum. Near 1: a narrow cone (Ethayarajh 2019, arXiv:1909.00512, section 4.1, calls it anisotropy).

    Errors: `InputError`: fewer than two rows, broken rows, rows of zero length, which have no direction.
    """
    x = check_vectors(x, "x", least=2)
    norms = torch.linalg.vector_norm(x, dim=1, keepdim=True)  # (n, 1)
    _name_rows(norms.detach()[:, 0] == 0, "x", "zero, so without a direction")
    u, n = x / norms, len(x)
    total = u.sum(0)  # (d,)
    mean: Tensor = (total @ total - u.square().sum()) / (n * (n - 1))
    return mean


def _log_sum_pairs(a: Tensor, b: Tensor, t: float, same: bool) -> Tensor:
    """Return log sum exp(-t |a_i - b_j|^2), a scalar; where a and b are the same block, over i < j."""
    with torch.autocast(a.device.type, enabled=False):  # bf16 products are too coarse for small distances
        squared = a.square().sum(1, keepdim=True) + b.square().sum(1) - 2 * a @ b.T  # (n, m)
    exponent = -t * squared
    if same:
        lower = torch.ones_like(exponent, dtype=torch.bool).tril()
        exponent = exponent.masked_fill(lower, -math.inf)
    return torch.logsumexp(exponent.flatten(), 0)


def _name_rows(broken: Tensor, name: str, what: str, first: int = 0) -> None:
    """Raise `InputError` with the numbers of the broken rows, (n,) bool, if there are any."""
    if bool(broken.any()):
        rows = broken.nonzero()[:, 0] + first
        shown = ", ".join(str(int(row)) for row in rows[:10]) + (", ..." if len(rows) > 10 else "")
        raise InputError(f"{name}: {len(rows)} of {len(broken)} rows are {what} (row {shown})")
