"""Products by either library, in value and gradients, against float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nearfar.compute import fp32_products
from nearfar.compute.fp32_products import add_product, product, suits_product

ONEDNN = hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.backends.mkldnn.is_available()
SHAPES = [(0, 8, 5), (5, 8, 0), (0, 8, 0), (5, 0, 7), (1, 1, 1), (1, 48, 300), (300, 48, 1), (7, 1, 9), (129, 65, 257)]
by_shape = pytest.mark.parametrize(("n", "k", "m"), SHAPES)


@pytest.fixture(params=["torch", pytest.param("onednn", marks=pytest.mark.skipif(not ONEDNN, reason="no oneDNN"))])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let one library be the faster one, whatever the CPU is, for products of any size."""
    monkeypatch.setattr(fp32_products, "onednn_fp32", lambda: request.param == "onednn")
    monkeypatch.setattr(fp32_products, "_LEAST_WORK", 0)
    found: str = request.param
    return found


def as_given(x: Tensor) -> Tensor:
    return x


def transposed(x: Tensor) -> Tensor:
    return x.t().contiguous().t()


def every_other(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, 0).repeat_interleave(3, 1)[::2, ::3]


LAYOUTS: list[Callable[[Tensor], Tensor]] = [as_given, transposed, every_other]


def matrix(rows: int, columns: int, seed: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def near(found: Tensor | None, right: Tensor | None) -> None:
    assert found is not None and right is not None and found.dtype == torch.float32
    torch.testing.assert_close(found.double(), right, atol=2e-5, rtol=1e-5)


@by_shape
@pytest.mark.parametrize("left", LAYOUTS)
@pytest.mark.parametrize("right", LAYOUTS)
def test_values_are_those_of_float64(
    library: str, n: int, k: int, m: int, left: Callable[[Tensor], Tensor], right: Callable[[Tensor], Tensor]
) -> None:
    a, b = matrix(n, k, 0), matrix(m, k, 1)
    exact = a.double() @ b.double().T
    near(product(left(a), right(b)), exact)
    near(product(left(a), right(b), torch.full((n, m), torch.nan)), exact)
    total = matrix(n, m, 2)
    expected = total.double() + exact
    add_product(total, left(a), right(b))
    near(total, expected)


@by_shape
@pytest.mark.parametrize("left", LAYOUTS)
@pytest.mark.parametrize("right", LAYOUTS)
def test_gradients_are_those_of_float64(
    library: str, n: int, k: int, m: int, left: Callable[[Tensor], Tensor], right: Callable[[Tensor], Tensor]
) -> None:
    a, b, weights = matrix(n, k, 0).requires_grad_(), matrix(m, k, 1).requires_grad_(), matrix(n, m, 2)
    (product(left(a), right(b)) * weights).sum().backward()
    near(a.grad, weights.double() @ b.detach().double())
    near(b.grad, weights.double().T @ a.detach().double())


@by_shape
@pytest.mark.parametrize("left", LAYOUTS)
def test_a_bias_is_added_to_each_row(library: str, n: int, k: int, m: int, left: Callable[[Tensor], Tensor]) -> None:
    a, b, bias = matrix(n, k, 0), matrix(m, k, 1).requires_grad_(), matrix(m, 1, 3)[:, 0].requires_grad_()
    exact = a.double() @ b.detach().double().T + bias.detach().double()
    weights = matrix(n, m, 2)
    found = product(left(a), b, None, bias)
    near(found.detach(), exact)
    with torch.no_grad():
        near(product(left(a), b, torch.full((n, m), torch.nan), bias), exact)
    (found * weights).sum().backward()
    near(b.grad, weights.double().T @ a.double())
    near(bias.grad, weights.double().sum(0))


def test_a_gradient_by_one_side_alone(library: str) -> None:
    for first in (True, False):
        a, b = matrix(6, 4, 0).requires_grad_(first), matrix(5, 4, 1).requires_grad_(not first)
        product(a, b).sum().backward()
        assert (a.grad is None) != first and (b.grad is None) == first
        near(a.grad if first else b.grad, (b if first else a).detach().double().sum(0).expand(6 if first else 5, 4))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_are_left_to_torch(library: str, dtype: torch.dtype) -> None:
    a, b = matrix(33, 16, 0).to(dtype).requires_grad_(), matrix(9, 16, 1).to(dtype)
    found = product(a, b)
    assert torch.equal(found, a @ b.T) and "OneDnn" not in type(found.grad_fn).__name__


def test_autocast_decides_the_type(library: str) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert product(matrix(33, 16, 0), matrix(9, 16, 1)).dtype == torch.bfloat16


def test_parameters_are_multiplied_by_the_faster_library(library: str) -> None:
    found = product(nn.Parameter(matrix(33, 16, 0)), nn.Parameter(matrix(9, 16, 1)))
    assert ("OneDnn" in type(found.grad_fn).__name__) == (library == "onednn")


def test_small_products_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fp32_products, "onednn_fp32", lambda: True)
    monkeypatch.setattr(fp32_products, "_LEAST_WORK", 33 * 16 * 9)
    a = matrix(33, 16, 0).requires_grad_()
    assert [suits_product(a, matrix(rows, 16, 1)) for rows in (8, 9)] == [False, True]
    assert "OneDnn" not in type(product(a, matrix(8, 16, 1)).grad_fn).__name__
