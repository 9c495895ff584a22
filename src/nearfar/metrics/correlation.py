"""Correlation of cosines with people's grades of pairs."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.stats import pearsonr, spearmanr

from nearfar import tasks
from nearfar.contracts import Values
from nearfar.errors import InputError


class Correlation:
    """Spearman's and Pearson's correlation of cosines with people's grades, by scipy; -1 to 1, higher is better.

    Spearman's is the one to report (Reimers et al. 2016, "Task-oriented intrinsic evaluation of semantic textual
    similarity"): it measures the order only, Pearson's a linear relation.

    Call: a task of n pairs and their cosines (n,) -> two scalars, NaN where all cosines are equal (a collapsed space).

    Errors: `InputError`: another number of cosines, cosines that are not finite (by row), grades that are all equal.
    """

    meaning: ClassVar[dict[str, str]] = {
        "spearman": "correlation of the ranks of cosine and grade, -1 to 1",
        "pearson": "correlation of cosine and grade, -1 to 1",
    }

    def __call__(self, task: tasks.Similarity, cosines: Values) -> dict[str, Values]:
        """Return the correlations by name."""
        if cosines.shape != task.scores.shape:
            raise InputError(f"correlation: {len(task.scores)} pairs need as many cosines, they are {cosines.shape}")
        if not np.isfinite(cosines).all():
            raise InputError(f"correlation: the cosine of pair {int(np.argmin(np.isfinite(cosines)))} is not finite")
        if np.ptp(task.scores) == 0:
            raise InputError(f"correlation: all {len(task.scores)} grades are equal, so there is no order to match")
        if np.ptp(cosines) == 0:  # scipy would warn and return NaN
            return {name: np.array(np.nan) for name in self.meaning}
        correlations = spearmanr(cosines, task.scores).statistic, pearsonr(cosines, task.scores).statistic
        return {name: np.asarray(value, np.float64) for name, value in zip(self.meaning, correlations)}
