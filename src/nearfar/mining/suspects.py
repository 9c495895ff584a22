"""Likely false negatives: mined negatives that may be unmarked positives, for people to review."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from nearfar.column import Ids

if TYPE_CHECKING:  # it brings torch, which takes seconds
    from nearfar.mining.search import MiningResult

MARGIN = 0.05  # a negative is close where it scores at most this share below the positive (TopK-PercPos' 95 %)
MARGINS = ("absolute_margin", "relative_margin")  # bounds that keep what is close to a positive from being negative
SCORED_AGAIN = 10  # the second scorer sees this many times as many negatives as are kept, the closest ones


def review(hard: MiningResult, second: SecondScorer | None = None, *, scorer: str = "model", most: int = 500) -> Review:
    """Return the mined negatives that are likely false, at most `most` of them.

    A negative is likely false where it scores above the query's lowest-scoring known positive, or at most 5 % below
    it, by the first scorer and by the second, which is independent of the first.

    Args:
        hard: the result of `mine`; its scores are the first scorer's.
        second: another scorer, such as `Bm25Scorer` or a cross-encoder.
        scorer: the first scorer's name.
        most: number to keep: those on which both scorers agree first, then by how far they score above the positive.

    When not to use it: as a filter, without reading them. A model that is not trained yet scores many true negatives
    above the positive.
    """
    mined = hard.mined
    query, column = np.nonzero((mined.rows >= 0) & (mined.lowest_positive >= 0)[:, None])
    score = mined.scores[query, column].astype(np.float64)  # (e,)
    lowest = mined.lowest_positive_score[query].astype(np.float64)  # (e,)
    nearest = int(np.argmin(lowest - score)) if len(score) else -1
    closest = (float(lowest[nearest]), float(score[nearest])) if nearest >= 0 else None
    rejected = {name: mined.removed[name] for name in MARGINS if mined.removed.get(name)}
    close = np.flatnonzero(score >= lowest - MARGIN * np.abs(lowest))
    order = close[np.argsort(lowest[close] - score[close], kind="stable")]
    all_above = int((score > lowest).sum())
    order = order[: SCORED_AGAIN * most]
    query, score, lowest = query[order], score[order], lowest[order]
    negative, positive = mined.rows[query, column[order]], mined.lowest_positive[query]
    above = score > lowest
    texts = (hard.queries.texts(query), hard.keys.texts(positive), hard.keys.texts(negative))
    scores: dict[str, npt.NDArray[Any]] = {scorer: np.stack([lowest, score], 1)}
    agrees = np.zeros(len(above), bool)
    if second is not None:
        other = np.stack([second(texts[0], texts[1]), second(texts[0], texts[2])], 1).astype(np.float64)  # (e, 2)
        agrees = other[:, 1] >= other[:, 0] - MARGIN * np.abs(other[:, 0])
        agrees &= other[:, 1] != 0  # 0: no word in common
        scores[second.name] = other
    rows: Ids = np.concatenate([np.flatnonzero(agrees), np.flatnonzero(above & ~agrees)])
    count = all_above + int((agrees & ~above).sum())
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
    return Review(suspects, count, int((mined.rows >= 0).sum()), closest, rejected)


@dataclass(frozen=True)
class Review:
    """Suspects, the most suspicious first; `found` counts all of them, `negatives` all mined negatives.

    closest: the scores of the positive and of the negative that comes nearest to it, of all queries; None without
    negatives. rejected: how many nearer candidates each margin kept from being negatives.
    """

    suspects: list[Suspect]
    found: int
    negatives: int
    closest: tuple[float, float] | None = None
    rejected: dict[str, int] = field(default_factory=dict)

    @property
    def why_none(self) -> str | None:
        """In a sentence or three, why there are no suspects; None where there are some."""
        if self.suspects:
            return None
        said = ["No negative was mined, so none can be false."]
        if self.closest is not None:
            positive, negative = self.closest
            said = [
                f"A suspect scores above the known answer of its query, or at most {MARGIN:.0%} below it with words in "
                "common.",
                f"Of all mined negatives, the one that comes closest scores {negative:.3f}, {positive - negative:.3f} "
                f"below its answer's {positive:.3f}.",
            ]
        for name, count in self.rejected.items():
            option = f"--{name.replace('_', '-')}"
            said.append(
                f"{option} kept {count:,} nearer candidates from being negatives, and so from this page: to look at "
                f"them, mine with --review once more, and {option} lower or left out."
            )
        return " ".join(said)

    def to_json(self) -> dict[str, Any]:
        """Return the review as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Suspect:
    """A pair to decide on: a negative that is likely false, beside the query's lowest-scoring positive, with scores.

    listed: the pair is one that the data lists, and `negative` its key; `positive` is then what it is like, or empty.
    """

    query: str
    positive: str
    negative: str
    scores: dict[str, tuple[float, float]]  # by scorer: of the positive, of the negative
    # "both": both scorers find it close to the positive; "above": it scores above the positive; else in words
    reason: str
    listed: bool = False


class SecondScorer(Protocol):
    """Another scorer of pairs: of the i-th query with the i-th text, by their texts."""

    name: str

    def __call__(self, queries: Sequence[str], texts: Sequence[str]) -> npt.NDArray[np.floating]:
        """Return the scores (e,)."""
        ...


class Bm25Scorer:
    """BM25 as the second scorer, over the keys of a mining result."""

    name = "bm25"

    def __init__(self, hard: MiningResult) -> None:
        from nearfar.text.bm25 import Bm25

        texts = hard.keys.texts(np.arange(len(hard.keys)))
        self._row = {text: row for row, text in enumerate(texts)}
        self._index = Bm25(texts)

    def __call__(self, queries: Sequence[str], texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the scores (e,) of the i-th query with the i-th text, which is one of the keys."""
        return self._index.score(queries, np.array([self._row[text] for text in texts], np.int64))
