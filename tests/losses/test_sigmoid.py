"""The sigmoid loss as SigLIP's paper begins it: a log-scale of log 10 and a bias of -10."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import logsigmoid, normalize

import nearfar as nf


def test_it_begins_at_log_10_and_minus_10() -> None:
    loss = nf.losses.Sigmoid()
    parameters = {name: value.item() for name, value in loss.named_parameters() if value.requires_grad}
    assert parameters == {"bias": -10.0, "scale.log": pytest.approx(math.log(10), abs=1e-6)}
    assert loss.learnt == {"temperature": pytest.approx(0.1, abs=1e-7), "bias": -10.0}


def test_its_first_value_is_that_of_the_paper() -> None:
    """Algorithm 1 of arXiv:2303.15343, with the sign of each label."""
    draw = torch.Generator().manual_seed(0)
    q, k = (normalize(torch.randn(8, 4, generator=draw, dtype=torch.float64), dim=1) for _ in range(2))
    logits = q @ k.T * math.exp(math.log(10)) - 10
    labels = 2 * torch.eye(8, dtype=torch.float64) - 1
    expected = -logsigmoid(labels * logits).sum() / 8
    found = nf.losses.Sigmoid().double()(q, k, nf.Pairs.aligned(8))
    assert found.item() == pytest.approx(expected.item(), rel=1e-7)
    assert 9 < found.item() < 11  # about -bias: nearly nothing but the positives counts
