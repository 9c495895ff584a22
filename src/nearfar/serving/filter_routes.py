"""What filters leave: values of fields with their counts, and which condition it is that leaves no row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field, StringConstraints
from starlette.concurrency import run_in_threadpool

from nearfar.index.filters import And, Filter, fields_of, written
from nearfar.index.index import Index
from nearfar.index.parse_filter import parse
from nearfar.serving.errors import responses
from nearfar.serving.fields import Body

MOST_VALUES = 50  # of a field that is offered as a filter
MOST_CONDITIONS = 50
_MOST_KEPT = 1000  # counts
Where = Annotated[str, StringConstraints(min_length=1, max_length=20_000)]


class FacetRequest(Body):
    """Conditions that all hold, each in the words of a search's `where`."""

    conditions: Annotated[list[Where], Field(max_length=MOST_CONDITIONS)] = Field(default_factory=list)


class ConditionCount(BaseModel):
    """A condition, the rows that meet it alone, and those that would be left without it."""

    where: str
    alone: int
    without: int


class ValueCount(BaseModel):
    """A value of a field, and how many rows have it."""

    value: str | int | float | bool
    count: int


class Facet(BaseModel):
    """A field of few values. Its counts are of rows that meet all conditions but those on this field alone."""

    field: str
    kind: str
    values: list[ValueCount]


class Facets(BaseModel):
    """How many rows there are, how many meet all conditions, and what each condition and value would leave."""

    rows: int
    matching: int
    conditions: list[ConditionCount]
    facets: list[Facet]


class RowCounts:
    """Counts of an index's rows in one state of it, each counted once. Threads may share it."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._counts: dict[str, int] = {}
        self._values: dict[tuple[str, str], dict[Any, int] | None] = {}

    def __len__(self) -> int:
        return len(self._counts) + len(self._values)

    def count(self, where: Filter) -> int:
        """Return how many rows meet a filter."""
        key = written(where)
        if key not in self._counts:
            self._counts[key] = self._index.count(where)
        return self._counts[key]

    def values(self, field: str, where: Filter) -> dict[Any, int] | None:
        """Return how many of the rows that meet a filter have each value of a field; None where values are many."""
        key = field, written(where)
        if key not in self._values:
            self._values[key] = self._index.value_counts(field, where, most=MOST_VALUES)
        return self._values[key]


class KeptCounts:
    """The counts of an index as it is now, kept until something is written to it."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._kept = "", RowCounts(index)  # with the digest of the rows

    @contextmanager
    def now(self) -> Iterator[RowCounts]:
        """Give the counts of the rows as they are now. What was counted while another wrote is not kept."""
        digest, (of, counts) = self._index.description.digest, self._kept
        if digest != of or len(counts) > _MOST_KEPT:
            counts = RowCounts(self._index)
        yield counts
        is_same = self._index.description.digest == digest
        self._kept = (digest, counts) if is_same else ("", RowCounts(self._index))


def router(index: Index) -> APIRouter:
    """Return the route."""
    routes, kept = APIRouter(tags=["index"]), KeptCounts(index)

    @routes.post("/facets", response_model=Facets, responses=responses())
    async def facets(request: FacetRequest) -> Facets:
        """Count rows by the values of their fields, and by each of some conditions."""
        return await run_in_threadpool(_kept_or_counted, index, kept, request.conditions)

    return routes


def _kept_or_counted(index: Index, kept: KeptCounts, conditions: Sequence[str]) -> Facets:
    with kept.now() as counts:
        return _counted(index, counts, conditions)


def _counted(index: Index, counts: RowCounts, conditions: Sequence[str]) -> Facets:
    fields = index.fields
    given = [parse(each, fields) for each in conditions]
    rows, matching = counts.count(And(())), counts.count(And(tuple(given)))
    each = [
        ConditionCount(where=text, alone=counts.count(one), without=counts.count(And((*given[:i], *given[i + 1 :]))))
        for i, (text, one) in enumerate(zip(conditions, given))
    ]
    found = []
    for name, kind in fields.items():
        among = counts.values(name, And(()))
        if not among or list(among.values()) == [rows]:  # many values, none, or the same one everywhere
            continue
        others = And(tuple(one for one in given if fields_of(one) != {name}))
        left = counts.values(name, others) or {}
        values = [ValueCount(value=value, count=left.get(value, 0)) for value in among]
        values.sort(key=lambda one: -one.count)
        found.append(Facet(field=name, kind=kind, values=values))
    return Facets(rows=rows, matching=matching, conditions=each, facets=found)
