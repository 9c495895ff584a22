"""A model and its baselines by one metric, with what sentences call them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nearfar.evaluation.intervals import LEAST_CLUSTERS
from nearfar.figures import (
    ROWS,
    SEEN_DOCUMENTS,
    bounds,
    counted,
    finite,
    label_of,
    mapping,
    number,
    outcome,
    title,
)

START = "start"  # the name, in a report, of the model that training began from
UNTRAINED = "untrained"  # and of the network with random weights, where it began from none
BEFORE = (START, UNTRAINED)  # what it was before training


@dataclass(frozen=True)
class BaselineValue:
    """A baseline by one metric: its name, what sentences call it, its value, the difference of the model to it."""

    name: str
    label: str
    value: float
    gap: Mapping[str, Any]

    @property
    def outcome(self) -> str:
        """What the interval of the difference allows to say of the model: better, worse, undecided, unknown."""
        return outcome(self.gap)


@dataclass(frozen=True)
class ModelValue:
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
        documents, seen = self.protocol.get("documents"), self.protocol.get(SEEN_DOCUMENTS)
        if not isinstance(documents, int) or not isinstance(seen, int) or not seen:
            return ""
        which = "all of which were" if seen == documents else f"of which {seen:,} {'was' if seen == 1 else 'were'}"
        return f", among {counted(documents, 'documents')}, {which} seen in training"

    @property
    def kept_start(self) -> bool:
        """Whether it is the model that training began from, as no step of training beat that on validation rows."""
        return mapping(self.protocol.get("training")).get("selected step") == 0

    @property
    def too_few(self) -> str:
        """Why there is no interval of the difference."""
        n, rows = self.independent, self.protocol.get(self.rows)
        why = self.protocol.get("intervals")
        if n is not None and n < LEAST_CLUSTERS:
            if isinstance(rows, int) and rows != n:
                return f"only {n:,} independent {'group' if n == 1 else 'groups'} of {counted(rows, self.rows)}"
            return "only 1 row" if n == 1 else f"only {n:,} independent {self.rows}"
        return why if isinstance(why, str) else "there is no interval of the difference"


def baseline_values(report: Mapping[str, Any], metric: str) -> list[BaselineValue]:
    """Return the baselines that have a value of the metric."""
    protocol, own = mapping(report.get("protocol")), float(report["metrics"][metric])
    found = []
    for name, numbers in mapping(report.get("baseline")).items():
        value = finite(mapping(numbers).get(metric))
        if value is None:
            continue
        gap = mapping(mapping(mapping(report.get("difference")).get(name)).get(metric))
        if finite(gap.get("value")) is None:
            gap = {**gap, "value": own - value}
        found.append(BaselineValue(name, _spoken(name, protocol), value, gap))
    return found


def _spoken(name: str, protocol: Mapping[str, Any]) -> str:
    """Return what sentences call a baseline."""
    if name != START:  # the untrained network has a name of its own
        return label_of(name, protocol)
    began_from = mapping(mapping(protocol.get("baselines")).get(START)).get("name")
    return f"the model it began from ({began_from})" if began_from else "the model it began from"
