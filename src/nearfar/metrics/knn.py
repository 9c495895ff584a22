"""The k-nearest-neighbour classifier: whether cells of one class lie near each other."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from nearfar import tasks
from nearfar.column import Ids
from nearfar.contracts import Measurement, Predictions, Values
from nearfar.errors import InputError
from nearfar.metrics.answers.neighbours import neighbours
from nearfar.metrics.answers.scores import answer_scores, unknown_auroc

_BLOCK = 20_000_000  # votes held at a time: cells x classes


class Knn:
    """How often the weighted k-nearest-neighbour classifier is right, by cosine; 0 to 1, higher is better.

        vote(c) = sum over the k nearest training cells of class c of exp(cosine / temperature)

    The class with most votes is the answer. A tie between the cell's own class and another goes against the model;
    training cells at the same cosine are taken in their order. Source: Wu et al. 2018, arXiv:1805.01978, section 3.4,
    where k is 200 and the temperature 0.07.

    Where the task has an unknown class, also whether the summed votes of the known classes are higher for cells of
    these than for unknown ones: the AUROC, 0.5 is chance, ties count half. The sum is low where the neighbours are far,
    and where unknown training cells, if there are some, are among them. Accuracy and F1 count the unknown class as any
    other: without training cells it is never the answer.

    Args:
        k: neighbours that vote, at least 1; all training cells where there are fewer.
        temperature: of the weights, above 0; the smaller, the more the nearest one decides.

    Call: a task of n labelled cells, and vectors of both columns (or answers, which are scored as they are) -> hits
    (n,), the balanced accuracy, the macro-F1 over the classes that occur among labels or answers, and the AUROC where
    there are unknown and known cells.

    Errors: `InputError`: settings out of range; vectors that are not finite.

    Example:
        >>> Knn(k=5).meaning["knn@5"]
        'share of cells whose class the 5 nearest training cells vote for (weights exp(cosine / 0.07))'

    When not to use it: to say what a trained classifier would reach; see `probe`.
    """

    takes: ClassVar[tuple[type, ...]] = (tasks.Labels,)
    needs: ClassVar[tuple[str, ...]] = ("vectors", "answers")
    usual: ClassVar[bool] = True

    def __init__(self, k: int = 20, temperature: float = 0.07) -> None:
        if k < 1 or not 0 < temperature < math.inf:
            raise InputError(f"knn: k must be at least 1 and temperature above 0, they are {k} and {temperature}")
        self.k, self.temperature = k, temperature
        votes = f"the {k} nearest training cells vote for (weights exp(cosine / {temperature:g}))"
        self.meaning = {
            f"knn@{k}": f"share of cells whose class {votes}",
            f"knn_balanced@{k}": f"mean over the classes of the share of their cells whose class {votes}",
            f"knn_macro_f1@{k}": f"mean F1 over the classes, of the class that {votes}",
            f"knn_unknown_auroc@{k}": f"share of pairs of a known and an unknown cell with the higher vote for known "
            f"classes at the known one ({k} nearest training cells); 0.5 is chance",
        }

    def __call__(self, task: tasks.Labels, predictions: Predictions) -> dict[str, Measurement]:
        """Return hits (n,), the balanced accuracy, the macro-F1 and the AUROC by name."""
        if predictions.vectors:
            answers, known = self._voted(task, predictions)
        elif predictions.answers is not None:
            answers = predictions.answers
            known = (answers != task.unknown).astype(np.float64)
        else:
            raise InputError(f"{task.name}: knn needs the vectors of the cells, or answers")
        *names, auroc = self.meaning
        found = answer_scores(task.labels, answers, len(task.classes), names)
        return found | unknown_auroc(task, known, auroc)

    def _voted(self, task: tasks.Labels, predictions: Predictions) -> tuple[Ids, Values]:
        """Return the class that each cell's neighbours vote for, and the log of the known classes' votes, (n,)."""
        ranking = neighbours(predictions, self.k)
        classes = task.train_labels[ranking.rows]  # (n, k)
        cosines = ranking.scores.astype(np.float64)
        # The largest cosine is taken off: the order of votes is the same, and exp cannot overflow.
        weights = np.exp((cosines - cosines[:, :1]) / self.temperature)  # (n, k)
        c, answers = len(task.classes), np.empty(len(classes), np.int64)
        for start in range(0, len(classes), size := max(1, _BLOCK // c)):
            part = slice(start, start + size)
            answers[part] = _elected(classes[part], weights[part], task.labels[part], c)
        counted = np.where(classes == task.unknown, -np.inf, cosines / self.temperature)  # (n, k)
        known: Values = np.logaddexp.reduce(counted, axis=1)
        return answers, known


def _elected(classes: Ids, weights: Values, labels: Ids, c: int) -> Ids:
    """Return the class with most votes, (n,), where a tie goes against the true class."""
    n = len(classes)
    places = classes + c * np.arange(n)[:, None]  # (n, k)
    votes = np.bincount(places.ravel(), weights.ravel(), n * c).reshape(n, c)
    own = votes[np.arange(n), labels]
    votes[np.arange(n), labels] = -np.inf
    others: Ids = votes.argmax(1)
    return np.where(own > votes.max(1), labels, others)
