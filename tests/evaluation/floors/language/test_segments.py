"""The largest of each segment, of equal ones the first: as numpy finds it one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nearfar.evaluation.floors.language.segments import largest


@given(st.lists(st.lists(st.integers(-2, 2), min_size=1, max_size=6), min_size=1, max_size=8))
def test_it_is_argmax_one_by_one(segments: list[list[int]]) -> None:
    first = np.cumsum([0, *map(len, segments)])[:-1]
    expected = [start + int(np.argmax(one)) for start, one in zip(first.tolist(), segments, strict=True)]
    assert largest(np.concatenate([np.array(one) for one in segments]), first).tolist() == expected
