"""Tasks that models are judged on. A data set, or positives, make one of a split."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.column import Column
from nearfar.errors import InputError


@dataclass(frozen=True)
class Retrieval:
    """A retrieval task: rank the documents for each query.

    relevance: for each query (its position in `queries`), the judged documents (position, grade). A higher grade is
    more relevant; 0 is judged as not relevant. clusters (q,): queries of one cluster are not independent of each other
    (same module, same source), so the bootstrap resamples whole clusters. excluded: for each query, the documents
    (positions) that are never ranked, such as the query itself in a corpus that holds it.
    """

    name: str
    queries: Column
    documents: Column
    query_ids: list[str]
    document_ids: list[str]
    relevance: dict[int, dict[int, int]]
    clusters: npt.NDArray[np.int64]
    notes: dict[str, Any] = field(default_factory=dict)  # shown as the protocol: pool sizes, what was dropped
    excluded: dict[int, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, m = len(self.queries), len(self.documents)
        if len(self.query_ids) != n or len(self.document_ids) != m or len(self.clusters) != n:
            raise InputError(
                f"{self.name}: {n} queries need {n} ids and clusters (have {len(self.query_ids)} and "
                f"{len(self.clusters)}); {m} documents need {m} ids (have {len(self.document_ids)})"
            )
        if not any(grade > 0 for judged in self.relevance.values() for grade in judged.values()):
            raise InputError(f"{self.name}: no query has a relevant document; check that the qrels use the same ids")


@dataclass(frozen=True)
class Similarity:
    """A similarity task: rank the pairs (first[i], second[i]) as people's grades, scores (n,), rank them."""

    name: str
    first: Column
    second: Column
    scores: npt.NDArray[np.float64]
    clusters: npt.NDArray[np.int64]
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Labels:
    """A labelled task: tell the class of each cell, from the vectors and classes of the training cells.

    classes: the names of the c classes. labels (n,) and train_labels (m,): the class of each cell, a position in
    `classes`. unknown: the class that stands for "none of these", which a classifier may answer without evidence.
    clusters (n,): see `Retrieval`.
    """

    name: str
    cells: Column
    labels: npt.NDArray[np.int64]
    train: Column
    train_labels: npt.NDArray[np.int64]
    classes: list[str]
    clusters: npt.NDArray[np.int64]
    unknown: int | None = None
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PairLabels:
    """A task of pairs that are the same or not: tell whether first[i] and second[i] are, same (n,) booleans.

    dev: other pairs, on which the threshold of the cosine is chosen; without them, only what needs no threshold is
    measured.
    """

    name: str
    first: Column
    second: Column
    same: npt.NDArray[np.bool_]
    clusters: npt.NDArray[np.int64]
    dev: PairLabels | None = None
    notes: dict[str, Any] = field(default_factory=dict)


Task = Retrieval | Similarity | Labels | PairLabels
