"""Accuracy and macro-F1 of answered classes."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.sparse import csr_array

from nearfar.column import Ids
from nearfar.contracts import Measurement, Statistic, Values


def accuracy_and_f1(labels: Ids, answers: Ids, c: int, names: tuple[str, str]) -> dict[str, Measurement]:
    """Return the accuracy, as hits (n,), and the macro-F1, under two names.

    labels, answers: (n,) classes in 0 to c - 1; answers may be -1, which is always wrong.
    """
    hits: Values = (labels == answers).astype(np.float64)
    f1 = partial(macro_f1, labels, answers, c)
    return {names[0]: hits, names[1]: Statistic(float(f1(np.ones((1, len(labels))))[0]), f1)}


def macro_f1(labels: Ids, answers: Ids, c: int, weight: Values) -> Values:
    """Return the mean of F1 over the classes that occur among the labels or the answers, (b,).

    weight (b, n): how often each row occurs. F1 of a class is 2 tp / (2 tp + fp + fn), so a class that is never
    answered counts as 0. Source: Lewis 1991, "Evaluating text categorization"; the same as scikit-learn's `macro`.
    """
    true, answered = _sums(labels, c, weight), _sums(answers, c, weight)  # (b, c)
    hit = _sums(np.where(labels == answers, labels, -1), c, weight)
    total = true + answered
    f1 = np.divide(2 * hit, total, out=np.zeros_like(total), where=total > 0)
    mean: Values = f1.sum(1) / (total > 0).sum(1)
    return mean


def _sums(classes: Ids, c: int, weight: Values) -> Values:
    """Return the sum of the weights of the rows of each class, (b, c); -1 is no class."""
    rows = np.flatnonzero(classes >= 0)
    of_class = csr_array((np.ones(len(rows)), (classes[rows], rows)), shape=(c, len(classes)))
    sums: Values = np.asarray(of_class @ weight.T).T
    return sums
