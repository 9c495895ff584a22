"""Zero-shot classification: whether the name of a class, in words, is enough to tell its cells."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from nearfar import tasks
from nearfar.column import Ids, column_kind
from nearfar.contracts import Measurement, Predictions, Values
from nearfar.errors import InputError
from nearfar.metrics.answers.class_vectors import class_vectors
from nearfar.metrics.answers.scores import answer_scores, unknown_auroc
from nearfar.text.class_prompts import checked_templates, class_names
from nearfar.vectors.topk import topk


class ZeroShot:
    """How often the class whose name lies nearest to a cell is its own, without any labelled cell; 0 to 1.

        w_c = the mean over the templates t of text(t with the name of c), normalised; answer(x) = argmax_c cos(x, w_c)

    The vectors of the names come from the side of the model that reads texts, and are of unit length before and after
    the mean. Source: Radford et al. 2021, arXiv:2103.00020, sections 3.1.2 and 3.1.4. A tie goes against the model.
    Training cells are not looked at, and not embedded where no other metric does.

    The unknown class, where the task has one, is no answer, as no name stands for it, so its cells are always wrong;
    its AUROC asks whether the highest cosine is higher for cells of known classes (0.5 is chance, ties count half).

    Args:
        templates: prompts with one {} for the name; by default five for pictures ("a photo of a {}." and more), and
            "a text about {}." for texts.
        names: of classes, by label, where the label is no good name: {"auto": "car"}. By default a label's last part
            behind slashes, with spaces for underscores and hyphens: "golden_retriever" is "golden retriever".

    Call: a task of n labelled cells, their vectors and a text side (or answers, which are scored as they are) -> hits
    (n,), the balanced accuracy, the macro-F1 over the classes that occur among labels or answers, and the AUROC where
    there are unknown and known cells. Chance is 1 over the number of classes.

    Errors: `InputError`: a template without exactly one {}; names for labels that there are not; two classes of one
    name; vectors that are not finite.

    Example:
        >>> ZeroShot(templates=["a drawing of a {}."]).templates
        ['a drawing of a {}.']

    When not to use it: for classes whose labels say nothing, such as numbers; give `names`, or see `knn` and `probe`.
    """

    takes: ClassVar[tuple[type, ...]] = (tasks.Labels,)
    needs: ClassVar[tuple[str, ...]] = ("text_side", "answers")
    usual: ClassVar[bool] = False
    looks_at: ClassVar[tuple[str, ...]] = ("cells",)
    meaning: ClassVar[dict[str, str]] = {
        "zero_shot": "share of cells nearest to the name of their class, in words, without a labelled cell",
        "zero_shot_balanced": "mean over the classes of the share of their cells nearest to the name of their class",
        "zero_shot_macro_f1": "mean F1 over the classes, of the class whose name is nearest",
        "zero_shot_unknown_auroc": "share of pairs of a known and an unknown cell with the higher cosine to the "
        "nearest name at the known one; 0.5 is chance",
    }

    def __init__(self, templates: list[str] | None = None, names: dict[str, str] | None = None) -> None:
        self.templates = None if templates is None else checked_templates(templates, None, "zero_shot.templates")
        self.names = None if names is None else dict(names)

    def __call__(self, task: tasks.Labels, predictions: Predictions) -> dict[str, Measurement]:
        """Return hits (n,), the balanced accuracy, the macro-F1 and the AUROC by name."""
        if predictions.vectors and predictions.text_side is not None:
            answers, known = self._named(task, predictions)
        elif predictions.answers is not None:
            answers = predictions.answers
            known = (answers != task.unknown).astype(np.float64)
        else:
            raise InputError(f"{task.name}: zero_shot needs a side that reads texts, and the vectors of the cells")
        *names, auroc = self.meaning
        return answer_scores(task.labels, answers, len(task.classes), names) | unknown_auroc(task, known, auroc)

    def _named(self, task: tasks.Labels, predictions: Predictions) -> tuple[Ids, Values]:
        """Return the class whose name is nearest to each cell, (n,), and its cosine (n,)."""
        assert predictions.text_side is not None, "what is called has one"
        candidates = np.array([c for c in range(len(task.classes)) if c != task.unknown])
        if len(candidates) < 2:
            raise InputError(f"{task.name}: zero_shot tells classes apart, and there is one class, {task.classes[0]!r}")
        labels = [task.classes[c] for c in candidates]
        names = class_names(labels, self.names, "zero_shot.names")
        templates = checked_templates(self.templates, column_kind(task.cells))
        classes = class_vectors(predictions.text_side.embed, names, templates)  # (c, d)
        nearest = topk(predictions.vectors["cells"], classes, 2)
        first, second = candidates[nearest.rows].T  # (n,) each
        is_tied = nearest.scores[:, 0] == nearest.scores[:, 1]
        answers: Ids = np.where(is_tied & (first == task.labels), second, first)
        return answers, nearest.scores[:, 0].astype(np.float64)
