"""Which rows are held out: whole groups of rows that share texts, drawn by a hash of their content."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.column import Ids
from nearfar.data.tables.clusters import row_groups
from nearfar.data.tables.shared_texts import ColumnTexts
from nearfar.errors import InputError

FEW = 20  # held-out rows that are worth a split by groups, where more are asked for
SEEN = "documents were seen in training"


@dataclass(frozen=True)
class Split:
    """The training rows and the held-out rows, both ascending, and how they were parted.

    notes: what a protocol says of the split.
    """

    train: Ids
    heldout: Ids
    notes: dict[str, Any]


@dataclass(frozen=True)
class Draw:
    """The groups to draw from: each row's group (n,), its random key (n,), and whether it may be held out (n,)."""

    groups: Ids
    key: npt.NDArray[np.uint64]
    allowed: npt.NDArray[np.bool_]

    def rows(self, target: int, limit: int) -> npt.NDArray[np.bool_]:
        """Return which rows (n,) are held out: whole groups of about `target` rows and at most `limit`.

        The largest group is never among them. The others come in the order of their keys, each where it fits; at last
        the smallest, where that is nearer to the target than nothing.
        """
        sizes = np.bincount(self.groups)  # (g,)
        key = np.full(len(sizes), np.iinfo(np.uint64).max, np.uint64)
        np.minimum.at(key, self.groups, self.key)
        free = np.ones(len(sizes), bool)
        free[self.groups[~self.allowed]] = False
        free[np.lexsort((key, -sizes))[0]] = False
        chosen, left = np.zeros(len(sizes), bool), target
        order = np.flatnonzero(free)[np.argsort(key[free])]
        for group, size in zip(order.tolist(), sizes[order].tolist(), strict=True):
            if size <= left:
                chosen[group], left = True, left - size
            if left == 0:
                break
        others = order[~chosen[order]]
        if left and len(others):
            smallest = others[np.argmin(sizes[others])]
            size = int(sizes[smallest])
            if (left == target or size < 2 * left) and target - left + size <= limit:
                chosen[smallest] = True
        return chosen[self.groups]


