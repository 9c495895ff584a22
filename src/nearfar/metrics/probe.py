"""The linear probe: whether a linear classifier on frozen vectors tells the classes apart."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from nearfar import tasks
from nearfar.coerce import refuse_seed
from nearfar.contracts import Measurement, Predictions, Values
from nearfar.errors import InputError
from nearfar.metrics.answers.logistic import curvature, fit_logistic, logits
from nearfar.metrics.answers.scores import answer_scores, unknown_auroc
from nearfar.vectors.geometry import check_vectors

STRENGTHS = (1.0, 0.1, 0.01, 1e-3, 1e-4)  # the strongest first: of equal ones it is taken
_WORSE = 2  # strengths in a row that are no better, after which weaker ones are not tried
_CHOSEN_ON = 0.2  # share of the training cells that the strength is chosen on


class Probe:
    """How often multinomial logistic regression on the standardised, frozen vectors is right; 0 to 1.

        W, b = argmin mean_i -log softmax(W x_i + b)[y_i] + strength / 2 |W|^2

    over the training cells, by L-BFGS (`metrics.answers.logistic`). x is each vector less the training cells' mean,
    over their standard deviation, per dimension. The strength is chosen by accuracy on a fifth of the training cells,
    by a fit on the rest, never on the cells that are judged: from the strongest on, until two in a row are no better.
    Sources: Alain & Bengio 2017, arXiv:1610.01644; Chen et al. 2020, arXiv:2002.05709.

    Where the task has an unknown class, also whether the highest probability of a known class is higher for cells of
    these than for unknown ones: the AUROC, 0.5 is chance, ties count half (Hendrycks & Gimpel 2017, arXiv:1610.02136).
    If the unknown class has training cells, it is fitted as one more class, and takes its share of the probability.
    Accuracy and F1 count it as any other: without training cells it is hardly ever the answer.

    Args:
        strength: of the regularisation, at least 0; by default the best of 1, 0.1, 0.01, 0.001 and 0.0001.
        iterations: of L-BFGS for each fit, at least 1.
        seed: decides which fifth the strength is chosen on.

    Call: a task of n labelled cells, and vectors of both columns (or answers, which are scored as they are) -> hits
    (n,), the balanced accuracy, the macro-F1 over the classes that occur among labels or answers, and the AUROC where
    there are unknown and known cells.

    Errors: `InputError`: settings out of range; vectors that are not finite.

    Example:
        >>> sorted(Probe().meaning)
        ['probe', 'probe_balanced', 'probe_macro_f1', 'probe_unknown_auroc']

    When not to use it: on millions of training cells, which are all held in memory; draw a part of them.
    """

    takes: ClassVar[tuple[type, ...]] = (tasks.Labels,)
    needs: ClassVar[tuple[str, ...]] = ("vectors", "answers")
    usual: ClassVar[bool] = True
    meaning: ClassVar[dict[str, str]] = {
        "probe": "share of cells whose class a linear classifier on the frozen vectors tells",
        "probe_balanced": "mean over the classes of the share of their cells whose class a linear classifier tells",
        "probe_macro_f1": "mean F1 over the classes, of a linear classifier on the frozen vectors",
        "probe_unknown_auroc": "share of pairs of a known and an unknown cell with the higher probability of its most "
        "likely known class at the known one; 0.5 is chance",
    }

    def __init__(self, strength: float | None = None, iterations: int = 200, seed: int = 0) -> None:
        if (strength is not None and not 0 <= strength < math.inf) or iterations < 1:
            raise InputError(
                f"probe: strength must be at least 0 and iterations at least 1, they are {strength} and {iterations}"
            )
        refuse_seed(seed, "probe.seed")
        self.strength, self.iterations, self.seed = strength, iterations, seed

    def __call__(self, task: tasks.Labels, predictions: Predictions) -> dict[str, Measurement]:
        """Return hits (n,), the balanced accuracy, the macro-F1 and the AUROC by name."""
        if predictions.vectors:
            log_p = self._fitted(task, predictions)
            answers = log_p.argmax(1)
            known = np.where(np.arange(log_p.shape[1]) == task.unknown, -np.inf, log_p).max(1)
        elif predictions.answers is not None:
            answers = predictions.answers
            known = (answers != task.unknown).astype(np.float64)
        else:
            raise InputError(f"{task.name}: probe needs the vectors of the cells, or answers")
        found = answer_scores(task.labels, answers, len(task.classes), list(self.meaning)[:3])
        return found | unknown_auroc(task, known, "probe_unknown_auroc")

    def _fitted(self, task: tasks.Labels, predictions: Predictions) -> Values:
        """Return the logarithm of the probability that the fitted classifier gives each cell's classes, (n, c)."""
        device, m = "cuda" if torch.cuda.is_available() else "cpu", len(task.train_labels)
        order = np.random.default_rng(self.seed).permutation(m)  # the first fifth is what the strength is chosen on
        x, cells = (
            check_vectors(torch.from_numpy(vectors).to(device), side)
            for side, vectors in (
                ("train", predictions.vectors["train"][order]),
                ("cells", np.array(predictions.vectors["cells"])),
            )
        )
        mean, spread = x.mean(0), x.std(0, correction=0)
        spread = torch.where(spread > 0, spread, torch.ones_like(spread))  # a dimension that never varies
        for vectors in (x, cells):  # in place: those of many pictures take gigabytes
            vectors.sub_(mean).div_(spread)
        y, c = torch.from_numpy(np.asarray(task.train_labels, np.int64)[order]).to(device), len(task.classes)
        curved = curvature(x, c)
        strength, start = self._chosen(x, y, c, curved) if self.strength is None else (self.strength, None)
        scores = logits(cells, fit_logistic(x, y, c, strength, self.iterations, start, curved)).double()
        log_p: Values = torch.log_softmax(scores, 1).cpu().numpy()
        return log_p

    def _chosen(self, x: Tensor, y: Tensor, c: int, curved: Tensor | None) -> tuple[float, Tensor | None]:
        """Return the strength with the best accuracy on the first fifth of the cells, and its weights, to start from.

        Each fit starts where the one before ended, and the search ends after two strengths in a row that are no better:
        weaker ones are fitted closer to the rest, and take longest. With one or two cells it is the middle strength.
        """
        held = round(len(y) * _CHOSEN_ON)
        if held < 1:
            return STRENGTHS[len(STRENGTHS) // 2], None
        best: tuple[float, Tensor | None] = (STRENGTHS[0], None)
        most, worse, start = -1, 0, None
        for strength in STRENGTHS:
            start = fit_logistic(x[held:], y[held:], c, strength, self.iterations, start, curved)
            right = int((logits(x[:held], start).argmax(1) == y[:held]).sum())
            worse = 0 if right > most else worse + 1
            if right > most:
                best, most = (strength, start), right
            if worse == _WORSE:
                break
        return best
