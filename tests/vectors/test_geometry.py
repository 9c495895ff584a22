"""Geometry against naive float64 formulas, and what it must be on spaces whose answer is known."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nearfar.errors import InputError
from nearfar.vectors.geometry import alignment, check_vectors, effective_rank, random_cosine, uniformity


def vectors(n: int, d: int, seed: int, scale: float = 1.0) -> Tensor:
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * scale


def unit(n: int, d: int, seed: int) -> Tensor:
    return torch.nn.functional.normalize(vectors(n, d, seed), dim=1)


def naive_uniformity(x: Tensor, t: float) -> float:
    a = x.double().numpy()
    potential = [math.exp(-t * ((a[i] - a[j]) ** 2).sum()) for i in range(len(a)) for j in range(i + 1, len(a))]
    return math.log(sum(potential) / len(potential))


shapes = {"n": st.integers(2, 30), "d": st.integers(1, 9), "seed": st.integers(0, 999)}


@settings(deadline=None, max_examples=40)
@given(**shapes, alpha=st.floats(0.5, 3), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_alignment_is_the_mean_power_of_the_distance(
    n: int, d: int, seed: int, alpha: float, dtype: torch.dtype
) -> None:
    x, y = vectors(n, d, seed), vectors(n, d, seed + 1000)
    expected = np.mean(np.linalg.norm((x - y).numpy(), axis=1) ** alpha)
    assert float(alignment(x.to(dtype), y.to(dtype), alpha)) == pytest.approx(expected, rel=1e-5)
    assert float(alignment(x, y)) == pytest.approx(np.mean(((x - y) ** 2).sum(1).numpy()))


@settings(deadline=None, max_examples=40)
@given(**shapes, t=st.floats(0.1, 5), block=st.integers(1, 40))
def test_uniformity_is_the_double_loop(n: int, d: int, seed: int, t: float, block: int) -> None:
    x = unit(n, d, seed)
    expected = naive_uniformity(x, t)
    assert float(uniformity(x, t, block)) == pytest.approx(expected, abs=1e-10)
    assert float(uniformity(x.float(), t, block)) == pytest.approx(expected, abs=2e-5)


def test_uniformity_is_stable_far_apart_and_far_from_the_origin() -> None:
    x = vectors(12, 3, 0, scale=30)  # every term underflows
    a = x.numpy()
    far = [((a[i] - a[j]) ** 2).sum() for i in range(12) for j in range(i)]
    nearest = np.sort(far)[0]
    expected = -2 * nearest + math.log(sum(math.exp(-2 * (f - nearest)) for f in far) / len(far))
    assert float(uniformity(x)) == pytest.approx(expected)
    moved = unit(20, 4, 1) + 1000
    assert float(uniformity(moved.float())) == pytest.approx(float(uniformity(moved)), abs=2e-3)


def test_gradients_are_right() -> None:
    x, y = unit(6, 3, 0).requires_grad_(), unit(6, 3, 1).requires_grad_()
    for function in (uniformity, effective_rank, random_cosine):
        assert torch.autograd.gradcheck(function, x)
    assert torch.autograd.gradcheck(alignment, (x, y))


@pytest.mark.parametrize("block", [1, 3, 7])
def test_gradients_do_not_depend_on_the_blocks(block: int) -> None:
    x = unit(10, 4, 0).requires_grad_()
    whole, blocks = (torch.autograd.grad(uniformity(x, 2.0, size), x)[0] for size in (100, block))
    torch.testing.assert_close(blocks, whole)


def test_gradients_are_finite_where_pairs_coincide() -> None:
    x = unit(5, 3, 0)
    for alpha in (1.0, 2.0):
        near = x.clone().requires_grad_()
        alignment(near, x, alpha).backward()
        assert near.grad is not None
        assert bool((near.grad == 0).all())
    same = torch.ones(4, 3, dtype=torch.float64).requires_grad_()
    uniformity(same).backward()
    assert same.grad is not None
    assert bool(torch.isfinite(same.grad).all())


@settings(deadline=None, max_examples=30)
@given(**shapes)
def test_effective_rank_is_the_formula(n: int, d: int, seed: int) -> None:
    x = vectors(n, d, seed)
    sigma = np.linalg.svd(x.numpy(), compute_uv=False)
    p = sigma / sigma.sum() + 1e-7
    assert float(effective_rank(x)) == pytest.approx(np.exp(-(p * np.log(p)).sum()))
    assert 1 - 1e-6 <= float(effective_rank(x)) <= min(n, d) + 1e-4


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_effective_rank_of_orthonormal_rows_is_their_number(rank: int) -> None:
    rows = torch.linalg.qr(vectors(8, 8, 0))[0][:rank]
    assert float(effective_rank(rows)) == pytest.approx(rank, rel=1e-4)
    assert float(effective_rank(rows.repeat(5, 1))) == pytest.approx(rank, rel=1e-4)


@settings(deadline=None, max_examples=40)
@given(**shapes)
def test_random_cosine_is_the_mean_over_distinct_pairs(n: int, d: int, seed: int) -> None:
    x = vectors(n, d, seed, scale=3)
    u = torch.nn.functional.normalize(x, dim=1)
    expected = float((u @ u.T).triu(1).sum()) / (n * (n - 1) / 2)
    assert float(random_cosine(x)) == pytest.approx(expected, abs=1e-12)
    assert float(random_cosine(x.float())) == pytest.approx(expected, abs=1e-5)


def test_collapse_shows_in_every_number() -> None:
    x = unit(1, 6, 0).repeat(9, 1)
    assert float(alignment(x, x)) == 0
    assert float(uniformity(x)) == pytest.approx(0, abs=1e-12)
    assert float(effective_rank(x)) == pytest.approx(1, rel=1e-4)
    assert float(random_cosine(x)) == pytest.approx(1)


def test_half_precision_is_widened_and_autocast_is_kept_out() -> None:
    x = unit(40, 8, 0)
    assert uniformity(x.bfloat16()).dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = float(uniformity(x.float()))
    assert inside == float(uniformity(x.float()))


def test_broken_rows_are_named() -> None:
    x = vectors(20, 3, 0)
    x[3, 1], x[7, 0], x[9] = math.nan, math.inf, 1e30
    with pytest.raises(InputError, match=r"x: 3 of 20 rows are NaN, infinite or far too long \(row 3, 7, 9\)"):
        uniformity(x)
    with pytest.raises(InputError, match=r"y: 20 of 20 rows are NaN.*row 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, \.\.\."):
        alignment(vectors(20, 3, 0), torch.full((20, 3), math.nan))
    with pytest.raises(InputError, match=r"keys: .*row 103\)"):
        check_vectors(x[:5], "keys", first=100)
    with pytest.raises(InputError, match=r"x: 2 of 4 rows are zero, so without a direction \(row 1, 3\)"):
        random_cosine(torch.tensor([[1.0], [0], [2], [0]]))


def test_wrong_shapes_and_settings_are_errors() -> None:
    x = vectors(4, 3, 0)
    with pytest.raises(InputError, match=r"x and y must be of one shape, they are \(4, 3\) and \(3, 3\)"):
        alignment(x, x[:3])
    with pytest.raises(InputError, match=r"x must be \(n, d\) floats, they are \(4,\)"):
        uniformity(x[:, 0])
    with pytest.raises(InputError, match=r"floats, they are \(4, 3\) torch.int64"):
        effective_rank(x.long())
    for function in (uniformity, random_cosine):
        with pytest.raises(InputError, match="x: 2 rows are needed, there are 1"):
            function(x[:1])
    for wrong in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(InputError, match="t must be positive"):
            uniformity(x, wrong)
        with pytest.raises(InputError, match="alpha must be positive"):
            alignment(x, x, wrong)
    with pytest.raises(InputError, match="all vectors are zero"):
        effective_rank(torch.zeros(3, 2))
