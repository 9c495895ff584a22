"""Settings of the backend exact: in which numbers vectors are compared, and how many of their coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from nearfar.errors import InputError, nearest
from nearfar.index.backends.approximate import refuse_settings
from nearfar.index.backends.codes import CODINGS, Coding
from nearfar.index.rows import Vectors

MORE = 256  # candidates beyond `oversample` times k that are scored by whole vectors
_OVERSAMPLE = {"bits": 16, "first_dim": 8}  # by default
_MOST = 1000


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


def first_coordinates(vectors: Vectors, dim: int) -> Vectors:
    """Return the first coordinates of vectors (n, d), of unit length: (n, dim). Those that are all zero stay zero."""
    if dim == vectors.shape[1]:
        return vectors
    short = vectors[:, :dim]
    lengths = np.linalg.norm(short, axis=1, keepdims=True)
    return (short / np.where(lengths > 0, lengths, 1)).astype(np.float32)
