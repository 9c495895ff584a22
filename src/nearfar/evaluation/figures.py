"""Numbers and sizes of a report in words: a value, an interval, a difference, and how much a task holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

DIGITS = 3
MOST_DIGITS = 6
ALL_BUT_ONE = 1 - 0.5 * 10**-DIGITS  # from here on three digits show 1.000
_TITLES = {"mrr": "MRR", "ndcg": "nDCG", "map": "MAP"}
_SIZES = {
    "queries": "query",
    "documents": "document",
    "cells": "cell",
    "training cells": "training cell",
    "classes": "class",
    "pairs": "pair",
    "dev pairs": "dev pair",
}  # with their singular: the sizes of a task in its protocol, in the order in which they are said
ROWS = ("queries", "cells", "pairs")  # what is judged, one of these in each kind of task
SEEN = "documents seen in training"


def finite(value: Any) -> float | None:
    """Return a number that is finite; None for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def title(metric: str) -> str:
    """Return a metric's name as papers write it: MRR@10."""
    name, at, depth = metric.partition("@")
    return _TITLES.get(name, name) + at + depth


def counted(count: int, what: str) -> str:
    """Return a count with its noun: "1 query", "1,204 documents"; `what`: the plural, as the protocol has it."""
    return f"{count:,} {_SIZES.get(what, what.removesuffix('s')) if count == 1 else what}"


def sizes(protocol: Mapping[str, Any]) -> str:
    """Return the sizes of a task from its protocol: "312 queries, 1,204 documents (963 seen in training)".

    What the protocol does not know is not mentioned. An empty text for a protocol without sizes.
    """
    found = []
    for what in _SIZES:
        count = protocol.get(what)
        if isinstance(count, int):
            found.append(counted(count, what) + (_seen(protocol, count) if what == "documents" else ""))
    return ", ".join(found)


def _seen(protocol: Mapping[str, Any], documents: int) -> str:
    seen = protocol.get(SEEN)
    if not isinstance(seen, int):
        return ""
    how_many = "none" if seen == 0 else "all" if seen == documents else f"{seen:,}"
    return f" ({how_many} seen in training)"


def number(value: float | None, digits: int = DIGITS, *, sign: bool = False) -> str:
    """Return a number with so many digits, "-" for none; what is below 1 is never shown as 1.000."""
    if value is None:
        return "-"
    if not sign and digits == DIGITS and ALL_BUT_ONE <= value < 1:
        return ">0.999"
    return f"{value:{'+' if sign else ''}.{digits}f}"


def bounds(interval: Mapping[str, Any] | None, *, sign: bool = False) -> str:
    """Return an interval as "[0.690, 0.735]", with more digits where both bounds would look alike.

    An empty text for none, and for one without width: it comes from rows that are all alike, as where every query is
    answered, and would look like certainty.
    """
    found = pair_of(interval)
    if found is None or found[1] - found[0] < 10**-MOST_DIGITS:
        return ""
    low, high = found
    alike = (d for d in range(DIGITS, MOST_DIGITS) if f"{low:.{d}f}" != f"{high:.{d}f}")
    digits, plus = next(alike, MOST_DIGITS), "+" if sign else ""
    return f"[{low:{plus}.{digits}f}, {high:{plus}.{digits}f}]"


def pair_of(interval: Mapping[str, Any] | None) -> tuple[float, float] | None:
    """Return the two bounds of an interval; None where one is missing or not finite."""
    low, high = (finite((interval or {}).get(key)) for key in ("low", "high"))
    return None if low is None or high is None else (low, high)


def outcome(interval: Mapping[str, Any] | None) -> str:
    """Return what the interval of a difference allows to say: better, worse, undecided; unknown without one."""
    found = pair_of(interval)
    if found is None:
        return "unknown"
    return "better" if found[0] > 0 else "worse" if found[1] < 0 else "undecided"


def difference(gap: Mapping[str, Any]) -> str:
    """Return a difference with its sign and interval, "+0.021 [+0.008, +0.034]"."""
    return f"{number(finite(gap.get('value')), sign=True)} {bounds(gap, sign=True)}".rstrip()


def distance(gap: Mapping[str, Any]) -> str:
    """Return a difference that excludes zero without its sign, "0.021 [0.008, 0.034]"; no number of it shows as 0."""
    found = pair_of(gap)
    value = abs(finite(gap.get("value")) or 0.0)
    if found is None:
        return number(value)
    low, high = sorted(map(abs, found))
    shown = [one for one in (value, low, high) if one]
    apart = (d for d in range(DIGITS, MOST_DIGITS) if all(round(one, d) for one in shown))
    digits = next(apart, MOST_DIGITS)
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
