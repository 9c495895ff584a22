"""Tasks that models are judged on. A data set, or positives, make one of a split."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from nearfar.column import Column, column_kind
from nearfar.errors import InputError


@dataclass(frozen=True)
class Retrieval:
    """A retrieval task: rank the documents for each query.

    relevance: for each query (its position in `queries`), the judged documents (position, grade). A higher grade is
    more relevant; 0 is judged as not relevant. clusters (q,): queries of one cluster are not independent of each other
    (same module, same source), so the bootstrap resamples whole clusters. excluded: for each query, the documents
    (positions) that are never ranked, such as the query itself in a corpus that holds it. seen (m,): the documents that
    are among the training rows, too, where the positives know them.

    Errors: `InputError`: lengths that differ, positions out of range, no relevant document at all, or one that is
    excluded.
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
    seen: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        n, m = len(self.queries), len(self.documents)
        if len(self.query_ids) != n or len(self.document_ids) != m or len(self.clusters) != n:
            raise InputError(
                f"{self.name}: {n} queries need {n} ids and clusters (have {len(self.query_ids)} and "
                f"{len(self.clusters)}); {m} documents need {m} ids (have {len(self.document_ids)})"
            )
        if self.seen is not None and self.seen.shape != (m,):
            raise InputError(f"{self.name}: {m} documents need {m} values of seen, it is {self.seen.shape}")
        self._check_positions(n, m)
        if not any(grade > 0 for judged in self.relevance.values() for grade in judged.values()):
            raise InputError(f"{self.name}: no query has a relevant document; check that the qrels use the same ids")

    def _check_positions(self, n: int, m: int) -> None:
        for what, lists in (("relevance", self.relevance), ("excluded", self.excluded)):
            for query, documents in lists.items():
                if not 0 <= query < n:
                    raise InputError(f"{self.name}: {what} names query {query}, there are queries 0 to {n - 1}")
                wrong = next((document for document in documents if not 0 <= document < m), None)
                if wrong is not None:
                    raise InputError(
                        f"{self.name}: {what} of query {query} names document {wrong}, there are 0 to {m - 1}"
                    )
        for query, documents in self.excluded.items():
            lost = [document for document in documents if self.relevance.get(query, {}).get(document, 0) > 0]
            if lost:
                raise InputError(
                    f"{self.name}: document {lost[0]} is relevant to query {query} and excluded for it; choose one"
                )


@dataclass(frozen=True)
class Similarity:
    """A similarity task: rank the pairs (first[i], second[i]) as people's grades, scores (n,), rank them.

    Errors: `InputError`: lengths that differ, no pairs, grades that are not finite.
    """

    name: str
    first: Column
    second: Column
    scores: npt.NDArray[np.float64]
    clusters: npt.NDArray[np.int64]
    notes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {"first": len(self.first), "second": len(self.second), "scores": len(self.scores)}
        _refuse_unequal(self.name, {**lengths, "clusters": len(self.clusters)})
        if not np.isfinite(self.scores).all():
            row = int(np.argmin(np.isfinite(self.scores)))
            raise InputError(f"{self.name}: the grade of pair {row} is {self.scores[row]}; give a finite number")


