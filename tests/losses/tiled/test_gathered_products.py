"""Products of listed cells, whether they are few or most of the matrix."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.losses.tiled.gathered_products import listed_products


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 200), st.integers(0, 99))
def test_a_long_list_and_a_short_one_are_the_sum_of_products(n: int, m: int, e: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    q, k = (torch.randn(size, 5, generator=generator, dtype=torch.float64).requires_grad_() for size in (n, m))
    i, j = (torch.randint(size, (e,), generator=generator) for size in (n, m))
    above = torch.randn(e, generator=generator, dtype=torch.float64)
    found = [listed_products(q, k, i, j), (q[i] * k[j]).sum(1)]
    for one, other in zip(*([x, *torch.autograd.grad(x, (q, k), above)] for x in found), strict=True):
        torch.testing.assert_close(one, other)
