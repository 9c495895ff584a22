"""Pair classification: whether similarity tells pairs that are the same from pairs that are not."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from nearfar import tasks
from nearfar.contracts import Measurement, Predictions, Statistic, Values
from nearfar.errors import InputError

Flags = npt.NDArray[np.bool_]


class PairClassification:
    """Average precision of the pairs by similarity; F1 and accuracy at a threshold; 0 to 1, higher is better.

        AP = mean over the pairs that are the same of the precision at their rank

    Pairs at one similarity are ranked against the model, those that are not the same first. A pair is called the same
    where its similarity is at least the threshold, which is chosen on the task's `dev` pairs for F1 and for accuracy
    apart: halfway between two similarities, the highest of those that are equally good. Source: Manning, Raghavan &
    Schuetze 2008, "Introduction to information retrieval", chapter 8; the protocol is that of MTEB (Muennighoff et al.
    2022, arXiv:2210.07316), whose thresholds are chosen on the test pairs themselves and are therefore higher.

    Call: a task of n pairs and their similarities (n,) -> average precision, F1, and hits (n,). Without dev pairs F1
    and hits are left out.

    Errors: `InputError`: another number of similarities, similarities that are not finite (by row).

    When not to use it: where pairs have grades; see `correlation`.
    """

    takes: ClassVar[tuple[type, ...]] = (tasks.PairLabels,)
    needs: ClassVar[tuple[str, ...]] = ("scores",)
    usual: ClassVar[bool] = True
    meaning: ClassVar[dict[str, str]] = {
        "pair_ap": "average precision of the pairs that are the same, ranked by similarity",
        "pair_f1": "F1 of calling pairs the same from a similarity on that is chosen on other pairs",
        "pair_accuracy": "share of pairs that are rightly told, at a similarity that is chosen on other pairs",
    }

    def __call__(self, task: tasks.PairLabels, predictions: Predictions) -> dict[str, Measurement]:
        """Return the values by name."""
        scores, same = _checked(predictions.scores, len(task.same), "pair"), task.same
        order = np.lexsort((same, -scores))  # best first, of equal ones those that are not the same first
        precision = partial(average_precision, same[order], order)
        ones = np.ones((1, len(same)))
        values: dict[str, Measurement] = {"pair_ap": Statistic(float(precision(ones)[0]), precision)}
        if task.dev is None or predictions.dev_scores is None:
            return values
        known, other = _checked(predictions.dev_scores, len(task.dev.same), "dev pair"), task.dev.same
        by_f1, by_accuracy = thresholds(known, other)
        f1_at = partial(f1, same, scores >= by_f1)
        hits: Values = ((scores >= by_accuracy) == same).astype(np.float64)
        return values | {"pair_f1": Statistic(float(f1_at(ones)[0]), f1_at), "pair_accuracy": hits}


def average_precision(same: Flags, order: npt.NDArray[np.int64], weight: Values) -> Values:
    """Return the average precision (b,) of flags in ranked order; weight (b, n): copies of each pair, unordered."""
    copies = weight[:, order]  # (b, n)
    hits = copies * same
    precision = np.divide(hits.cumsum(1), copies.cumsum(1), out=np.zeros_like(hits), where=hits > 0)
    total = hits.sum(1)
    value: Values = np.divide((hits * precision).sum(1), total, out=np.full(len(total), np.nan), where=total > 0)
    return value


def f1(same: Flags, called: Flags, weight: Values) -> Values:
    """Return F1 (b,) of the pairs called the same; weight (b, n): copies of each pair."""
    total = weight @ (same.astype(np.float64) + called)
    hit = 2 * (weight @ (same & called).astype(np.float64))
    value: Values = np.divide(hit, total, out=np.zeros_like(total), where=total > 0)
    return value


def thresholds(scores: Values, same: Flags) -> tuple[float, float]:
    """Return the thresholds with the best F1 and the best accuracy; of equally good ones the highest."""
    values, inverse = np.unique(-scores, return_inverse=True)  # the highest first
    called = np.bincount(inverse).cumsum().astype(np.float64)  # from this similarity on
    hit = np.bincount(inverse, same).cumsum()
    higher, lower = -values, -np.append(values[1:], values[-1])
    edges = (higher + lower) / 2
    edges = np.where(edges > lower, edges, higher)  # the lowest one, and where no number lies between
    best_f1 = int((2 * hit / (called + same.sum())).argmax())
    right = np.append(0.0, 2 * hit - called)  # less those of calling none the same
    best_right = int(right.argmax())
    nothing = higher[0] + 1  # above all similarities
    return float(edges[best_f1]), float(nothing if best_right == 0 else edges[best_right - 1])


def _checked(scores: Values | None, n: int, what: str) -> Values:
    if scores is None or scores.shape != (n,):
        shape = None if scores is None else scores.shape
        raise InputError(f"pair_classification: {n} {what}s need as many similarities, they are {shape}")
    if not np.isfinite(scores).all():
        row = int(np.argmin(np.isfinite(scores)))
        raise InputError(f"pair_classification: the similarity of {what} {row} is not finite")
    return scores
