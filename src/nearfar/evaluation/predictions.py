"""What a model made of a task, from its vectors: a ranking, the similarities of pairs, a sample of the space."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from nearfar.abilities import TwoSided, side
from nearfar.column import Column, Ids, ListColumn, column_kind, take
from nearfar.contracts import Metric, Predictions, Role, TextSide, Values
from nearfar.errors import InputError, NoVectorError
from nearfar.evaluation import space
from nearfar.evaluation.report import DEPTH, about_model
from nearfar.evaluation.token_predictions import token_predictions, tokenised
from nearfar.model import Model
from nearfar.registry import name_of
from nearfar.sides import ROLES, kinds_read, role_reading, text_role
from nearfar.tasks import Labels, Language, PairLabels, Retrieval, Similarity, Task, columns_of
from nearfar.vectors.embed import Embedder, Vectors, embed_column
from nearfar.vectors.ranking import Ranking
from nearfar.vectors.topk import topk

_USUAL_ROLES: dict[str, Role] = {"queries": "query", "documents": "key"}  # other columns have no role


def role_of(model: Embedder, name: str, column: Column) -> Role | None:
    """Return the role in which a model embeds a task's column: the usual one, unless only its other side reads it."""
    usual = _USUAL_ROLES.get(name)
    if not isinstance(model, Model):
        return usual
    return role_reading(model.encoder, column_kind(column), usual)


def text_side_of(model: Embedder) -> TextSide | None:
    """Return the side of a model that reads texts; None where neither does. One that does not say is tried."""
    if not isinstance(model, Model):
        return TextSide("the query side", partial(_embed_texts, model, "query"))
    role = text_role(model.encoder)
    if role is None:
        return None
    name = f"the {role} side" if isinstance(model.encoder, TwoSided) else "the model, as queries"
    return TextSide(name, partial(_embed_texts, model, role))


def refuse_no_text_side(model: Embedder, task: Task, metrics: Sequence[Metric]) -> None:
    """Refuse metrics that compare cells with texts, for a model that reads none. Errors: `InputError`, naming both."""
    asking = [name_of(type(metric)) for metric in metrics if "text_side" in metric.needs]
    if asking and isinstance(model, Model) and text_role(model.encoder) is None:
        kinds = " and ".join(dict.fromkeys(kinds_read(side(model.encoder, role)) for role in ROLES))
        raise InputError(
            f"{task.name}: metric {asking[0]} compares cells with the names of their classes, and this model reads "
            f"{kinds}, no text; give a model with a side that reads text (encoder dual), or leave the metric out"
        )


def _embed_texts(model: Embedder, role: Role, texts: Sequence[str]) -> Vectors:
    return model.embed(list(texts), role=role)


def as_judged(model: Embedder, task: Task, seed: int) -> Task:
    """Return a task as a model is judged on it: with queries that have an answer, with the model's tokens."""
    if isinstance(task, Language):
        return tokenised(model, task, seed)
    return _with_relevant(task) if isinstance(task, Retrieval) else task


def _with_relevant(task: Retrieval) -> Retrieval:
    """Return the task with only those queries that have a relevant document."""
    rows = np.array(sorted(q for q, grades in task.relevance.items() if max(grades.values(), default=0) > 0), np.int64)
    if len(rows) == len(task.queries):
        return task
    return replace(
        task,
        queries=ListColumn(task.queries.name, take(task.queries, rows)),
        query_ids=[task.query_ids[row] for row in rows],
        relevance={i: task.relevance[int(row)] for i, row in enumerate(rows)},
        clusters=task.clusters[rows],
        excluded={i: task.excluded[int(row)] for i, row in enumerate(rows) if int(row) in task.excluded},
    )


