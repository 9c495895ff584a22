"""Which rows train and which are held out: whole modules and distributions, without what training has seen."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nearfar.column import Ids, content_id
from nearfar.data.harvest.arrow_buffers import column_values
from nearfar.text.minhash import SIGNATURE_SIZE, Signatures, near_duplicates

_ONE_IN = 10  # a split holds out at most one row in ten, and none of its groups has more
_ROUNDS = 5  # guesses of how many rows to choose so that enough remain after dropping
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Groups:
    """Rows in groups (modules, distributions): the group of each row, (n,), and the names of the groups."""

    group: Ids
    names: list[str]

    @classmethod
    def of_cells(cls, cells: Sequence[str]) -> Groups:
        """Return the groups of equal cells, in order of appearance."""
        number: dict[str, int] = {}
        group = [number.setdefault(cell, len(number)) for cell in cells]
        return cls(np.array(group, np.int64), list(number))

    def choose(self, among: Flags, wanted: int, largest: int, seed: int) -> Flags:
        """Return which rows (n,) are chosen: whole groups, in order of a seeded hash, with about `wanted` rows `among`.

        Groups larger than `largest` are chosen only where the smaller ones do not hold enough, and none that holds
        more than a tenth of all rows.
        """
        sizes = np.bincount(self.group[among], minlength=len(self.names))  # (groups,)
        limit = len(self.group) // _ONE_IN
        small = (sizes > 0) & (sizes <= min(largest, limit))
        if sizes[small].sum() < wanted:
            small = (sizes > 0) & (sizes <= limit)
        order = np.argsort([content_id(f"{seed}\0{name}") for name in self.names], kind="stable")
        chosen, total = np.zeros(len(self.names), bool), 0
        for group in order[small[order]]:
            if wanted and (not total or total + sizes[group] <= wanted * 1.05):
                chosen[group] = True
                total += int(sizes[group])
        return chosen[self.group] & among


class RowContents:
    """The contents of n rows: content ids of query, code and whole row, and MinHash signatures of the code."""

    def __init__(self, table: pa.Table) -> None:
        self.query: Ids = column_values(table, "query_id", np.int64)  # (n,)
        self.code: Ids = column_values(table, "code_id", np.int64)  # (n,)
        self.row: Ids = column_values(table, "row_id", np.int64)  # (n,)
        self.signature: Signatures = column_values(table, "signature", np.uint32).reshape(-1, SIGNATURE_SIZE)  # (n, 32)

    def __len__(self) -> int:
        return len(self.row)

    def leaks(self, held: Flags, train: Flags) -> dict[str, Flags]:
        """Return which held-out rows (h,) also occur in training, by the first reason that holds."""
        query = np.isin(self.query[held], self.query[train])
        code = ~query & np.isin(self.code[held], self.code[train])
        similar = ~query & ~code
        similar[similar] = near_duplicates(self.signature[held][similar], self.signature[train])
        return {"same query": query, "same code": code, "near-duplicate code": similar}


def distinct(table: pa.Table, max_per_query: int) -> tuple[Ids, dict[str, int]]:
    """Return the rows to keep, ascending, and how many are removed, by reason.

    Of rows with the same docstring and code the first is kept. A docstring of many codes is copied text that says
    little about any of them: `max_per_query` of its rows are kept, chosen by hash.
    """
    rows = RowContents(table)
    pairs = np.stack([rows.query, rows.code], 1)  # (n, 2)
    first = np.sort(np.unique(pairs, axis=0, return_index=True)[1])
    order = first[np.lexsort((rows.row[first], rows.query[first]))]
    query = rows.query[order]
    rank = np.arange(len(order)) - np.searchsorted(query, query)  # of a row among those of its query
    kept = np.sort(order[rank < max_per_query])
    return kept, {"duplicates": len(rows) - len(first), "repeated docstrings": len(first) - len(kept)}


def hold_out(
    table: pa.Table, wanted: dict[str, int], unsplit: Collection[str], seed: int
) -> tuple[dict[str, Ids], dict[str, Any]]:
    """Return the rows of "train", "heldout" (modules) and "unseen" (distributions, none of `unsplit`), and notes.

    Held-out rows that share their query or (nearly) their code with a training row are dropped. `wanted` is the number
    of rows of the two splits after that: a surplus is dropped by hash; too few remain only where the data has too few
    groups.
    """
    rows = RowContents(table)
    names = list(map(str, table["distribution"].to_pylist()))
    distributions = Groups.of_cells(names)
    modules = Groups.of_cells([f"{name}/{module}" for name, module in zip(names, table["module"].to_pylist())])
    requested, wanted = wanted, {name: min(count, len(rows) // _ONE_IN) for name, count in wanted.items()}
    sizes = dict(wanted)
    fixed = np.isin(distributions.group, [i for i, name in enumerate(distributions.names) if name in unsplit])
    for _ in range(_ROUNDS):
        unseen = distributions.choose(~fixed, sizes["unseen"], wanted["unseen"] // 4, seed)
        heldout = modules.choose(~unseen, sizes["heldout"], wanted["heldout"] // _ONE_IN, seed)
        train = ~unseen & ~heldout
        held = {"heldout": heldout, "unseen": unseen}
        leaks = {name: rows.leaks(flags, train) for name, flags in held.items()}
        clean = {name: np.flatnonzero(held[name])[~np.any(list(leaks[name].values()), axis=0)] for name in held}
        next_sizes = {name: _next_size(int(held[name].sum()), len(clean[name]), wanted[name]) for name in held}
        if next_sizes == sizes:
            break
        sizes = next_sizes
    kept = {name: np.sort(ids[np.argsort(rows.row[ids])][: wanted[name]]) for name, ids in clean.items()}
    dropped = {name: {reason: int(flags.sum()) for reason, flags in leaks[name].items()} for name in held}
    for name, ids in clean.items():
        dropped[name]["surplus"] = len(ids) - len(kept[name])
    scaled_down = {
        name: f"{requested[name]} asked, a tenth of all is {wanted[name]}"
        for name in held
        if wanted[name] < requested[name]
    }
    unseen_names = sorted({names[row] for row in kept["unseen"]})
    notes = {"dropped": dropped, "scaled down": scaled_down, "unseen distributions": unseen_names}
    return {"train": np.flatnonzero(train), **kept}, notes


def _next_size(chosen: int, clean: int, wanted: int) -> int:
    """Return how many rows to choose so that about `wanted` are clean, if the share of clean ones stays the same."""
    return min(round(wanted * chosen / clean), 2 * wanted) if clean else wanted
