"""Pairs of sentences with similarity scores from people, such as the STS benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nearfar import tasks
from nearfar.data.table import Table
from nearfar.data.tables.clusters import pair_clusters
from nearfar.errors import InputError, nearest


class Similarity:
    """A similarity task from a table with the columns `sentence1`, `sentence2` and `score`, or others that are named.

    `path` is whatever a Table reads, or a Table. The original files of the STS benchmark (TABs, no header) are
    recognized by their first row. Of a path with several splits, the rows of "test" are taken, where there is one.

    Errors: `InputError`: those of Table; a missing column; scores that are all equal and so give no order.

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
        clusters = pair_clusters(first, second)
        return tasks.Similarity(
            name=Path(self._table.where()).name.partition(".")[0],
            first=first,
            second=second,
            scores=scores,
            clusters=clusters,
            notes={"pairs": len(scores), "clusters": int(clusters.max()) + 1},
        )
