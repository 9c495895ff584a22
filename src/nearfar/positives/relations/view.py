"""The views of a batch, from the list of them that a recipe gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nearfar.abilities import rest_of
from nearfar.column import content_id
from nearfar.contracts import Augmentation, StreamedAugmentation
from nearfar.errors import InputError
from nearfar.positives.relations.known import KEY_SIDE, QUERY_SIDE
from nearfar.registry import name_of


@dataclass(frozen=True)
class ViewEntry:
    """One entry of `positives.views`: `times` views, each changed by the augmentation anew; None leaves the cell.

    side: what the views are in a batch: queries, keys, or both. An augmentation that can give the rest of a cell, too
    (`abilities.Complement`), makes two views, whatever is said here: a query of its own and a key of the rest.
    """

    augmentation: Augmentation | None = None
    times: int = 1
    side: Literal["both", "query", "key"] = "both"


SIMCSE = ({"side": "query"}, {"side": "key"})  # one text twice: the encoder's dropout makes the two differ


@dataclass(frozen=True)
class BatchView:
    """A view of the batch. salt: its items are content ids ^ salt, so that views of one content are different items.

    rest: what gives the other half of a query view that is one half of its cells; it is a key view.
    """

    name: str
    augmented: StreamedAugmentation | None
    is_query: bool
    is_key: bool
    salt: int
    rest: StreamedAugmentation | None = None


def batch_views(entries: Sequence[ViewEntry]) -> list[BatchView]:
    """Return the views of a batch in the order of the entries, named by side: "query", "key", "view", or "view 2".

    Errors: `InputError` for no entry, `times` below 1, a query without another view as key, `times` or a side beside an
    augmentation that makes both views.
    """
    found: list[tuple[str, StreamedAugmentation | None, StreamedAugmentation | None]] = []  # side, augmentation, rest
    stream = 0
    for i, entry in enumerate(entries):
        _check(entry, f"positives.views.{i}")
        for _ in range(entry.times):
            augmented = None if entry.augmentation is None else StreamedAugmentation(entry.augmentation, stream)
            if (rest := rest_of(entry.augmentation)) is not None:
                other_half = StreamedAugmentation(rest, stream)
                found += [("query", augmented, other_half), ("key", other_half, None)]
            else:
                found.append((entry.side, augmented, None))
            stream += 1
    sides = [side for side, *_ in found]
    queries, keys = ({i for i, side in enumerate(sides) if side != other} for other in ("key", "query"))
    if not queries or any(not keys - {query} for query in queries):
        have = ", ".join(sides) or "none"
        raise InputError(
            f"positives.views: each query view needs another view as its key, there are views of side {have}; give "
            "times: 2, or a view with side: query and one with side: key"
        )
    first_query, first_key = min(queries), min(keys - {min(queries)})
    salts = {first_query: QUERY_SIDE, first_key: KEY_SIDE}
    return [
        BatchView(_name(sides, i), augmented, i in queries, i in keys, salts.get(i, content_id(f"view {i}")), rest)
        for i, (_, augmented, rest) in enumerate(found)
    ]


def _check(entry: ViewEntry, where: str) -> None:
    if entry.times < 1:
        raise InputError(f"{where}.times is a number of views, at least 1; it is {entry.times}")
    if entry.side not in ("both", "query", "key"):
        raise InputError(f"{where}.side must be both, query or key; it is {entry.side!r}")
    if rest_of(entry.augmentation) is not None and (entry.times, entry.side) != (1, "both"):
        raise InputError(
            f"{where}: {name_of(type(entry.augmentation))} makes two views, a query and its rest as the key; leave out "
            "times and side"
        )


def _name(sides: Sequence[str], i: int) -> str:
    """Return the name of view i: by its side, with a number from the second of that side on."""
    number = sides[: i + 1].count(sides[i])
    stem = "view" if sides[i] == "both" else sides[i]
    return stem if number == 1 else f"{stem} {number}"
