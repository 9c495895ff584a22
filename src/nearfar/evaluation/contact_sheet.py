"""A contact sheet: some queries, each beside what lies nearest, right and wrong ones told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nearfar.column import Column, Ids, column_kind, take
from nearfar.contracts import Predictions, Values
from nearfar.evaluation.worst import first_relevant, shown_texts
from nearfar.pictures.decode import Picture
from nearfar.pictures.sprite import sprite
from nearfar.tasks import Labels, Retrieval, Task
from nearfar.vectors.topk import topk

NEIGHBOURS, TEXTS = 8, 5  # of each query that are shown: pictures, and texts
DRAWN, BEST, WORST = 4, 4, 4  # queries of a sheet
SEARCHED = 2_000  # labelled cells among which the best and the worst are looked for
_TEXT, _FOUND_TEXT = 80, 160  # characters beside a tile, and of a text that was found
WHAT = "neighbours"  # the sprite's file begins so


@dataclass(frozen=True)
class _Searched:
    """Queries (n,) with their k nearest neighbours: rows (n, k), -1 for none, cosines, and which of them are right.

    expected (n,): a right answer of each query, shown where none of its neighbours is right; -1 for none. rank (n,): of
    the first right one, from 1, infinity where it is not known.
    """

    queries: Ids
    rows: Ids
    cosines: Values
    right: np.ndarray[Any, np.dtype[np.bool_]]
    expected: Ids
    rank: Values


def contact_sheet(task: Task, predictions: Predictions, seed: int) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the sheet of a task whose queries, documents or training cells are pictures, and the file of its tiles.

    {"file", "tile", "columns", "rows", "kind", "searched", "of", "groups": [{"name", "queries": [{"tile", "text",
    "right", "rank", "expected", "found": [{"tile", "text", "right", "score"}]}]}]}; ({}, {}) for other tasks. Groups:
    queries drawn by the seed; the best, whose first neighbour is right; the worst, with a wrong one. Best and worst are
    of different classes, as long as there are any. The same vectors give the same sheet.

    Labels: neighbours are training cells, or the other cells where no metric looks at training cells ("among":
    "cells"), right where they are of the query's class; the best have most of these, the worst fewest, and of equally
    many the nearer neighbours go first. Retrieval: neighbours are documents, right where they are relevant; the worst
    are those whose first right one comes latest. Either side may be texts, which have no tile.

    When not to use it: to judge a model. Twelve queries are an impression.
    """
    if not isinstance(task, Labels | Retrieval) or (predictions.ranking is None and not predictions.vectors):
        return {}, {}
    (queries, documents), labels = _columns_and_labels(task, predictions)
    kinds = {column_kind(queries), column_kind(documents)}
    if "image" not in kinds or not kinds <= {"image", "text"}:
        return {}, {}
    found = _labelled(task, predictions, seed) if isinstance(task, Labels) else _ranked(task, predictions)
    if found is None:
        return {}, {}
    groups = _groups(found, task.labels if isinstance(task, Labels) else None, seed)
    tiles = _Tiles((queries, documents), task, labels)
    content = [
        {"name": name, "queries": [tiles.query(found, place) for place in places]}
        for name, places in groups.items()
        if places
    ]
    if (made := sprite(tiles.pictures())) is None:
        return {}, {}
    facts: dict[str, Any] = {"kind": "labels" if isinstance(task, Labels) else "retrieval", "groups": content}
    facts |= {"searched": len(found.queries), "of": len(queries)}
    if labels and documents is queries:
        facts["among"] = "cells"
    return {**made.layout(WHAT), **facts}, {made.file(WHAT): made.data}


class _Tiles:
    """The tiles of a sheet, numbered as they are asked for: a picture that is shown twice has one tile."""

    def __init__(
        self, columns: tuple[Column, Column], task: Labels | Retrieval, labels: tuple[Ids, Ids] | None
    ) -> None:
        self.columns, self.task, self.labels = columns, task, labels
        self.places: dict[tuple[int, int], int] = {}

    def query(self, found: _Searched, place: int) -> dict[str, Any]:
        """Return one query with its neighbours for a reader."""
        row, right = int(found.queries[place]), found.right[place]
        neighbours = zip(found.rows[place].tolist(), found.cosines[place].tolist(), right.tolist())
        shown: dict[str, Any] = {"tile": self._tile(0, row), "text": self._text(0, row), "right": int(right.sum())}
        shown["rank"] = int(found.rank[place]) if np.isfinite(found.rank[place]) else None
        if (expected := int(found.expected[place])) >= 0 and not right.any():
            shown["expected"] = {"tile": self._tile(1, expected), "text": self._text(1, expected)}
        shown["found"] = [
            {"tile": self._tile(1, of), "text": self._text(1, of), "right": is_right, "score": round(cosine, 4)}
            for of, cosine, is_right in neighbours
            if of >= 0
        ]
        return shown

    def _tile(self, column: int, row: int) -> int | None:
        if column_kind(self.columns[column]) != "image":
            return None
        return self.places.setdefault((column, row), len(self.places))

    def _text(self, column: int, row: int) -> str:
        if isinstance(self.task, Labels) and self.labels is not None:
            return self.task.classes[int(self.labels[column][row])][:_TEXT]
        if column_kind(self.columns[column]) == "image":
            return ""
        return shown_texts(self.columns[column], [row], (_TEXT, _FOUND_TEXT)[column])[0]

    def pictures(self) -> list[Picture]:
        """Return the pictures of all tiles, in order."""
        read: list[dict[int, Picture]] = []
        for number, column in enumerate(self.columns):
            rows = np.unique(np.array([row for at, row in self.places if at == number], np.int64))
            read.append(dict(zip(rows.tolist(), take(column, rows))) if len(rows) else {})
        return [np.asarray(read[number][row]) for number, row in self.places]


