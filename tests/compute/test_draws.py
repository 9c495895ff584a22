"""Draws: SplitMix64 bit for bit, a pure function of seeds, stream, lane and position, and random to every test here."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nearfar.compute.draws import Draws
from nearfar.errors import InputError

ANY = st.integers(-(2**63), 2**63 - 1)
SEEDS = st.lists(st.tuples(ANY, ANY, ANY), min_size=1, max_size=6)
MASK, GOLDEN = 2**64 - 1, 0x9E3779B97F4A7C15
N = 100_000
Floats = npt.NDArray[np.float64]


def mixed(z: int) -> int:
    """SplitMix64's finaliser, in Python's own integers."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def naive(seeds: tuple[int, ...], stream: int, lane: int, position: int) -> int:
    """One number of 64 bits, as a signed one."""
    key = stream & MASK
    for seed in seeds:
        key = mixed((key + GOLDEN) & MASK) ^ (seed & MASK)
    key = mixed((key + GOLDEN) & MASK)
    found = mixed((key + ((lane << 40) + position + 1) * GOLDEN) & MASK)
    return found - 2**64 if found >> 63 else found


def draws(n: int = N, seed: int = 0, number: int = 0, stream: int = 0) -> Draws:
    """Return the draws of examples 0 to n - 1."""
    return Draws.of(np.stack([np.full(n, seed), np.full(n, number), np.arange(n)], 1), stream)


@given(SEEDS, ANY, st.integers(0, 2**20), st.integers(1, 5))
def test_numbers_are_those_of_splitmix64(seeds: list[tuple[int, int, int]], stream: int, lane: int, count: int) -> None:
    found = Draws.of(np.array(seeds, np.int64), stream).bits(count, lane).tolist()
    assert found == [[naive(row, stream, lane, p) for p in range(count)] for row in seeds]


def test_the_finaliser_is_the_published_one() -> None:
    """The first numbers of SplitMix64 with state 1234567, as its author's own code prints them."""
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    found = Draws(torch.tensor([1234567])).bits(4)[0]
    assert [number % 2**64 for number in found.tolist()] == expected


@given(SEEDS, ANY, st.data())
def test_a_row_is_its_own_whatever_the_others(
    seeds: list[tuple[int, int, int]], stream: int, data: st.DataObject
) -> None:
    table = np.array(seeds, np.int64)
    whole = Draws.of(table, stream)
    rows = data.draw(st.lists(st.integers(0, len(seeds) - 1), max_size=5))
    for some in (Draws.of(table[rows], stream), whole[rows], whole[torch.tensor(rows, dtype=torch.int64)]):
        assert len(some) == len(rows)
        assert torch.equal(some.bits(3, 2), whole.bits(3, 2)[rows])
        assert torch.equal(some.uniform(3, -1, 2), whole.uniform(3, -1, 2)[rows])
        assert torch.equal(some.normal(3), whole.normal(3)[rows])
        assert torch.equal(some.order(4), whole.order(4)[rows])
        assert torch.equal(some.integers(3, 7), whole.integers(3, 7)[rows])
    assert torch.equal(whole[1:].bits(2), whole.bits(2)[1:])
    assert torch.equal(whole.bits(9)[:, :4], whole.bits(4))  # more numbers of a lane change none before them
    assert torch.equal(whole.to("cpu").bits(2), whole.bits(2))


def test_unsigned_and_negative_seeds_are_64_bits_and_others_are_refused() -> None:
    high: npt.NDArray[Any] = np.array([[2**64 - 1, 2**63]], np.uint64)
    assert torch.equal(Draws.of(high).key, Draws.of(np.array([[-1, -(2**63)]])).key)
    assert len(Draws.of(np.zeros((0, 3), np.int64)).uniform(4)) == 0
    for wrong in (np.zeros((2, 3)), np.zeros(3, np.int64)):
        with pytest.raises(InputError, match=r"seeds must be whole numbers \(n, s\)"):
            Draws.of(wrong)  # type: ignore[arg-type]


def test_no_two_of_a_million_keys_are_equal() -> None:
    seeds = np.array(list(itertools.product(range(-5, 5), range(10), range(10_000))), np.int64)
    assert len(np.unique(Draws.of(seeds).key.numpy())) == 10**6


