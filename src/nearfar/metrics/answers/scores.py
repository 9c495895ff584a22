"""How well classes are answered, and whether scores tell the known ones from the unknown."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from nearfar.column import Ids
from nearfar.contracts import Measurement, Statistic, Values
from nearfar.tasks import Labels


def answer_scores(labels: Ids, answers: Ids, c: int, names: Sequence[str]) -> dict[str, Measurement]:
    """Return the accuracy, as hits (n,), the balanced accuracy and the macro-F1, under three names.

    labels, answers: (n,) classes in 0 to c - 1; answers may be -1, which is always wrong.
    """
    hits: Values = (labels == answers).astype(np.float64)
    whole = np.ones((1, len(labels)))
    balanced, f1 = partial(balanced_accuracy, labels, answers, c), partial(macro_f1, labels, answers, c)
    found: list[Measurement] = [hits, *(Statistic(float(of(whole)[0]), of) for of in (balanced, f1))]
    return dict(zip(names, found, strict=True))


def balanced_accuracy(labels: Ids, answers: Ids, c: int, weight: Values) -> Values:
    """Return the mean over the classes among the labels of the share of their rows that are answered right, (b,).

    weight (b, n): how often each row occurs. A class counts as much as any other, however many rows it has. Source:
    Brodersen et al. 2010, doi:10.1109/ICPR.2010.764; the same as scikit-learn's `balanced_accuracy_score`.
    """
    true = _sums(labels, c, weight)  # (b, c)
    hit = _sums(np.where(labels == answers, labels, -1), c, weight)
    recall = np.divide(hit, true, out=np.zeros_like(true), where=true > 0)
    mean: Values = recall.sum(1) / (true > 0).sum(1)
    return mean


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


def unknown_auroc(task: Labels, known: Values, name: str) -> dict[str, Measurement]:
    """Return the AUROC of known versus unknown cells, by its name.

    known (n,): the higher, the more a cell belongs to a known class. Empty for a task without an unknown class, or
    whose cells are all unknown or all known.
    """
    if task.unknown is None:
        return {}
    is_known = task.labels != task.unknown
    if is_known.all() or not is_known.any():
        return {}
    area = partial(auroc, is_known, known)
    return {name: Statistic(float(area(np.ones((1, len(known))))[0]), area)}


def auroc(positive: npt.NDArray[np.bool_], scores: Values, weight: Values) -> Values:
    """Return the share of pairs of a positive and a negative row with the higher score at the positive, (b,).

    Ties count half. weight (b, n): how often each row occurs. NaN where one kind is missing. The same as the area under
    the receiver operating characteristic; source: Hanley & McNeil 1982, doi:10.1148/radiology.143.1.7063747.
    """
    inverse = np.unique(scores, return_inverse=True)[1]  # (n,) places among the distinct scores, the lowest first
    size = int(inverse.max()) + 1
    above, below = (_sums(np.where(rows, inverse, -1), size, weight) for rows in (positive, ~positive))  # (b, size)
    lower = below.cumsum(1) - below / 2  # negatives under each score, and half of those at it
    pairs = above.sum(1) * below.sum(1)
    area: Values = np.divide((above * lower).sum(1), pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
    return area


def _sums(classes: Ids, c: int, weight: Values) -> Values:
    """Return the sum of the weights of the rows of each class in 0 to c - 1, (b, c); -1 is no class."""
    rows = np.flatnonzero(classes >= 0)
    of_class = csr_array((np.ones(len(rows)), (classes[rows], rows)), shape=(c, len(classes)))
    sums: Values = np.asarray(of_class @ weight.T).T
    return sums