def _columns_and_labels(
    task: Labels | Retrieval, predictions: Predictions
) -> tuple[tuple[Column, Column], tuple[Ids, Ids] | None]:
    """Return the queries and what they find, with the labels of both, if any: training cells, unless none is there."""
    if isinstance(task, Retrieval):
        return (task.queries, task.documents), None
    if "train" in predictions.vectors:
        return (task.cells, task.train), (task.labels, task.train_labels)
    return (task.cells, task.cells), (task.labels, task.labels)


def _labelled(task: Labels, predictions: Predictions, seed: int) -> _Searched | None:
    """Return labelled cells, at most 2,000 drawn by the seed, with the cells that are nearest to them."""
    if "cells" not in predictions.vectors:
        return None
    labels = task.train_labels if "train" in predictions.vectors else task.labels
    n = len(task.cells)
    chosen = np.arange(n)
    if n > SEARCHED:
        chosen = np.sort(np.random.default_rng(seed).choice(n, SEARCHED, replace=False))
    among = predictions.vectors.get("train", predictions.vectors["cells"])
    own = (np.arange(len(chosen)), chosen) if labels is task.labels else None  # no cell is its own neighbour
    ranking = topk(predictions.vectors["cells"][chosen], among, NEIGHBOURS, excluded=own)
    right = (labels[ranking.rows] == task.labels[chosen, None]) & (ranking.rows >= 0)
    classes, first = np.unique(labels, return_index=True)
    example = np.full(len(task.classes), -1)
    example[classes] = first
    rank = np.where(right.any(1), right.argmax(1) + 1.0, np.inf)
    expected = example[task.labels[chosen]]
    expected = np.where(expected == chosen, -1, expected) if own else expected
    return _Searched(chosen, ranking.rows, ranking.scores.astype(np.float64), right, expected, rank)


def _ranked(task: Retrieval, predictions: Predictions) -> _Searched | None:
    """Return all queries with their first documents."""
    if predictions.ranking is None:
        return None
    most = NEIGHBOURS if column_kind(task.documents) == "image" else TEXTS
    rows = np.asarray(predictions.ranking.rows[:, :most])
    cosines = np.asarray(predictions.ranking.scores[:, :most], np.float64)
    right = np.array(
        [[task.relevance[q].get(row, 0) > 0 for row in found] for q, found in enumerate(rows.tolist())], bool
    ).reshape(rows.shape)
    expected = [max(grades, key=lambda row: (grades[row], -row)) for _, grades in sorted(task.relevance.items())]
    rank = np.array([first_relevant(task, predictions.ranking, query) for query in range(len(rows))])
    return _Searched(np.arange(len(rows)), rows, cosines, right, np.array(expected, np.int64), rank)


def _groups(found: _Searched, classes: Ids | None, seed: int) -> dict[str, list[int]]:
    """Return the places of the queries of each group; a query is in one group alone."""
    n = len(found.queries)
    drawn = np.sort(np.random.default_rng(seed).choice(n, min(DRAWN, n), replace=False)).tolist()
    nearest = np.where(found.rows >= 0, found.cosines, 0.0).mean(1)  # (n,)
    if classes is None:  # of one relevant document there is one right neighbour at most: its rank counts
        best = np.lexsort((-found.cosines[:, 0], found.rank))
        worst = np.lexsort((-found.cosines[:, 0], -found.rank))
        failed = found.rank > 1
    else:
        best = np.lexsort((-nearest, -found.right.sum(1)))
        worst = np.lexsort((-nearest, found.right.sum(1)))
        failed = found.right.sum(1) < found.right.shape[1]
    of = None if classes is None else classes[found.queries]
    bad = _different(worst[failed[worst]].tolist(), of, drawn, WORST)
    good = _different(best[(found.rank <= 1)[best]].tolist(), of, [*drawn, *bad], BEST)
    return {"drawn": drawn, "best": good, "worst": bad}


def _different(order: Sequence[int], classes: Ids | None, taken: Sequence[int], most: int) -> list[int]:
    """Return the first places of an order that are not taken, of classes that differ as long as there are any."""
    free = [place for place in order if place not in set(taken)]
    if classes is None:
        return free[:most]
    first: dict[int, int] = {}
    for place in free:
        first.setdefault(int(classes[place]), place)
    return [*first.values(), *(place for place in free if place not in set(first.values()))][:most]
