"""Pairs of sentences with similarity scores from people, such as the STS benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nearfar import tasks
from nearfar.column import Column, content_ids
from nearfar.data.table import Table
from nearfar.errors import InputError, nearest


class Similarity:
    """A similarity task from a table with the columns `sentence1`, `sentence2` and `score`, or others that are named.

    `path` is whatever a Table reads, or a Table. The original files of the STS benchmark (TABs, no header) are
    recognized by their first row. Of a path with several splits, the rows of "test" are taken, where there is one.

    Errors: InputError: those of Table; a missing column; scores that are all equal and so give no order.

        task = Similarity("sts-test.csv.gz").task()
        len(task.scores)  # 1379
    """

    def __init__(
        self,
        path: str | Path | list[dict[str, Any]] | Any,
        first: str | None = None,
        second: str | None = None,
        score: str | None = None,
    ) -> None:
        table = path if isinstance(path, Table) else Table(path)
        self._table = table.split("test") if not isinstance(path, Table) and "test" in table.splits else table
        self._names = {"first": first or "sentence1", "second": second or "sentence2", "score": score or "score"}
        for role, name in self._names.items():
            if name not in self._table.columns:
                raise InputError(
                    f"{self._table.where()}: no column {name!r} for the {role}; name it with {role}=...; "
                    f"{nearest(name, self._table.columns)}"
                )

    def task(self) -> tasks.Similarity:
        """Return the pairs and scores, (n,) each; pairs that share a sentence, directly or not, are a cluster."""
        first, second = self._table.text(self._names["first"]), self._table.text(self._names["second"])
        scores = self._table.numbers(self._names["score"])  # (n,)
        if np.ptp(scores) == 0:
            raise InputError(
                f"{self._table.where()}, column {self._names['score']!r}: all {len(scores)} scores are {scores[0]:g}, "
                "which puts the pairs in no order; name another column"
            )
        clusters = _clusters(first, second)
        return tasks.Similarity(
            name=Path(self._table.where()).name.partition(".")[0],
            first=first,
            second=second,
            scores=scores,
            clusters=clusters,
            notes={"pairs": len(scores), "clusters": int(clusters.max()) + 1},
        )


def _clusters(first: Column, second: Column) -> npt.NDArray[np.int64]:
    """Return the connected component of each pair, (n,), in the graph whose edges join a pair's two sentences."""
    ids = np.concatenate([content_ids(first), content_ids(second)])  # (2n,)
    sentences, nodes = np.unique(ids, return_inverse=True)  # (2n,)
    left, right = np.split(nodes, 2)  # (n,) each
    graph = coo_array((np.ones(len(left), bool), (left, right)), shape=(len(sentences), len(sentences)))
    component = connected_components(graph, directed=False)[1]
    return np.unique(component[left], return_inverse=True)[1].astype(np.int64)
