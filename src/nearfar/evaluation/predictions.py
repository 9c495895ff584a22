"""What a model made of a task, from its vectors: a ranking, the similarities of pairs, a sample of the space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from nearfar.column import Ids
from nearfar.contracts import Predictions, Values
from nearfar.errors import NoVectorError
from nearfar.evaluation import space
from nearfar.evaluation.report import DEPTH, about_model
from nearfar.tasks import Labels, PairLabels, Retrieval, Similarity, Task, columns_of
from nearfar.vectors.embed import Embedder, Vectors, embed_column
from nearfar.vectors.ranking import Ranking
from nearfar.vectors.topk import topk

ROLE_OF_COLUMN: dict[str, Literal["query", "key"]] = {
    "queries": "query",
    "documents": "key",
}  # other columns have no role


def predictions_of(model: Embedder, task: Task, seed: int, about: Mapping[str, Any] | None = None) -> Predictions:
    """Return what a model made of a task; each distinct cell of a column is embedded once.

    about: facts of the model for the protocol, by default its fingerprint and dimension.

    Errors: `InputError`: an empty cell, but for documents, whose vectors are zero then; a cell without a vector, by its
    row among the task's; vectors of a wrong shape.
    """
    vectors: dict[str, Vectors] = {}
    for name, column in columns_of(task).items():
        try:
            vectors[name] = embed_column(model, column, ROLE_OF_COLUMN.get(name), empty=name == "documents")
        except NoVectorError as error:
            raise NoVectorError(error.row, error.why, f"{task.name}, {name}") from error
    left, right, *_ = vectors.values()  # (n, d), (m, d)
    sample = space.draw_sample(left, right, positive_pairs(task, best=True, seed=seed), seed)
    facts = dict(about_model(model, left.shape[1]) if about is None else about)
    facts["space"] = {"vectors": len(sample.vectors), "pairs": len(sample.queries)}
    scores = dev_scores = ranking = None
    if isinstance(task, Retrieval):
        ranking = ranked(task, left, right)
    elif not isinstance(task, Labels):
        scores = _cosines(left, right)
        dev_scores = _cosines(vectors["dev first"], vectors["dev second"]) if "dev first" in vectors else None
    return Predictions(vectors, ranking, scores, dev_scores, None, sample, facts)


def ranked(task: Retrieval, queries: Vectors, documents: Vectors) -> Ranking:
    """Return the ranking by cosine of vectors (q, d) and (m, d), without what is excluded."""
    excluded = [(query, document) for query, rows in task.excluded.items() for document in rows]
    pairs = np.array(excluded, np.int64).reshape(-1, 2)
    return topk(queries, documents, DEPTH, excluded=(pairs[:, 0], pairs[:, 1]))


def positive_pairs(task: Task, *, best: bool, seed: int) -> tuple[Ids, Ids]:
    """Return positive pairs of a task's two sides: rows (e,) of the one and (e,) of the other.

    Of queries their relevant documents (best: only those of the query's best grade); of graded pairs those in the top
    fifth of the scale, such as above 4 of 5 (Gao et al. 2021, arXiv:2104.08821); pairs that are the same; a training
    cell of each cell's class, drawn by the seed.
    """
    if isinstance(task, Retrieval):
        return _relevant_pairs(task, best)
    if isinstance(task, Labels):
        return _same_class(task, seed)
    rows = np.flatnonzero(task.same) if isinstance(task, PairLabels) else _best_graded(task)
    return rows, rows


def _relevant_pairs(task: Retrieval, best: bool) -> tuple[Ids, Ids]:
    pairs = []
    for query, grades in task.relevance.items():
        highest = max(grades.values(), default=0)
        least = max(highest, 1) if best else 1
        pairs += [(query, row) for row, grade in grades.items() if grade >= least]
    queries, documents = np.array(pairs, np.int64).reshape(-1, 2).T
    return queries, documents


def _best_graded(task: Similarity) -> Ids:
    low, high = task.scores.min(), task.scores.max()
    return np.flatnonzero(task.scores >= low + 0.8 * (high - low))


def _same_class(task: Labels, seed: int) -> tuple[Ids, Ids]:
    order = np.argsort(task.train_labels, kind="stable")
    starts = np.searchsorted(task.train_labels[order], task.labels)
    counts = np.bincount(task.train_labels, minlength=len(task.classes))[task.labels]  # (n,)
    cells = np.flatnonzero(counts)
    drawn = np.random.default_rng(seed).integers(0, counts[cells])
    return cells, order[starts[cells] + drawn]


def _cosines(first: Vectors, second: Vectors) -> Values:
    cosines: Values = np.einsum("nd,nd->n", first, second, dtype=np.float64)
    return cosines
