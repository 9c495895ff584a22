"""What a run keeps of each row that it was judged by, so that another run can be compared with it row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nearfar.column import Column, Ids, column_kind, content_ids
from nearfar.contracts import RankedDocuments, Values
from nearfar.errors import InputError
from nearfar.evaluation.intervals import StatisticSample
from nearfar.evaluation.worst import shown_rank, shown_texts
from nearfar.storage.fingerprint import fingerprint
from nearfar.tasks import Labels, Language, PairLabels, Retrieval, Similarity, Task, columns_of, kind_of_task

ROWS_FILE = "rows.json"  # of a run, in which they lie
_FOUND = 3  # documents of a ranking, and relevant ones, that are kept of each query
_LONGEST = 200  # characters of a text


@dataclass(frozen=True)
class RowValues:
    """The values of one system for the n rows of a task, what they were measured on, and the rows for a reader.

    task, kind, system: the task's name and kind, and what was judged, "model" or "search". parts: a hash of each part
    of the task by name: the same task has the same hashes. clusters (n,), resamples, seed: of the intervals.
    values: by metric the values (n,). samples: by metric what a statistic comes to in the resamples.
    rows: {"text"}, of retrieval also "id", "rank" (of the first relevant document, from 1, or None), "expected" and
    "found" (positions in `documents`), "relevant" (of what was found); of labels "label".
    documents: the texts that rows name.
    """

    task: str
    kind: str
    system: str
    parts: dict[str, str]
    clusters: Ids
    resamples: int
    seed: int
    values: dict[str, Values] = field(default_factory=dict)
    samples: dict[str, StatisticSample] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "task": self.task,
            "kind": self.kind,
            "system": self.system,
            "parts": self.parts,
            "clusters": self.clusters.tolist(),
            "resamples": self.resamples,
            "seed": self.seed,
            "values": {name: _numbers(values) for name, values in self.values.items()},
            "samples": {
                name: {"whole": one.whole, "resampled": one.resampled.tolist(), "without": one.without.tolist()}
                for name, one in self.samples.items()
            },
            "rows": self.rows,
            "documents": self.documents,
        }


def row_values(
    task: Task,
    values: Mapping[str, Values],
    samples: Mapping[str, StatisticSample],
    ranking: RankedDocuments | None,
    *,
    system: str,
    resamples: int,
    seed: int,
) -> RowValues:
    """Return what is kept of a system's values on a task: by metric the values (n,), and the samples of statistics.

    Only texts are kept of the rows: a picture is its number.
    """
    rows, documents = _shown(task, ranking)
    clusters = np.unique(task.clusters, return_inverse=True)[1].astype(np.int64)
    about = (task.name, kind_of_task(task), system, task_parts(task))
    return RowValues(*about, clusters, resamples, seed, dict(values), dict(samples), rows, documents)


def task_parts(task: Task) -> dict[str, str]:
    """Return a hash of each part of a task, by name: "queries", "documents", "relevance" and so on.

    What training has seen of the documents is no part of it: it changes no value.
    """
    names = {"train": "training texts" if isinstance(task, Language) else "training cells"}
    parts = {names.get(name, name): _of_cells(column) for name, column in columns_of(task).items()}
    if isinstance(task, Retrieval):
        judged = sorted((q, row, grade) for q, grades in task.relevance.items() for row, grade in grades.items())
        parts["relevance"] = fingerprint(np.array(judged, np.int64))
        left_out = sorted((q, row) for q, rows in task.excluded.items() for row in rows)
        parts["documents that are not ranked"] = fingerprint(np.array(left_out, np.int64))
    elif isinstance(task, Labels):
        parts["classes"] = fingerprint(list(task.classes), task.unknown)
        parts["labels"] = fingerprint(task.labels.astype(np.int64))
        parts["labels of the training cells"] = fingerprint(task.train_labels.astype(np.int64))
    elif isinstance(task, Similarity):
        parts["grades"] = fingerprint(task.scores)
    elif isinstance(task, PairLabels):
        parts["labels"] = fingerprint(task.same)
        parts |= {} if task.dev is None else {"labels of the dev pairs": fingerprint(task.dev.same)}
    elif isinstance(task, Language) and task.tokens is not None:
        parts["tokens"] = fingerprint(task.tokens.ids)
        parts["hidden tokens"] = fingerprint(task.tokens.hidden)
        parts["next tokens"] = fingerprint(task.tokens.next_places, task.tokens.next_ids)
    parts["clusters"] = fingerprint(np.unique(task.clusters, return_inverse=True)[1].astype(np.int64))
    return parts


def _of_cells(column: Column) -> str:
    """Return a hash of a column's cells; of cells that have no identity, how many they are."""
    try:
        return fingerprint(content_ids(column))
    except InputError:  # of a type that only the model knows: it is judged all the same
        return f"{len(column)} cells without an identity"


def _shown(task: Task, ranking: RankedDocuments | None) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the rows of a task for a reader, and the texts of the documents that they name."""
    sides = [task.queries] if isinstance(task, Retrieval) else list(columns_of(task).values())[:2]
    sides = [task.cells] if isinstance(task, Labels | Language) else sides
    n = len(task.clusters)
    texts = [shown_texts(side, range(n), _LONGEST) if column_kind(side) == "text" else [""] * n for side in sides]
    rows: list[dict[str, Any]] = [{"text": " | ".join(filter(None, of_row))} for of_row in zip(*texts, strict=True)]
    if isinstance(task, Labels):
        for row, label in zip(rows, task.labels.tolist(), strict=True):
            row["label"] = task.classes[label][:_LONGEST]
    if not isinstance(task, Retrieval) or ranking is None:
        return rows, []
    kept: dict[int, int] = {}  # by document, its place in the list of texts
    for query, row in enumerate(rows):
        grades = task.relevance.get(query, {})
        relevant = sorted((one for one, grade in grades.items() if grade > 0), key=lambda one: (-grades[one], one))
        best = [one for one in ranking.rows[query, :_FOUND].tolist() if one >= 0]
        row["id"] = task.query_ids[query]
        row["rank"] = shown_rank(task, ranking, query) if relevant else None
        row["expected"] = [kept.setdefault(one, len(kept)) for one in relevant[:_FOUND]]
        row["found"] = [kept.setdefault(one, len(kept)) for one in best]
        row["relevant"] = [grades.get(one, 0) > 0 for one in best]
    if column_kind(task.documents) == "text":
        return rows, shown_texts(task.documents, list(kept), _LONGEST)
    return rows, [task.document_ids[one][:_LONGEST] for one in kept]


def _numbers(values: Sequence[float] | Values) -> list[float | int]:
    """Return values as JSON has them at their shortest: 0 and 1, as hits are, without a point."""
    return [int(value) if value in (0.0, 1.0) else value for value in np.asarray(values).tolist()]
