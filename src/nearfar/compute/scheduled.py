"""Scheduled: a setting that changes during a run, a function of step and steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from nearfar.errors import InputError, nearest

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

Shape = Literal["linear", "cosine"]
KEYS = ("from", "to", "shape", "over")


@dataclass(frozen=True)
class Scheduled:
    """A number that goes from `start` at the first step to `stop`; in a recipe {from: 0.99, to: 1, shape: cosine}.

    shape: linear, or half a period of the cosine, as BYOL's momentum (Grill et al. 2020, arXiv:2006.07733, section
    3.1). over: share of the steps that it takes, above 0 to 1; it stays at `stop` after that, as DINO's temperature of
    the teacher does (Caron et al. 2021, arXiv:2104.14294, section 3.2). Nothing is kept between steps, so a resumed run
    has the same values.

    Errors: `InputError` for a number that is not finite, an unknown shape, an `over` out of range.

    Example:
        >>> rising = Scheduled(0.9, 1.0, "cosine")
        >>> rising.at(0, 11), rising.at(5, 11), rising.at(10, 11)
        (0.9, 0.95, 1.0)
    """

    start: float
    stop: float
    shape: Shape = "linear"
    over: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and math.isfinite(self.stop)):
            raise InputError(f"a scheduled setting: from {self.start} to {self.stop}; both must be finite numbers")
        if self.shape not in get_args(Shape):
            raise InputError(
                f"a scheduled setting: no shape {self.shape!r}; {nearest(str(self.shape), get_args(Shape))}"
            )
        if not 0 < self.over <= 1:
            raise InputError(f"a scheduled setting: over is a share of the steps, above 0 to 1; it is {self.over}")

    def at(self, step: int, steps: int) -> float:
        """Return the value at a step, 0 to steps - 1: `start` at the first one, `stop` at the last."""
        last = max(1, round(self.over * (steps - 1)))
        progress = min(1.0, step / last)
        if progress in (0.0, 1.0):
            return self.stop if progress else self.start
        share = progress if self.shape == "linear" else (1 - math.cos(math.pi * progress)) / 2
        return self.start + (self.stop - self.start) * share

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value."""
        return min(self.start, self.stop), max(self.start, self.stop)

    def plain(self) -> dict[str, Any]:
        """Return it as a recipe writes it."""
        return {"from": self.start, "to": self.stop, "shape": self.shape, "over": self.over}

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Self:
        """Return what a recipe writes. Errors: `InputError` for a key that is missing or unknown, or is no number."""
        for key in spec:
            if key not in KEYS:
                raise InputError(f"a scheduled setting has no {key!r}; {nearest(str(key), KEYS)}")
        if missing := [key for key in ("from", "to") if key not in spec]:
            raise InputError(f"a scheduled setting needs {missing[0]!r}: write {{from: 0.99, to: 1, shape: cosine}}")
        try:
            numbers = [float(spec[key]) for key in ("from", "to")] + [float(spec.get("over", 1.0))]
        except (TypeError, ValueError) as error:
            raise InputError(f"a scheduled setting goes from a number to a number ({error})") from error
        return cls(numbers[0], numbers[1], spec.get("shape", "linear"), numbers[2])

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let a constructor's annotation take what a recipe writes."""
        from pydantic_core import core_schema

        def read(value: Any) -> Scheduled:
            if isinstance(value, cls):
                return value
            if not isinstance(value, Mapping):
                raise ValueError("write a number, or {from: 0.99, to: 1, shape: cosine}")
            try:
                return cls.of(value)
            except InputError as error:
                raise ValueError(str(error)) from error

        return core_schema.no_info_plain_validator_function(read)


def value_at(setting: float | Scheduled, step: int, steps: int) -> float:
    """Return a setting's value at a step (from 0) of `steps`."""
    return setting.at(step, steps) if isinstance(setting, Scheduled) else setting


def words(setting: float | Scheduled) -> str:
    """Return a setting as errors show it."""
    return f"from {setting.start} to {setting.stop}" if isinstance(setting, Scheduled) else str(setting)


def bounds(setting: float | Scheduled) -> tuple[float, float]:
    """Return the lowest and the highest value that a setting has."""
    return setting.bounds if isinstance(setting, Scheduled) else (setting, setting)
