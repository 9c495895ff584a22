"""The sample of an embedding space that a metric reads."""

from __future__ import annotations

from nearfar.contracts import Predictions, Sample
from nearfar.errors import InputError


def sample_of(predictions: Predictions, where: str) -> Sample:
    """Return the sample of a system's space. where: the task and the metric. Errors: `InputError`: there is none."""
    if predictions.sample is None:
        raise InputError(f"{where} needs a sample of vectors")
    return predictions.sample
