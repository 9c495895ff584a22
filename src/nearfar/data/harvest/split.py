"""Which rows train and which are held out: whole modules and whole distributions, and nothing that training saw."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nearfar.column import Ids, content_id
from nearfar.data.harvest.arrow_columns import values
from nearfar.text.minhash import PLACES, Signatures, near_duplicates

_SHARE = 10  # at most every tenth row is held out in a split, and none of its groups is larger than that
_ROUNDS = 5  # of guessing how many rows must be taken out for enough to remain
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Groups:
    """Rows in groups (modules, distributions): the group of each row (n,), and the groups' names."""

    of: Ids
    names: list[str]

    @classmethod
    def of_cells(cls, cells: Sequence[str]) -> Groups:
        """Return the groups of equal cells, in order of appearance."""
        number: dict[str, int] = {}
        of = [number.setdefault(cell, len(number)) for cell in cells]
        return cls(np.array(of, np.int64), list(number))

    def choose(self, among: Flags, wanted: int, largest: int, seed: int) -> Flags:
        """Return the rows (n,) of groups that hold about `wanted` of the rows `among`, in order of a seeded hash.

        Groups larger than `largest` are chosen only where the smaller ones do not hold enough, and none that holds
        more than a tenth of all rows.
        """
        sizes = np.bincount(self.of[among], minlength=len(self.names))  # (groups,)
        limit = len(self.of) // _SHARE
        small = (sizes > 0) & (sizes <= min(largest, limit))
        if sizes[small].sum() < wanted:
            small = (sizes > 0) & (sizes <= limit)
        order = np.argsort([content_id(f"{seed}\0{name}") for name in self.names], kind="stable")
        chosen, total = np.zeros(len(self.names), bool), 0
        for group in order[small[order]]:
            if wanted and (not total or total + sizes[group] <= wanted * 1.05):
                chosen[group] = True
                total += int(sizes[group])
        return chosen[self.of] & among


class Rows:
    """What tells rows apart: their query's and code's identities, and signatures, of n rows."""

    def __init__(self, table: pa.Table) -> None:
        self.query: Ids = values(table, "query_id", np.int64)  # (n,)
        self.code: Ids = values(table, "code_id", np.int64)  # (n,)
        self.row: Ids = values(table, "row_id", np.int64)  # (n,)
        self.signature: Signatures = values(table, "signature", np.uint32).reshape(-1, PLACES)  # (n, 32)

    def __len__(self) -> int:
        return len(self.row)

    def leaks(self, held: Flags, train: Flags) -> dict[str, Flags]:
        """Return which held-out rows (h,) training gives away, by the first reason that holds."""
        query = np.isin(self.query[held], self.query[train])
        code = ~query & np.isin(self.code[held], self.code[train])
        alike = ~query & ~code
        alike[alike] = near_duplicates(self.signature[held][alike], self.signature[train])
        return {"same query": query, "same code": code, "near-duplicate code": alike}


def distinct(table: pa.Table, most: int) -> tuple[Ids, dict[str, int]]:
    """Return the rows that stay, in order, and how many go: as duplicates, and where more than `most` share a query.

    Of rows with the same docstring and code the first stays. A docstring on many codes is copied text that says little
    about any of them: `most` of its rows stay, chosen by hash.
    """
    rows = Rows(table)
    pairs = np.stack([rows.query, rows.code], 1)  # (n, 2)
    first = np.sort(np.unique(pairs, axis=0, return_index=True)[1])
    order = first[np.lexsort((rows.row[first], rows.query[first]))]
    query = rows.query[order]
    place = np.arange(len(order)) - np.searchsorted(query, query)  # of a row among those of its query
    stay = np.sort(order[place < most])
    return stay, {"duplicates": len(rows) - len(first), "repeated docstrings": len(first) - len(stay)}


def hold_out(
    table: pa.Table, wanted: dict[str, int], unsplit: Collection[str], seed: int
) -> tuple[dict[str, Ids], dict[str, Any]]:
    """Return the rows of "train", "heldout" (modules) and "unseen" (distributions, none of `unsplit`), and notes.

    Held-out rows are dropped that share their query or (nearly) their code with a training row. `wanted` gives the
    most rows of the two after that: a surplus is dropped by hash, and too few only where the data has too few groups.
    """
    rows = Rows(table)
    names = list(map(str, table["distribution"].to_pylist()))
    distributions = Groups.of_cells(names)
    modules = Groups.of_cells([f"{name}/{module}" for name, module in zip(names, table["module"].to_pylist())])
    asked, wanted = wanted, {name: min(count, len(rows) // _SHARE) for name, count in wanted.items()}
    taken = dict(wanted)
    fixed = np.isin(distributions.of, [i for i, name in enumerate(distributions.names) if name in unsplit])
    for _ in range(_ROUNDS):
        unseen = distributions.choose(~fixed, taken["unseen"], wanted["unseen"] // 4, seed)
        heldout = modules.choose(~unseen, taken["heldout"], wanted["heldout"] // _SHARE, seed)
        train = ~unseen & ~heldout
        held = {"heldout": heldout, "unseen": unseen}
        leaks = {name: rows.leaks(flags, train) for name, flags in held.items()}
        clean = {name: np.flatnonzero(held[name])[~np.any(list(leaks[name].values()), axis=0)] for name in held}
        more = {name: _more(int(held[name].sum()), len(clean[name]), wanted[name]) for name in held}
        if more == taken:
            break
        taken = more
    kept = {name: np.sort(ids[np.argsort(rows.row[ids])][: wanted[name]]) for name, ids in clean.items()}
    dropped = {name: {reason: int(flags.sum()) for reason, flags in leaks[name].items()} for name in held}
    for name, ids in clean.items():
        dropped[name]["surplus"] = len(ids) - len(kept[name])
    few = {
        name: f"{asked[name]} asked, a tenth of all is {wanted[name]}" for name in held if wanted[name] < asked[name]
    }
    unseen_names = sorted({names[row] for row in kept["unseen"]})
    notes = {"dropped": dropped, "scaled down": few, "unseen distributions": unseen_names}
    return {"train": np.flatnonzero(train), **kept}, notes


def _more(taken: int, left: int, wanted: int) -> int:
    """Return how many rows to take out so that about `wanted` are left, if the same share is dropped again."""
    return min(round(wanted * taken / left), 2 * wanted) if left else wanted
