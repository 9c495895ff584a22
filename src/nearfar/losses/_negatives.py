"""The negatives' side of a softmax loss: their sum as it is, by hardness, or debiased."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nearfar.losses._matrix import Matrix
from nearfar.losses._near import Near


def negatives(matrix: Matrix, s: Tensor, scale: Tensor | float, beta: float, chance: float) -> list[Tensor]:
    """Return the logarithm of what the negatives weigh, each way; minus infinity where there is none.

    s: (e,) similarities of the listed positives.

    With N negatives, beta the hardness and tau+ the chance that one is a positive in truth:

        R = N sum e^{(1 + beta) s_ij} / sum e^{beta s_ij}
        G = max( (R - N tau+ mean_near e^{s_ij}) / (1 - tau+), N e^{-1/tau} )

    (Robinson et al. 2021, arXiv:2010.04592, with the sampling weights of its code; Chuang et al. 2020,
    arXiv:2007.00224, equation 8.)
    """
    if not beta and not chance:
        return matrix.log_sums("far")
    number = [count.log() for count in matrix.counts()]
    sums = matrix.log_sums("far", 1 + beta)
    if beta:
        sums = [_harder(*way) for way in zip(sums, matrix.log_sums("far", beta), number)]
    if not chance:
        return sums
    return [_debiased(*way, scale, chance) for way in zip(sums, matrix.nears(s, "near"), number)]


def _harder(sums: Tensor, weights: Tensor, number: Tensor) -> Tensor:
    some = ~torch.isneginf(number)
    return torch.where(some, torch.where(some, sums, 0.0) - torch.where(some, weights, 0.0) + number, -torch.inf)


def _debiased(sums: Tensor, near: Near, number: Tensor, scale: Tensor | float, chance: float) -> Tensor:
    some = ~torch.isneginf(number)
    hidden = torch.where(some, number, 0.0) + math.log(chance) + near.inside  # positives among the negatives
    above = torch.where(some, sums, 0.0) - hidden
    left = above > 0
    rest = hidden + torch.expm1(torch.where(left, above, 1.0)).log() - math.log1p(-chance)
    least = number - scale  # no similarity is below -1
    return torch.where(some & left, torch.maximum(rest, least), least)
