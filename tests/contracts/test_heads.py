"""Every head: vectors (n, in) to (n, dim), row by row once it is trained, with gradients for all that it learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from nearfar import registry
from tests.contracts import samples

NAMES = registry.names("heads")
N, D = 16, 6


def built(name: str) -> Any:
    torch.manual_seed(0)
    spec = {"name": name, **samples.settings("heads", registry.find("heads", name))}
    return registry.build("heads", spec, dim=D)


def vectors() -> Tensor:
    return torch.randn(N, D, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NAMES)
def test_a_head_returns_the_dimension_that_it_says(name: str) -> None:
    head = built(name)
    found = head(vectors())
    assert found.shape == (N, head.dim)
    assert found.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_reaches_all_that_a_head_learns(name: str) -> None:
    head, x = built(name), vectors().requires_grad_()
    (head(x) * torch.arange(1.0, head.dim + 1)).square().sum().backward()
    assert x.grad is not None
    assert x.grad.norm(dim=1).gt(0).all()
    for parameter in head.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_trained_head_maps_each_row_alone(name: str) -> None:
    head, x = built(name), vectors()
    head(x)  # statistics of a batch are learnt while training
    head.eval()
    torch.testing.assert_close(torch.cat([head(row[None]) for row in x]), head(x))


@pytest.mark.parametrize("name", NAMES)
def test_its_weights_are_all_of_a_head(name: str) -> None:
    head, again = built(name), built(name)
    head(vectors())
    again.load_state_dict(head.state_dict())
    torch.testing.assert_close(again.eval()(vectors()), head.eval()(vectors()))