def split_rows(
    where: str, columns: Sequence[ColumnTexts], first: ColumnTexts, n: int, heldout: float, seed: int
) -> Split:
    """Return the split of n rows, such that no text of a query, and if possible no text at all, is on both sides.

    Rows that share a text of any of `columns` are one group, also through a chain of other rows. If a draw by the hash
    of each row's text in `first` parts no group, it decides. Otherwise groups are drawn whole. If hardly any can be
    (every question shares an answer with another), queries are held out: their texts, those of the first of `columns`,
    are not in training, but their documents are. The order of the rows does not matter.

    where: what errors call the data. heldout: a fraction below 1 or a number of rows.
    Errors: InputError for a size that leaves a side empty, and where all rows share one text.
    """
    size = checked_size(where, heldout, n)
    if not any(len(texts.ids) for texts in columns):
        names = " and ".join(repr(texts.name) for texts in columns)
        raise InputError(f"{where}: no row has a text (column {names}), all are empty or white space; write some")
    target = size or max(1, round(heldout * n))
    limit = max(2 * target, n // 5)
    groups = row_groups([texts.ids for texts in columns], [texts.rows for texts in columns], n)
    sizes = np.bincount(groups)
    shared = len(sizes) < n
    out = _by_hash(_row_keys(first, n, seed), heldout, size)
    if 0 < out.sum() < n and not (shared and (out.sum() > limit or _parts_groups(groups, out))):
        return _split(columns, groups, out, heldout, queries=False)
    query = columns[0]
    key = _row_keys(query, n, seed)
    has_query = np.zeros(n, bool)
    has_query[query.rows] = True
    by_group = Draw(groups, key, has_query)
    out = by_group.rows(target, limit)
    if out.sum() < min(target, FEW) and len(columns) > 1:
        by_query = Draw(row_groups([query.ids], [query.rows], n), key, has_query & ~_also_elsewhere(columns, n))
        queries = by_query.rows(target, limit)
        if queries.sum() > out.sum():
            return _split(columns, groups, queries, heldout, queries=True)
    out = out if out.any() else by_group.rows(target, n)
    if not out.any():
        names = " and ".join(repr(texts.name) for texts in columns)
        raise InputError(
            f"{where}: heldout={heldout:g} of {n} rows: none can be held out, as all with a text (column {names}) "
            "are one group, which stays together; add rows with other texts, or give rows to judge by in a file of "
            "their own, heldout.jsonl beside train.jsonl in a folder (path=FOLDER heldout=0)"
        )
    return _split(columns, groups, out, heldout, queries=False)


def _split(
    columns: Sequence[ColumnTexts], groups: Ids, out: npt.NDArray[np.bool_], asked: float, *, queries: bool
) -> Split:
    """Return the split and its notes; of rows that share nothing, there is nothing to tell but their numbers."""
    n, held, sizes = len(out), int(out.sum()), np.bincount(groups)
    train, heldout = np.flatnonzero(~out), np.flatnonzero(out)
    notes: dict[str, Any] = {"train": n - held, "heldout": held}
    if len(sizes) == n:
        return Split(train, heldout, notes)
    held_groups = len(np.unique(groups[out]))
    share, wanted = held / n, asked if asked < 1 else asked / n
    names = ", ".join(texts.name for texts in columns)
    reached = f"asked {wanted:.1%} of {n:,} rows, reached {share:.1%}"
    whole = (
        f"{len(sizes):,} group{'s' * (len(sizes) > 1)} of rows that share a text (largest {int(sizes.max()):,} rows)"
    )
    if queries:
        about = (
            f"{SEEN}: held out by queries alone, as {whole} leave{'s' * (len(sizes) == 1)} too few rows to hold out "
            f"otherwise; {reached}"
        )
    else:
        about = f"no text of training is held out: {held_groups:,} of {whole}; {reached}"
    notes |= {"asked share": round(wanted, 4), "reached share": round(share, 4), "groups": len(sizes)}
    notes |= {"held-out groups": held_groups, "largest group": int(sizes.max()), "columns": names, "held out": about}
    return Split(train, heldout, notes)


def _by_hash(key: npt.NDArray[np.uint64], heldout: float, size: int) -> npt.NDArray[np.bool_]:
    """Return the rows (n,) with the lowest keys; rows of one key go together."""
    if heldout < 1:
        drawn: npt.NDArray[np.bool_] = key < np.uint64(heldout * 2**64)
        return drawn
    ordered = np.sort(key)
    # As many keys as fit with all their rows, and at least one.
    ends = np.append(np.flatnonzero(np.diff(ordered)) + 1, len(key))
    fitting = ends[ends <= size]
    lowest: npt.NDArray[np.bool_] = key <= ordered[(fitting[-1] if len(fitting) else ends[0]) - 1]
    return lowest


def _parts_groups(groups: Ids, out: npt.NDArray[np.bool_]) -> bool:
    """Say whether a group is on both sides, or every largest one is held out."""
    sizes = np.bincount(groups)
    held = np.bincount(groups, out, len(sizes))
    return bool(((held > 0) & (held < sizes)).any() or held[sizes == sizes.max()].all())


def _also_elsewhere(columns: Sequence[ColumnTexts], n: int) -> npt.NDArray[np.bool_]:
    """Return the rows (n,) whose text in the first column occurs in another one, where it may be trained on."""
    query, *others = columns
    found = np.zeros(n, bool)
    found[query.rows[np.isin(query.ids, np.concatenate([texts.ids for texts in others]))]] = True
    return found


def _row_keys(texts: ColumnTexts, n: int, seed: int) -> npt.NDArray[np.uint64]:
    """Return the lowest hash of each row's texts (n,); a row without one has the highest, and is a training row."""
    key = np.full(n, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(key, texts.rows, seeded_hash(texts.ids, seed))
    return key


def checked_size(where: str, heldout: float, n: int) -> int:
    """Return the number of rows to hold out, 0 for a fraction. Errors: InputError for a size that leaves no side."""
    if not (0 < heldout < 1 or (heldout >= 1 and float(heldout).is_integer())):
        raise InputError(f"{where}: heldout={heldout:g}; give a fraction below 1 or a whole number of rows")
    if heldout >= n:
        raise InputError(f"{where}: heldout={heldout:g} of {n} rows leaves no training; hold out fewer")
    return int(heldout)


def seeded_hash(ids: Ids, seed: int) -> npt.NDArray[np.uint64]:
    """Return a hash of content ids and seed, uniform in 64 bits (the finaliser of SplitMix64)."""
    salt = int.from_bytes(hashlib.blake2b(str(seed).encode(), digest_size=8).digest(), "little")
    key = ids.view(np.uint64) ^ np.uint64(salt)
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(key ^ (key >> np.uint64(31)), np.uint64)