def predictions_of(
    model: Embedder,
    task: Task,
    seed: int,
    columns: Collection[str] | None = None,
    about: Mapping[str, Any] | None = None,
) -> Predictions:
    """Return what a model made of a task; each distinct cell of a column is embedded once.

    columns: of the task, by name, that are embedded (`choose.columns_looked_at`); None for all. about: facts of the
    model for the protocol, by default its fingerprint and dimension.

    Errors: `InputError`: an empty cell, but for documents, whose vectors are zero then; a cell without a vector, by its
    row among the task's; vectors of a wrong shape.
    """
    if isinstance(task, Language):
        return token_predictions(model, task)
    vectors: dict[str, Vectors] = {}
    chosen = {name: column for name, column in columns_of(task).items() if columns is None or name in columns}
    roles = {name: role_of(model, name, column) for name, column in chosen.items()}
    for name, column in chosen.items():
        try:
            vectors[name] = embed_column(model, column, roles[name], empty=name == "documents")
        except NoVectorError as error:
            raise NoVectorError(error.row, error.why, f"{task.name}, {name}") from error
    left, right = sides_of(vectors)  # (n, d), (m, d)
    sample = space.draw_sample(left, right, positive_pairs(task, vectors, best=True, seed=seed), seed)
    facts = dict(about_model(model, left.shape[1]) if about is None else about)
    if isinstance(model, Model) and isinstance(model.encoder, TwoSided):
        facts["sides"] = {name: f"the {role or 'key'} side" for name, role in roles.items()}
    text_side = text_side_of(model) if about is None else None  # a floor reads no further texts
    if text_side is not None and isinstance(task, Labels):
        facts["text side"] = text_side.name
    if len(vectors) < len(columns_of(task)):
        facts["columns"] = list(vectors)  # nothing looks at the others
    facts["space"] = {"vectors": len(sample.vectors), "pairs": len(sample.queries)}
    scores = dev_scores = ranking = None
    if isinstance(task, Retrieval) and right is not left:
        ranking = ranked(task, left, right)
    elif not isinstance(task, Retrieval | Labels) and right is not left:
        scores = _cosines(left, right)
        dev_scores = _cosines(vectors["dev first"], vectors["dev second"]) if "dev first" in vectors else None
    return Predictions(vectors, ranking, scores, dev_scores, None, sample, text_side, facts)


def ranked(task: Retrieval, queries: Vectors, documents: Vectors) -> Ranking:
    """Return the ranking by cosine of vectors (q, d) and (m, d), without what is excluded."""
    excluded = [(query, document) for query, rows in task.excluded.items() for document in rows]
    pairs = np.array(excluded, np.int64).reshape(-1, 2)
    return topk(queries, documents, DEPTH, excluded=(pairs[:, 0], pairs[:, 1]))


def sides_of(vectors: Mapping[str, Vectors]) -> tuple[Vectors, Vectors]:
    """Return the vectors of a task's two sides (n, d) and (m, d); where one alone is embedded, it is both."""
    left, *others = vectors.values()
    return left, others[0] if others else left


def positive_pairs(task: Task, columns: Collection[str], *, best: bool, seed: int) -> tuple[Ids, Ids]:
    """Return positive pairs of a task's two sides: rows (e,) of the one and (e,) of the other.

    columns: those that are embedded. Of one alone there are no pairs, but of cells with labels two of one class.

    Of queries their relevant documents (best: only those of the query's best grade); of graded pairs those in the top
    fifth of the scale, such as above 4 of 5 (Gao et al. 2021, arXiv:2104.08821); pairs that are the same; a training
    cell of each cell's class, drawn by the seed.
    """
    if isinstance(task, Labels):
        return _same_class(task, seed, within="train" not in columns)
    if len(columns) == 1:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    if isinstance(task, Retrieval):
        return _relevant_pairs(task, best)
    assert not isinstance(task, Language), "tokens are no pairs"
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


def _same_class(task: Labels, seed: int, *, within: bool) -> tuple[Ids, Ids]:
    """Return cells, each with a training cell of its class; within: with another cell of its class."""
    labels = task.labels if within else task.train_labels
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], task.labels)
    counts = np.bincount(labels, minlength=len(task.classes))[task.labels] - within  # (n,)
    cells = np.flatnonzero(counts > 0)
    places = starts[cells] + np.random.default_rng(seed).integers(0, counts[cells])
    if within:
        places += places >= np.argsort(order)[cells]  # a cell is no pair with itself
    return cells, order[places]


def _cosines(first: Vectors, second: Vectors) -> Values:
    cosines: Values = np.einsum("nd,nd->n", first, second, dtype=np.float64)
    return cosines