@dataclass(frozen=True)
class Labels:
    """A labelled task: tell the class of each cell, from the vectors and classes of the training cells.

    classes: the names of the c classes. labels (n,) and train_labels (m,): the class of each cell, a position in
    `classes`. unknown: the class that stands for "none of these", which a classifier may answer without evidence.
    clusters (n,): see `Retrieval`. A class without training cells, which no classifier can learn, is told in `notes`.

    Errors: `InputError`: lengths that differ, no cells to train on or to judge by, labels out of range.
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

    def __post_init__(self) -> None:
        lengths = {"cells": len(self.cells), "labels": len(self.labels), "clusters": len(self.clusters)}
        _refuse_unequal(self.name, lengths)
        if not len(self.train):
            raise InputError(f"{self.name}: there are no training cells; a class is told from labelled cells")
        _refuse_unequal(self.name, {"train": len(self.train), "train_labels": len(self.train_labels)})
        c = len(self.classes)
        for what, labels in (("labels", self.labels), ("train_labels", self.train_labels)):
            if not np.issubdtype(labels.dtype, np.integer):
                raise InputError(
                    f"{self.name}: {what} must be whole numbers, positions in classes; it is {labels.dtype}"
                )
            wrong = np.flatnonzero((labels < 0) | (labels >= c))
            if len(wrong):
                raise InputError(
                    f"{self.name}: {what}[{wrong[0]}] is {labels[wrong[0]]}, there are classes 0 to {c - 1}"
                )
        if self.unknown is not None and not 0 <= self.unknown < c:
            raise InputError(f"{self.name}: unknown is class {self.unknown}, there are classes 0 to {c - 1}")
        untaught = sorted(set(range(c)) - set(self.train_labels.tolist()) - {self.unknown})
        if untaught:
            found = {"classes without training cells": [self.classes[row] for row in untaught]}
            object.__setattr__(self, "notes", {**self.notes, **found})


@dataclass(frozen=True)
class PairLabels:
    """A task of pairs that are the same or not: tell whether first[i] and second[i] are, same (n,) booleans.

    dev: other pairs, on which the threshold of the cosine is chosen; without them, only what needs no threshold is
    measured.

    Errors: `InputError`: lengths that differ, labels that are no booleans, or all alike.
    """

    name: str
    first: Column
    second: Column
    same: npt.NDArray[np.bool_]
    clusters: npt.NDArray[np.int64]
    dev: PairLabels | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {"first": len(self.first), "second": len(self.second), "same": len(self.same)}
        _refuse_unequal(self.name, {**lengths, "clusters": len(self.clusters)})
        if self.same.dtype != bool:
            raise InputError(f"{self.name}: same must be booleans, it is {self.same.dtype}; give labels == 1")
        if self.same.all() or not self.same.any():
            what = "the same" if self.same.all() else "different"
            raise InputError(f"{self.name}: all {len(self.same)} pairs are {what}; both kinds are needed")


@dataclass(frozen=True)
class LanguageTokens:
    """The texts of a language task as the judged model's tokenizer cuts them, and which tokens are hidden.

    ids (t,), offsets (n + 1,): the tokens of the n texts, one after the other; train_ids (s,), train_offsets: of all
    training texts. special (v,): which of the v tokens stand for no text; they are never hidden. hidden (h,): the
    places among the t tokens that are hidden for a model that sees both sides, a share of each text's. next_places,
    next_ids (m,): for a decoder, the places behind which a token is asked for, and that token: `end` behind a text.
    train_ends: which training texts end so. text_bytes: of all that the tokens say, in UTF-8; None if not all is said.
    """

    ids: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    train_ids: npt.NDArray[np.int32]
    train_offsets: npt.NDArray[np.int64]
    special: npt.NDArray[np.bool_]
    hidden: npt.NDArray[np.int64]
    share: float = 0.0
    next_places: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    next_ids: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    end: int | None = None
    train_ends: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    text_bytes: int | None = None

    def text_of(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the text, 0 to n - 1, that each place (p,) among the tokens is in."""
        return np.searchsorted(self.offsets, places, side="right") - 1


@dataclass(frozen=True)
class Language:
    """A language task: predict the tokens of n texts from the tokens around them, or before them.

    train: the texts that baselines count tokens in. clusters (n,): see `Retrieval`. tokens: set by whoever judges, as
    each model has tokens of its own; numbers of models with other tokens cannot be compared.

    Errors: `InputError`: lengths that differ, no texts, no training texts.
    """

    name: str
    cells: Column
    train: Column
    clusters: npt.NDArray[np.int64]
    notes: dict[str, Any] = field(default_factory=dict)
    tokens: LanguageTokens | None = None

    def __post_init__(self) -> None:
        _refuse_unequal(self.name, {"cells": len(self.cells), "clusters": len(self.clusters)})
        if not len(self.train):
            raise InputError(f"{self.name}: there are no training texts; baselines count the tokens of these")


Task = Retrieval | Similarity | Labels | PairLabels | Language
# All that are judged by vectors: what a part takes that takes any of them.
TASK_TYPES: tuple[type, ...] = tuple(one for one in get_args(Task) if one is not Language)


def between_kinds(task: Task) -> bool:
    """Return whether a task is to find cells of one kind by those of another: pictures by texts, or the reverse."""
    if not isinstance(task, Retrieval):
        return False
    kinds = {column_kind(task.queries), column_kind(task.documents)} - {None}
    return len(kinds) > 1


def kind_of_task(task: Task | type) -> str:
    """Return what messages and reports call a type of task, or the type of a task: "pair labels"."""
    kind = task if isinstance(task, type) else type(task)
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.__name__).lower()


def columns_of(task: Task) -> dict[str, Column]:
    """Return the columns of a task by name: its two sides, and those of the dev pairs ("dev first", "dev second")."""
    if isinstance(task, Retrieval):
        return {"queries": task.queries, "documents": task.documents}
    if isinstance(task, Labels | Language):
        return {"cells": task.cells, "train": task.train}
    columns = {"first": task.first, "second": task.second}
    if isinstance(task, PairLabels) and task.dev is not None:
        columns |= {"dev first": task.dev.first, "dev second": task.dev.second}
    return columns


def _refuse_unequal(name: str, lengths: dict[str, int]) -> None:
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{what} {length}" for what, length in lengths.items())
        raise InputError(f"{name}: lengths must be equal, they are {shown}")
    if not all(lengths.values()):
        raise InputError(f"{name}: is empty: no {next(iter(lengths))}")
