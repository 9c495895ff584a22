"""A model and its baselines by one metric, with what sentences call them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nearfar.evaluation.figures import ROWS, SEEN, bounds, counted, finite, number, outcome, title

START = "start"  # the name, in a report, of the model that training began from
CORRELATIONS = ("spearman", "pearson")  # of all rows together, so that no row of them fails
FEW = 30  # independent rows; with fewer, their number is the reason why there is no interval
RULE_OF_THREE = 3  # n rows without a failure: 95 % certain that fewer than 3/n fail (Hanley & Lippman-Hand 1983)


@dataclass(frozen=True)
class Rival:
    """A baseline by one metric: its name, what sentences call it, its value, the difference of the model to it."""

    name: str
    label: str
    theirs: float
    gap: Mapping[str, Any]

    @property
    def outcome(self) -> str:
        """What the interval of the difference allows to say of the model: better, worse, undecided, unknown."""
        return outcome(self.gap)


@dataclass(frozen=True)
class Ours:
    """The model by one metric, and the task's facts, in words."""

    metric: str
    value: float
    interval: Mapping[str, Any]
    protocol: Mapping[str, Any]

    @property
    def figure(self) -> str:
        """The metric with its interval, "MRR@10 0.713 [0.690, 0.735]"."""
        return f"{title(self.metric)} {number(self.value)} {bounds(self.interval)}".rstrip()

    @property
    def rows(self) -> str:
        """The plural of what is judged: queries."""
        return next((what for what in ROWS if what in self.protocol), "rows")

    @property
    def independent(self) -> int | None:
        """The number of rows, or of groups of them, that are independent of each other."""
        clusters = self.protocol.get("clusters")
        return clusters if isinstance(clusters, int) else None

    @property
    def among(self) -> str:
        """Among how many documents, where some of them were seen in training."""
        documents, seen = self.protocol.get("documents"), self.protocol.get(SEEN)
        if not isinstance(documents, int) or not isinstance(seen, int) or not seen:
            return ""
        which = "all of which were" if seen == documents else f"of which {seen:,} {'was' if seen == 1 else 'were'}"
        return f", among {counted(documents, 'documents')}, {which} seen in training"

    @property
    def caution(self) -> str:
        """What a value of 1 does not mean."""
        n, rows = self.independent, self.protocol.get(self.rows)
        if self.value != 1 or n is None or bounds(self.interval):
            return ""
        if self.metric in CORRELATIONS or not isinstance(rows, int):
            return f" {number(self.value)} is no certainty."
        others = f": of others up to {RULE_OF_THREE / n:.1%} may fail" if n > RULE_OF_THREE else ""
        return f" None of the {counted(rows, self.rows)} failed, which is no certainty{others}."

    @property
    def too_few(self) -> str:
        """Why there is no interval."""
        n, rows = self.independent, self.protocol.get(self.rows)
        why = self.protocol.get("intervals") or mapping(self.protocol.get("interval")).get("note")
        if n is not None and n < FEW:
            if isinstance(rows, int) and rows != n:
                return f"only {n:,} independent {'group' if n == 1 else 'groups'} of {counted(rows, self.rows)}"
            return "only 1 row" if n == 1 else f"only {n:,} independent {self.rows}"
        return why if isinstance(why, str) else "there is no interval"


def rivals_of(report: Mapping[str, Any], metric: str) -> list[Rival]:
    """Return the baselines that have a value of the metric."""
    protocol, ours = mapping(report.get("protocol")), float(report["metrics"][metric])
    rivals = []
    for name, numbers in mapping(report.get("baseline")).items():
        theirs = finite(mapping(numbers).get(metric))
        if theirs is None:
            continue
        gap = mapping(mapping(mapping(report.get("difference")).get(name)).get(metric))
        if finite(gap.get("value")) is None:
            gap = {**gap, "value": ours - theirs}
        rivals.append(Rival(name, _spoken(name, protocol), theirs, gap))
    return rivals


def _spoken(name: str, protocol: Mapping[str, Any]) -> str:
    """Return what sentences call a baseline."""
    if name != START:
        return name
    began_from = mapping(mapping(protocol.get("baselines")).get(START)).get("name")
    return f"the model it began from ({began_from})" if began_from else "the model it began from"


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping; an empty one for anything else, as results may lack any part."""
    return value if isinstance(value, Mapping) else {}
