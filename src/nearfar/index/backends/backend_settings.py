"""Settings of backends: which each has, and by which numbers, and how many of a vector, exact compares rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from nearfar.errors import InputError, listed, nearest
from nearfar.index.backends.codes import CODINGS, Coding

_OVERSAMPLE = {"bits": 16, "first_dim": 8}  # by default
_MOST = 1000


def refuse_settings(settings: Mapping[str, Any], known: tuple[str, ...], backend: str) -> None:
    """Refuse settings of a backend that it does not know. Their values may be secret, so they are not shown."""
    if unknown := next((key for key in settings if key not in known), None):
        raise InputError(f"{backend}: has no setting {unknown!r:.40}; known: {listed(list(known))}")


def refuse_other_settings(settings: Mapping[str, Any], known: tuple[str, ...], backend: str) -> None:
    """Refuse settings of a backend that keeps float32 vectors alone: unknown ones, and another precision."""
    refuse_settings(settings, ("precision", *known), backend)
    if (precision := settings.get("precision", "float32")) != "float32":
        raise InputError(f"precision {precision!r:.40}: {backend} keeps float32 vectors; leave it out")


def exact_settings(settings: Mapping[str, Any], dim: int) -> tuple[Coding, int, int | None]:
    """Return precision, the number of coordinates that are compared, and how many times k are scored by vectors.

    The last is None where the comparison itself finds the k best. Errors: `InputError` for unknown or wrong settings.
    """
    refuse_settings(settings, ("precision", "first_dim", "oversample"), "exact")
    if (precision := settings.get("precision", "float32")) not in CODINGS:
        raise InputError(f"precision {precision!r:.40}: no such one; {nearest(str(precision), CODINGS)}")
    first = settings.get("first_dim")
    if first is not None and (type(first) is not int or not 1 <= first < dim):
        raise InputError(f"first_dim {first!r:.40}: a whole number from 1 to {dim - 1}, below the vectors' {dim}")
    rough = "bits" if precision == "bits" else "first_dim" if first is not None else None
    oversample = settings.get("oversample", None if rough is None else _OVERSAMPLE[rough])
    if rough is None and oversample is not None:
        raise InputError("oversample: is of first_dim and of the precision bits, which compare roughly; leave it out")
    if rough is not None and (type(oversample) is not int or not 1 <= oversample <= _MOST):
        raise InputError(f"oversample {oversample!r:.40}: a whole number from 1 to {_MOST:,}, candidates for each of k")
    return cast("Coding", precision), dim if first is None else first, oversample
