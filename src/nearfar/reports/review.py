"""Likely false negatives: mined texts that may be answers nobody marked, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nearfar.column import Ids
from nearfar.mining.search import MiningResult
from nearfar.reports.run import template

NEAR = 0.05  # as near as the positive: at most this share of its score below it (TopK-PercPos' 95 %)
LOOKED = 10  # times as many as are kept, the nearest, are shown to the second scorer


class SecondScorer(Protocol):
    """Another scorer of pairs: the i-th query with the i-th text, by their texts."""

    name: str

    def __call__(self, queries: Sequence[str], texts: Sequence[str]) -> npt.NDArray[np.floating]:
        """Return the scores (e,)."""
        ...


@dataclass(frozen=True)
class Suspect:
    """A negative that is likely false: scores of the negative and of the query's farthest positive, by each scorer."""

    query: str
    positive: str
    negative: str
    scores: dict[str, tuple[float, float]]  # scorer: of the positive, of the negative
    reason: str  # "both": two scorers find it as near as the positive; "above": it scores above it


@dataclass(frozen=True)
class Review:
    """Suspects, the most suspicious first; `found` counts all of them, `negatives` all that were looked at."""

    suspects: list[Suspect]
    found: int
    negatives: int

    def to_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        return asdict(self)


def review(hard: MiningResult, second: SecondScorer | None = None, *, scorer: str = "model", most: int = 500) -> Review:
    """Return the mined negatives that are likely false, at most `most` of them.

    One is likely false where it scores above the query's lowest-scoring known positive p, or where it scores within 5 %
    of |p| below it and the second scorer, which knows nothing of the first, finds it as near as its own score of p.

    Args:
        hard: what `mine` found; its scores are the first scorer's.
        second: another scorer, such as `Words` (BM25) or a cross-encoder.
        scorer: the first scorer's name.
        most: how many to keep: those that both scorers find near, then by how far above the positive they score.

    When not to use it: as a filter without looking. A model that is not trained yet puts many true negatives above the
    positive.
    """
    mined = hard.mined
    query, place = np.nonzero((mined.rows >= 0) & (mined.farthest >= 0)[:, None])
    score, lowest = mined.scores[query, place].astype(np.float64), mined.lowest[query].astype(np.float64)
    near = np.flatnonzero(score >= lowest - NEAR * np.abs(lowest))
    order = near[np.argsort(lowest[near] - score[near], kind="stable")]
    least = int((score > lowest).sum())
    order = order[: LOOKED * most]
    query, score, lowest = query[order], score[order], lowest[order]
    negative, positive = mined.rows[query, place[order]], mined.farthest[query]
    above = score > lowest
    texts = (hard.queries.texts(query), hard.keys.texts(positive), hard.keys.texts(negative))
    scores: dict[str, npt.NDArray[Any]] = {scorer: np.stack([lowest, score], 1)}
    agrees = np.zeros(len(above), bool)
    if second is not None:
        other = np.stack([second(texts[0], texts[1]), second(texts[0], texts[2])], 1).astype(np.float64)  # (e, 2)
        agrees = (other[:, 1] >= other[:, 0] - NEAR * np.abs(other[:, 0])) & (other[:, 1] != 0)  # 0: no word in common
        scores[second.name] = other
    rows: Ids = np.concatenate([np.flatnonzero(agrees), np.flatnonzero(above & ~agrees)])
    count = least + int((agrees & ~above).sum())
    suspects = [
        Suspect(
            texts[0][i],
            texts[1][i],
            texts[2][i],
            {name: (float(pair[i, 0]), float(pair[i, 1])) for name, pair in scores.items()},
            "both" if agrees[i] else "above",
        )
        for i in rows[:most].tolist()
    ]
    return Review(suspects, count, int((mined.rows >= 0).sum()))


class Bm25Scorer:
    """BM25 as the second scorer, over the keys of what was mined."""

    name = "bm25"

    def __init__(self, hard: MiningResult) -> None:
        from nearfar.text.bm25 import Bm25

        self._texts = hard.keys.texts(np.arange(len(hard.keys)))
        self._place = {text: row for row, text in enumerate(self._texts)}
        self._index = Bm25(self._texts)

    def __call__(self, queries: Sequence[str], texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the scores (e,) of the i-th query with the i-th text, which is one of the keys."""
        return self._index.score(queries, np.array([self._place[text] for text in texts], np.int64))


def page(found: Review, *, model: str, data: str, out: str) -> str:
    """Return the HTML page to review suspects on: it loads nothing, and what is decided can be saved as a file.

    Every text is untrusted, and escaped.
    """
    rows = [{"query": s.query, "negative": s.negative, "positive": s.positive} for s in found.suspects]
    return template("review.html.j2").render(found=found, rows=rows, model=model, data=data, out=out)
