"""An approximate index by what it finds: its search looks further until the asked recall is measured."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import blake2b
from heapq import nsmallest
from typing import Any

import numpy as np

from nearfar.errors import InputError
from nearfar.index.backend import Backend
from nearfar.index.backends.approximate import Effort
from nearfar.index.rows import Nearest, Vectors

K = 10  # of recall@k
_QUERIES = 400  # of which 1 row in 4,000 found less or more is the last digit of a recall
_TIMED = 50  # of these, one by one
_FIRST, _GROWTH = 16, 1.5  # the least effort that is tried of a list of candidates, and how it grows
_IDLE = 10  # times the effort for the same recall: more will not help
Say = Callable[[str], object]


@dataclass(frozen=True)
class RecallQueries:
    """Rows as queries: each looks for its K nearest others, as they are found when all are compared.

    Those rows are taken whose ids have the lowest hashes. It is a fair draw, and the same one as long as these rows are
    there, so that a later measurement differs by what has become of the index and not by chance. Rows are used as they
    are and left out of their own answers, not changed a little at random: random directions lead away from where
    rows lie, and how far is like a query would be a guess. What this cannot tell: queries of another kind than the
    rows (short questions for long passages) lie further from them, and may need more effort.
    """

    ids: Sequence[str]
    vectors: Vectors  # (n, d)
    truth: Sequence[Nearest]

    @classmethod
    def of(cls, backend: Backend) -> RecallQueries:
        """Draw one. Errors: `InputError` where there are too few rows to look for."""
        ids = backend.ids()
        if len(ids) <= K:
            raise InputError(f"approximate: {len(ids)} rows are too few to measure recall@{K}; an exact search is best")
        chosen = nsmallest(_QUERIES, ids, key=lambda name: blake2b(name.encode(), digest_size=8).digest())
        vectors = backend.vectors(chosen)
        return cls(chosen, vectors, _others(chosen, backend.nearest(vectors, K + 1)))

    def recall(self, backend: Backend, settings: Mapping[str, Any]) -> float:
        """Return recall@K of a search by settings; rows of equal scores count alike."""
        found = _others(self.ids, backend.nearest(self.vectors, K + 1, approximate=settings))
        hits = sum(int((one.scores >= best.scores[-1]).sum()) for one, best in zip(found, self.truth))
        return hits / (K * len(self.ids))

    def milliseconds(self, backend: Backend, settings: Mapping[str, Any]) -> tuple[float, float]:
        """Return the median time of one query by settings, and by comparing every row; they take turns."""
        spent: tuple[list[float], list[float]] = ([], [])
        for query in self.vectors[:_TIMED, None]:  # (1, d)
            for each, times in zip((settings, None), spent):
                began = time.perf_counter()
                backend.nearest(query, K, approximate=each)
                times.append(1000 * (time.perf_counter() - began))
        return statistics.median(spent[0]), statistics.median(spent[1])


def build_to_recall(backend: Backend, settings: Mapping[str, Any], asked: float, say: Say) -> dict[str, Any]:
    """Build an approximate index and return what was measured: its settings with the least effort of the asked recall.

    Errors: `InputError`, and there is no approximate index afterwards, where no effort reaches it.
    """
    effort = backend.effort(settings)
    sample = RecallQueries.of(backend)
    began = time.perf_counter()
    backend.build_approximate(effort.settings)
    say(f"{effort.settings['name']} built in {time.perf_counter() - began:,.1f} s")
    tried: dict[int, float] = {}
    try:
        for value in _efforts(effort, backend.count()):
            chosen = {**effort.settings, effort.name: value}
            tried[value] = sample.recall(backend, chosen)
            say(f"{effort.name} {value:,}: recall@{K} {tried[value]:.4f}")
            if tried[value] >= asked:
                return _measured(sample, backend, chosen, tried[value], asked)
            if any(_IDLE * before <= value and recall == tried[value] for before, recall in tried.items()):
                break
    except BaseException:
        backend.drop_approximate()
        raise
    backend.drop_approximate()
    value, best = max(tried.items(), key=lambda item: (item[1], -item[0]))
    raise InputError(
        f"approximate: {effort.settings['name']} finds at most {best:.4f} of the {K} nearest rows ({effort.name} "
        f"{value:,}), {asked} is asked; searches stay exact: build it finer, ask for less, or take another index"
    )


def measured_again(backend: Backend, before: Mapping[str, Any]) -> dict[str, Any]:
    """Measure once more what `build_to_recall` has measured. Errors: `InputError` for settings that are damaged."""
    sample, settings = RecallQueries.of(backend), backend.effort(before["settings"]).settings
    return _measured(sample, backend, settings, sample.recall(backend, settings), before["asked"])


def recall_problems(measured: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with an approximate search, in words."""
    if measured["recall"] >= measured["asked"]:
        return []
    name = measured["settings"]["name"]
    return [
        f"{name} finds {measured['recall']:.4f} of the {K} nearest rows, {measured['asked']} was asked; rows have "
        f"changed since: run nearfar index approximate INDEX {name}"
    ]


def _measured(
    sample: RecallQueries, backend: Backend, settings: Mapping[str, Any], recall: float, asked: float
) -> dict[str, Any]:
    own, exact = sample.milliseconds(backend, settings)
    of_search = {"milliseconds": round(own, 3), "exact_milliseconds": round(exact, 3)}
    of_recall = {"recall": round(recall, 4), "asked": asked, "k": K, "queries": len(sample.ids)}
    return {"settings": dict(settings), **of_recall, **of_search, "rows": backend.count(), "date": str(date.today())}


def _efforts(effort: Effort, rows: int) -> Iterator[int]:
    """Yield the efforts that are tried: up to the most that there is, or all rows."""
    value, most = effort.least, max(effort.least, min(effort.most, rows))
    if value < _FIRST < most and effort.name.startswith("ef"):  # fewer candidates than are asked for are never kept
        value = _FIRST
    while value < most:
        yield value
        value = math.ceil(value * _GROWTH)
    yield most


def _others(ids: Sequence[str], found: Sequence[Nearest]) -> list[Nearest]:
    """Return the K best of each answer that are not the row itself."""
    others = []
    for name, one in zip(ids, found):
        kept = [place for place, other in enumerate(one.ids) if other != name][:K]
        others.append(Nearest([one.ids[place] for place in kept], one.scores[np.array(kept, int)]))
    return others
