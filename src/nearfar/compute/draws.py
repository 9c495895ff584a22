"""Draws: counter-based random numbers, a pure function of seed, pass, example, stream, lane and position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nearfar.errors import InputError

_GOLDEN = -0x61C8864680B583EB  # 0x9E3779B97F4A7C15 as a signed number: the increment of SplitMix64
_MIX = ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15))  # the shifts and factors of its finaliser
_LAST_SHIFT = 31
_LANE = 40  # bits of a counter that number the positions of a lane
_QUANTILE_BITS = 16


@dataclass(frozen=True)
class Draws:
    """Random numbers for n cells: row i has numbers of its own, whatever the other rows are.

    A number is SplitMix64's finaliser (Steele et al. 2014, "Fast splittable pseudorandom number generators") of the
    row's key and a counter, in 64-bit integer arithmetic alone, so a CPU and a GPU draw the same. The counter is
    `lane << 40 | position`: numbers of one lane are drawn together, and different lanes are independent. Nothing
    advances: the same call returns the same numbers, and how many numbers a row uses of a lane changes no other.

    key: (n,) int64, a hash of what `of` was given.
    """

    key: Tensor

    @classmethod
    def of(cls, seeds: npt.NDArray[np.int64], stream: int = 0, device: Any = None) -> Self:
        """Return the draws of n rows by their seeds (n, s), such as (run seed, pass, example), and a stream.

        Errors: `InputError` for seeds that are no table of whole numbers.
        """
        if seeds.ndim != 2 or seeds.dtype.kind not in "iu":
            raise InputError(f"draws: seeds must be whole numbers (n, s); they are {seeds.shape} {seeds.dtype}")
        seeds = seeds.astype(np.int64)  # of unsigned numbers the same 64 bits
        key = torch.full((len(seeds),), stream, dtype=torch.int64, device=device)
        for column in torch.from_numpy(np.ascontiguousarray(seeds.T)).to(key.device):  # (n,)
            key = _finalised(key + _GOLDEN) ^ column
        return cls(_finalised(key.add_(_GOLDEN)))

    def __len__(self) -> int:
        return len(self.key)

    def __getitem__(self, rows: slice | Tensor | Sequence[int]) -> Draws:
        """Return the draws of some rows: the same numbers as here."""
        return Draws(self.key[rows])

    def to(self, device: Any) -> Draws:
        """Return the same draws on another device."""
        return Draws(self.key.to(device))

    def bits(self, count: int, lane: int = 0) -> Tensor:
        """Return the first `count` numbers of a lane, 64 random bits each, (n, count) int64."""
        counter = torch.arange(1, count + 1, dtype=torch.int64, device=self.key.device).add_(lane << _LANE)  # (count,)
        return _finalised(self.key[:, None] + counter.mul_(_GOLDEN))  # (n, count)

    def uniform(self, count: int, low: float = 0.0, high: float = 1.0, lane: int = 0) -> Tensor:
        """Return numbers uniform in [low, high), (n, count) float32, of 24 random bits each."""
        bits = self.bits(count, lane).bitwise_right_shift_(40)
        unit: Tensor = bits.float().mul_(2.0**-24).add_(0.5)  # exact: of 24 bits each
        if (low, high) == (0.0, 1.0):
            return unit
        return unit.mul_(high - low).add_(low).clamp_(*_inside(low, high))  # rounding may reach `high`

    def integers(self, count: int, below: int | Tensor, lane: int = 0) -> Tensor:
        """Return whole numbers uniform in 0, ..., below - 1, (n, count) int64; below, at most 2^31, may be (n, 1).

        The remainder of 63 bits: the bias is below 2^-32. Errors: `InputError` for a `below` under 1.
        """
        if isinstance(below, int) and below < 1:
            raise InputError(f"draws: there is no whole number from 0 to below {below}")
        return (self.bits(count, lane) & 0x7FFFFFFFFFFFFFFF) % below

    def normal(self, count: int, lane: int = 0) -> Tensor:
        """Return numbers of the standard normal distribution, (n, count) float32.

        They are the 2^16 midpoint quantiles, drawn alike: a table, so that a CPU and a GPU agree; none is beyond 4.4.
        """
        places = (self.bits(count, lane) >> (64 - _QUANTILE_BITS)) + (1 << (_QUANTILE_BITS - 1))
        numbers: Tensor = _quantiles().to(places.device)[places]
        return numbers

    def order(self, count: int, lane: int = 0) -> Tensor:
        """Return a random order of 0, ..., count - 1 for each row, (n, count) int64."""
        return self.bits(count, lane).argsort(dim=1, stable=True)


def _finalised(z: Tensor) -> Tensor:
    """Return SplitMix64's finaliser of numbers, in place where that is safe: it owns `z`, which its callers made."""
    shifted = torch.empty_like(z)  # one buffer: fresh memory for each step takes half of the time of large batches
    for shift, factor in (*_MIX, (_LAST_SHIFT, 1)):
        torch.bitwise_right_shift(z, shift, out=shifted)
        z.bitwise_xor_(shifted.bitwise_and_((1 << (64 - shift)) - 1))  # a signed shift brings ones, which go
        if factor != 1:
            z.mul_(factor)
    return z


@lru_cache(64)
def _inside(low: float, high: float) -> tuple[float, float]:
    """Return the least and the greatest float32 in [low, high). Errors: `InputError` where there is none."""
    least, greatest = np.float32(low), np.float32(high)
    if float(least) < low:
        least = np.nextafter(least, np.float32(np.inf))
    if float(greatest) >= high:
        greatest = np.nextafter(greatest, np.float32(-np.inf))
    if not least <= greatest:
        raise InputError(f"draws: no float32 lies in [{low}, {high})")
    return float(least), float(greatest)


@lru_cache(1)
def _quantiles() -> Tensor:
    """Return the midpoint quantiles of the standard normal distribution, (2^16,) float32."""
    middles = (torch.arange(1 << _QUANTILE_BITS, dtype=torch.float64) + 0.5) / (1 << _QUANTILE_BITS)
    quantiles: Tensor = torch.special.ndtri(middles).float()
    return quantiles
