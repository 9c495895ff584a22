"""The first table of a run whose search was judged: on each split the search beside the strongest BM25 and the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nearfar.evaluation.verdict import in_order
from nearfar.figures import VECTORS, finite, label_of, mapping, outcome

BY_WORDS = ("bm25", "bm25-stems")  # the baselines of which the strongest is shown first


@dataclass(frozen=True)
class OnSplit:
    """The search on one split by one metric; value and interval are its own.

    others: of each column of `Searched`, the other system's value, and the difference to it.
    """

    split: str
    value: float | None
    interval: Mapping[str, Any]
    others: Sequence[tuple[float | None, Mapping[str, Any]]]


@dataclass(frozen=True)
class Searched:
    """A metric and the splits by it. labels: of the other systems, the strongest BM25 first, the vectors last."""

    metric: str
    labels: Sequence[str]
    splits: Sequence[OnSplit]


def searched(reports: Mapping[str, Mapping[str, Any]]) -> Searched | None:
    """Return the first table, of the JSON of a search's reports by split; None where nothing was judged.

    The metric is the one of the first split's verdict. The strongest BM25 is the one that is best on that split.
    """
    known = {split: report for split, report in reports.items() if mapping(report.get("metrics"))}
    if not known:
        return None
    first = next(iter(known.values()))
    metric = next(iter(in_order(first["metrics"])), None)
    if metric is None:
        return None
    baselines = mapping(first.get("baseline"))

    def strength(name: str) -> float:
        return finite(mapping(baselines[name]).get(metric)) or 0.0

    words = sorted((name for name in BY_WORDS if name in baselines), key=strength, reverse=True)
    names = [*words, *(name for name in baselines if name not in (*BY_WORDS, VECTORS))]
    names += [VECTORS] if VECTORS in baselines else []
    splits = [_on_split(split, report, metric, names) for split, report in known.items()]
    return Searched(metric, [label_of(name, mapping(first.get("protocol"))) for name in names], splits)


def _on_split(split: str, report: Mapping[str, Any], metric: str, names: Sequence[str]) -> OnSplit:
    others = []
    for name in names:
        theirs = finite(mapping(mapping(report.get("baseline")).get(name)).get(metric))
        gap = mapping(mapping(mapping(report.get("difference")).get(name)).get(metric))
        others.append((theirs, gap | {"outcome": outcome(gap)}))
    own = finite(mapping(report.get("metrics")).get(metric))
    return OnSplit(split, own, mapping(mapping(report.get("intervals")).get(metric)), others)
