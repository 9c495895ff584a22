"""What every metric is: a callable that says which numbers it gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """Vectors drawn from a space: `vectors` (n, d), and positive pairs, row i of `queries` and of `keys` (p, d)."""

    vectors: Tensor
    queries: Tensor
    keys: Tensor


class Metric(Protocol):
    """A metric's constructor takes its settings; `meaning` holds the names of the numbers it gives, each in words."""

    meaning: ClassVar[dict[str, str]]


class SpaceMetric(Metric, Protocol):
    """Describes the vectors themselves, whatever they are for."""

    def __call__(self, sample: Sample, /) -> dict[str, float]:
        """Return the values by name."""
        ...
