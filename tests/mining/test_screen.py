"""The screen loses no key: the k best in float64 are candidates, or the query is unresolved."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.mining import screen as screens


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@settings(max_examples=60, deadline=None)
@given(
    b=st.integers(1, 6),
    m=st.integers(40, 500),
    d=st.integers(1, 20),
    k=st.integers(1, 12),
    scale=st.floats(1e-3, 1e3),
    shift=st.floats(0, 3),
    seed=st.integers(0, 2**31),
)
def test_none_of_the_best_is_lost(
    dtype: torch.dtype, b: int, m: int, d: int, k: int, scale: float, shift: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    queries = torch.from_numpy(random.standard_normal((b, d)).astype(np.float32) + np.float32(shift))
    keys = torch.from_numpy((random.standard_normal((m, d)) * scale + shift).astype(np.float32))
    excluded = random.integers(0, b, 8), np.sort(random.integers(0, m, 8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screens, "TILE", 128)
        screen = screens.Screen(keys, dtype)
        if not screen.fits(k):
            return
        candidates = screen.candidates(queries, k, excluded)
    scores = queries.double() @ keys.double().T
    scores[excluded] = -torch.inf
    best = scores.topk(k, dim=1).indices
    for i in range(b):
        rows = set(candidates.keys[candidates.offsets[i] : candidates.offsets[i + 1]].tolist())
        if candidates.unresolved[i]:
            assert not rows
        else:
            least = scores[i, best[i, -1]]
            expected = {j for j in best[i].tolist() if scores[i, j] > least}  # ties for the last place: any will do
            assert expected <= rows
            assert len(rows) >= k
            assert not rows & {int(c) for r, c in zip(*excluded) if r == i}
            assert max(rows) < m


def test_most_queries_are_resolved() -> None:
    random = np.random.default_rng(0)
    keys = torch.nn.functional.normalize(torch.from_numpy(random.standard_normal((6000, 64)).astype(np.float32)))
    candidates = screens.Screen(keys, torch.bfloat16).candidates(keys[:50], 50, (np.arange(50), np.arange(50)))
    assert not candidates.unresolved.any()
    assert int(candidates.offsets.diff().max()) < 150  # not many more than k


def test_k_beyond_the_groups_of_a_tile_does_not_fit() -> None:
    screen = screens.Screen(torch.randn(1000, 8), torch.float32)
    assert screen.fits(100)
    assert not screen.fits(200)
