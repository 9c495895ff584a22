"""The screen loses none: whoever is among the k best in float64 is a candidate, or the query says that it is unsure."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.mining import screen as screens


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32], ids=str)
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
def test_none_is_lost(kind: torch.dtype, b: int, m: int, d: int, k: int, scale: float, shift: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    queries = torch.from_numpy(random.standard_normal((b, d)).astype(np.float32) + np.float32(shift))
    keys = torch.from_numpy((random.standard_normal((m, d)) * scale + shift).astype(np.float32))
    banned = random.integers(0, b, 8), np.sort(random.integers(0, m, 8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screens, "TILE", 128)
        screen = screens.Screen(keys, kind)
        if not screen.fits(k):
            return
        found = screen.candidates(queries, k, banned)
    scores = queries.double() @ keys.double().T
    scores[banned] = -torch.inf
    best = scores.topk(k, dim=1).indices
    for i in range(b):
        rows = set(found.keys[found.offsets[i] : found.offsets[i + 1]].tolist())
        if found.unsure[i]:
            assert not rows
        else:
            least = scores[i, best[i, -1]]
            due = {j for j in best[i].tolist() if scores[i, j] > least}  # ties for the last place: any will do
            assert due <= rows
            assert len(rows) >= k
            assert not rows & {int(c) for r, c in zip(*banned) if r == i}
            assert max(rows) < m


def test_most_queries_are_sure() -> None:
    random = np.random.default_rng(0)
    keys = torch.nn.functional.normalize(torch.from_numpy(random.standard_normal((6000, 64)).astype(np.float32)))
    found = screens.Screen(keys, torch.bfloat16).candidates(keys[:50], 50, (np.arange(50), np.arange(50)))
    assert not found.unsure.any()
    assert int(found.offsets.diff().max()) < 150  # not many more than are asked for


def test_more_wanted_than_a_tile_can_tell() -> None:
    screen = screens.Screen(torch.randn(1000, 8), torch.float32)
    assert screen.fits(100)
    assert not screen.fits(200)
