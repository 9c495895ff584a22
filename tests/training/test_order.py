from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.training.order import Sampler

SIZES = {"n": st.integers(1, 40), "batch_size": st.integers(1, 60), "seed": st.integers(0, 2**32)}


@settings(deadline=None)
@given(**SIZES)
def test_every_epoch_has_every_example_once_and_batches_are_full(n: int, batch_size: int, seed: int) -> None:
    sampler = Sampler(n, batch_size, seed)
    batches = [sampler.batch(step) for step in range(-(-3 * n // sampler.batch_size))]
    assert {len(batch) for batch in batches} == {min(n, batch_size)}
    stream = np.concatenate(batches)
    for epoch in range(3):
        assert sorted(stream[epoch * n : (epoch + 1) * n]) == list(range(n))


@settings(deadline=None)
@given(**SIZES, steps=st.lists(st.integers(0, 50), min_size=1, max_size=8))
def test_a_batch_depends_on_seed_and_step_only(n: int, batch_size: int, seed: int, steps: list[int]) -> None:
    used = Sampler(n, batch_size, seed)
    for step in steps:
        assert used.batch(step).tolist() == Sampler(n, batch_size, seed).batch(step).tolist()


def test_epochs_and_seeds_differ() -> None:
    sampler = Sampler(1000, 1000, seed=1)
    assert sampler.batch(0).tolist() != sampler.batch(1).tolist()
    assert sampler.batch(0).tolist() != Sampler(1000, 1000, seed=2).batch(0).tolist()


def test_a_batch_larger_than_the_data_is_one_epoch() -> None:
    sampler = Sampler(5, 1024, seed=0)
    assert sampler.batch_size == 5
    assert sorted(sampler.batch(3)) == [0, 1, 2, 3, 4]
    assert sampler.steps(3) == 3


def test_steps_are_those_of_so_many_epochs() -> None:
    assert Sampler(100, 10, 0).steps(2.5) == 25
    assert Sampler(100, 10, 0).steps(0.001) == 1
