"""Multinomial logistic regression with a penalty on the weights, by a preconditioned L-BFGS."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from torch import Tensor

from nearfar.contracts import Values

_ROWS = 8192  # that the curvature is taken from: it only speeds the search up, so a sample will do
_WIDEST = 8192  # dimensions; beyond, the curvature's square would be larger than what it saves
_LEAST = 1e-6  # of the diagonal, so that directions that never vary do not count as flat
_MEMORY = 20  # earlier steps that L-BFGS learns from
_ENOUGH = 1e-7  # the relative fall of the loss from which on it counts as its minimum


def logits(x: Tensor, weights: Tensor) -> Tensor:
    """Return the logits (n, c) of vectors (n, d) under weights (d + 1, c), whose last row is the bias."""
    return torch.addmm(weights[-1], x, weights[:-1])


def curvature(x: Tensor, c: int) -> Tensor | None:
    """Return the curvature (d, d) of the loss at equal probabilities, x^T x / (m c), of at most 8,192 rows of x (m, d).

    None above 8,192 dimensions. That of other probabilities is at most c / 2 of it (Böhning 1992, "Multinomial logistic
    regression algorithm"), so it conditions the search well whatever the classes are.
    """
    if x.shape[1] > _WIDEST:
        return None
    sample = x[:: max(1, -(-len(x) // _ROWS))]
    return sample.T @ sample / (len(sample) * c)


def fit_logistic(
    x: Tensor,
    y: Tensor,
    c: int,
    strength: float,
    iterations: int,
    start: Tensor | None = None,
    curved: Tensor | None = None,
) -> Tensor:
    """Return W, b as (d + 1, c), the minimum of mean_i -log softmax(W x_i + b)[y_i] + strength / 2 |W|^2.

    The search is over V with W = L^-T V, where L L^T is the curvature and the strength: there the loss is about as
    curved in all directions, and ten to fifty steps do what hundreds do without.

    Args:
        x: vectors (m, d), about centred. y: their classes (m,), 0 to c - 1.
        start: the weights to start from, by default zero. curved: `curvature` of vectors like these; None for none.
    """
    rows, shape = torch.arange(len(y), device=x.device), (c, x.shape[1] + 1)  # classes first: several times faster
    root = None if curved is None else _root(curved, strength)

    def outward(v: Tensor) -> Tensor:
        if root is None:
            return v
        return torch.cat([torch.linalg.solve_triangular(root, v[:, :-1], upper=False, left=False), v[:, -1:]], 1)

    def loss(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        weights = outward(torch.from_numpy(flat).to(x).view(shape))  # (c, d + 1)
        log_p = torch.addmm(weights[:, -1:], weights[:, :-1], x.T).log_softmax(0)  # (c, m)
        value = -float(log_p[y, rows].mean(dtype=torch.float64)) + strength / 2 * float(weights[:, :-1].square().sum())
        slope = log_p.exp_()
        slope[y, rows] -= 1
        down = slope @ x / len(y) + strength * weights[:, :-1]  # (c, d)
        if root is not None:
            down = torch.linalg.solve_triangular(root.T, down, upper=True, left=False)
        return value, _flat(torch.cat([down, slope.mean(1, keepdim=True)], 1))

    first = np.zeros(shape).ravel()
    if start is not None:
        first = _flat(start.T if root is None else torch.cat([start[:-1].T @ root, start[-1:].T], 1))
    options: Any = {"maxiter": iterations, "maxcor": _MEMORY, "ftol": _ENOUGH, "gtol": 1e-6}
    found: Any = minimize(loss, first, jac=True, method="L-BFGS-B", options=options)
    return outward(torch.from_numpy(found.x).to(x).view(shape)).T


def _root(curved: Tensor, strength: float) -> Tensor | None:
    """Return the lower triangle L of L L^T = the curvature and the strength; None where rounding leaves none."""
    raised = curved.clone()
    raised.diagonal().add_(strength + _LEAST)
    root, failed = torch.linalg.cholesky_ex(raised)
    return None if int(failed) else root


def _flat(weights: Tensor) -> Values:
    found: Values = weights.double().cpu().numpy().ravel()
    return found
