"""The search of an index as a system that is judged: what people find in it, beside BM25 and the model's vectors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from nearfar import tasks
from nearfar.column import content_id, content_ids
from nearfar.contracts import Predictions
from nearfar.errors import InputError
from nearfar.index.hybrid import DEPTH, WEIGHTED, Fusion, Hit, Mode
from nearfar.index.index import Index
from nearfar.vectors.ranking import Ranking

_AT_ONCE = 500  # queries of which the hits are held at a time


@dataclass(frozen=True)
class IndexSearch:
    """An index that holds a task's documents, searched as by anyone: by default by words and vectors together.

    A row is the document of its text; of rows with one text the best counts. What a task excludes for a query is left
    out of its hits, where it has taken up a rank. A ranking is DEPTH deep, as deep as a fusion reads words and vectors.

    Call: a task of q queries -> its ranking (q, DEPTH). Errors: `InputError` for a row whose text is no document of the
    task, and those of `Index.search`.

    When not to use it: for an index of passages that are parts of the task's documents.
    """

    index: Index
    mode: Mode = "hybrid"
    fusion: Fusion = field(default_factory=lambda: WEIGHTED)
    takes: ClassVar[tuple[type, ...]] = (tasks.Retrieval,)

    def __call__(self, task: tasks.Retrieval, seed: int) -> Predictions:  # noqa: ARG002  nothing is drawn
        """Return the ranking of the documents for each query."""
        document = {content: row for row, content in enumerate(content_ids(task.documents).tolist())}
        rows_of: dict[str, int] = {}  # of the ids that were found
        rows = np.full((len(task.queries), DEPTH), -1, np.int64)
        scores = np.full(rows.shape, -np.inf, np.float32)
        for start in range(0, len(task.queries), _AT_ONCE):
            queries = task.queries.read(start, min(start + _AT_ONCE, len(task.queries)))
            for query, hits in enumerate(self.index.search(queries, DEPTH, mode=self.mode, fusion=self.fusion), start):
                ranked: dict[int, float] = {}
                for hit in hits:
                    if hit.id not in rows_of:
                        rows_of[hit.id] = _row_of(hit, document, task.name)
                    ranked.setdefault(rows_of[hit.id], hit.score)
                for row in task.excluded.get(query, ()):
                    ranked.pop(row, None)
                rows[query, : len(ranked)], scores[query, : len(ranked)] = list(ranked), list(ranked.values())
        return Predictions(ranking=Ranking(rows, scores), about=self._about())

    def _about(self) -> dict[str, Any]:
        description, fusion = self.index.description, self.fusion if self.fusion == "rrf" else dict(self.fusion)
        return {
            "name": "search of an index",
            "mode": self.mode,
            **({"fusion": fusion} if self.mode == "hybrid" else {}),
            "depth": DEPTH,
            "rows": description.rows,
            "language of its words": description.language or "not recognised",
        }


def _row_of(hit: Hit, document: dict[int, int], task: str) -> int:
    row = None if hit.text is None else document.get(content_id(hit.text))
    if row is None:
        raise InputError(
            f"{task}: the index's row {hit.id!r:.60} is no document of this task; judge an index of the same documents"
        )
    return row