def columns() -> dict[str, Floats]:
    """Return uniform numbers of 10^5 examples that differ in one thing each: all should be independent."""
    found = {
        "first": draws().uniform(2)[:, 0],
        "position": draws().uniform(2)[:, 1],
        "lane": draws().uniform(1, lane=1)[:, 0],
        "far lane": draws().uniform(1, lane=1000)[:, 0],
        "stream": draws(stream=1).uniform(1)[:, 0],
        "pass": draws(number=1).uniform(1)[:, 0],
        "seed": draws(seed=1).uniform(1)[:, 0],
        "negative seed": draws(seed=-1).uniform(1)[:, 0],
        "neighbour": draws(N + 1).uniform(1)[1:, 0],
        "exchanged": Draws.of(np.stack([np.arange(N), np.zeros(N, np.int64), np.zeros(N, np.int64)], 1)).uniform(1)[
            :, 0
        ],
    }
    return {name: numbers.double().numpy() for name, numbers in found.items()}


def test_what_differs_in_anything_is_independent() -> None:
    found = columns()
    correlation = np.corrcoef(list(found.values())) - np.eye(len(found))
    assert np.abs(correlation).max() < 5 / np.sqrt(N)  # five standard errors
    for one, other in itertools.combinations(found.values(), 2):  # jointly uniform on an 8 x 8 grid
        table = np.histogram2d(one, other, 8, ((0, 1), (0, 1)))[0]
        assert stats.chisquare(table.ravel()).pvalue > 1e-6


def test_uniform_numbers_are_uniform() -> None:
    for numbers in columns().values():
        assert stats.kstest(numbers, "uniform").pvalue > 1e-6
    wide = draws().uniform(1, -3.0, 5.0)[:, 0].numpy()
    assert stats.kstest(wide, "uniform", (-3, 8)).pvalue > 1e-6


@pytest.mark.parametrize("below", [2, 3, 10, 1000, 2**31])
def test_whole_numbers_are_uniform(below: int) -> None:
    numbers = draws().integers(1, below)[:, 0].numpy()
    assert 0 <= numbers.min() <= numbers.max() < below
    cells = min(below, 50)
    assert stats.chisquare(np.bincount(numbers * cells // below, minlength=cells)).pvalue > 1e-6
    limits = torch.arange(1, 6)[:, None]
    several = draws(5).integers(200, limits)
    assert (several.max(1).values == limits[:, 0] - 1).all()


def test_normal_numbers_are_normal() -> None:
    numbers = draws().normal(2).double()
    assert stats.kstest(numbers[:, 0].numpy(), "norm").pvalue > 1e-6
    assert abs(float((numbers[:, 0] * numbers[:, 1]).mean())) < 5 / np.sqrt(N)
    assert abs(float(numbers.square().mean()) - 1) < 5 * np.sqrt(2 / (2 * N))
    assert 4 < float(numbers.abs().max()) < 4.4


def test_orders_are_uniform() -> None:
    found = draws().order(4)
    assert torch.equal(found.sort(1).values, torch.arange(4).expand(N, 4))
    code = (found * torch.tensor([64, 16, 4, 1])).sum(1).numpy()
    counts = np.unique(code, return_counts=True)[1]
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-6


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_a_range_holds_its_low_end_and_not_its_high_one(low: float, width: float) -> None:
    high = low + width
    if np.nextafter(np.float32(low), np.float32(np.inf)) >= np.float32(high):
        return  # hardly a float32 lies between them
    numbers = draws(400).uniform(50, low, high).double()
    assert low <= float(numbers.min()) <= float(numbers.max()) < high


def test_the_greatest_number_stays_below_the_high_end() -> None:
    """The largest unit, 1 - 2^-24, times 0.8 and moved by 0.2 rounds to 1."""

    class Greatest(Draws):
        def bits(self, count: int, lane: int = 0) -> torch.Tensor:
            return torch.full((len(self.key), count), 2**63 - 1)

    key = torch.zeros(1, dtype=torch.int64)
    assert Greatest(key).uniform(1).item() == 1 - 2**-24
    assert Greatest(key).uniform(1, 0.2, 1.0).item() == 1 - 2**-24
    assert Greatest(key).uniform(1, 0.0, 0.1).item() < 0.1 < float(np.float32(0.1))
    with pytest.raises(InputError, match="no float32 lies in"):
        Draws(key).uniform(1, 1.0, 1.0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: its numbers are compared with a CPU's")
def test_a_gpu_draws_the_same() -> None:
    here, there = draws(4096), draws(4096).to("cuda")
    assert torch.equal(there.bits(8, 3).cpu(), here.bits(8, 3))
    assert torch.equal(there.uniform(8, -0.3, 0.7).cpu(), here.uniform(8, -0.3, 0.7))
    assert torch.equal(there.integers(8, 1000).cpu(), here.integers(8, 1000))
    assert torch.equal(there.normal(8).cpu(), here.normal(8))
    assert torch.equal(there.order(8).cpu(), here.order(8))
