"""Which rows are held out: chosen by a hash of their content, and sharing no text with the training rows."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearfar.column import Ids, content_ids
from nearfar.data.tables.cells import is_text, is_text_list, not_blank
from nearfar.data.tables.selection import Selection
from nearfar.errors import InputError

MAX_LABELS = 100  # distinct texts of a column of labels, at most
MIN_ROWS_PER_LABEL = 100  # rows of each on average, at least


@dataclass(frozen=True)
class ColumnTexts:
    """The content ids (t,) of the texts of one column, and the row (t,) of each; blank texts are left out."""

    name: str
    ids: Ids
    rows: Ids

    def are_labels(self) -> bool:
        """Say whether the texts are labels: few distinct ones, each of many rows."""
        n = len(self.ids)
        return n >= MIN_ROWS_PER_LABEL and len(np.unique(self.ids)) <= min(MAX_LABELS, n // MIN_ROWS_PER_LABEL)

    def shared_rows(self, heldout: npt.NDArray[np.bool_], training_ids: Ids) -> Ids:
        """Return the rows among `heldout` (n,) that have a text among the sorted `training_ids`."""
        if len(training_ids) == 0:
            return self.rows[:0]
        chosen = heldout[self.rows]
        ids, rows = self.ids[chosen], self.rows[chosen]
        # numpy's isin is slow on millions
        position = np.minimum(np.searchsorted(training_ids, ids), len(training_ids) - 1)
        shared: Ids = rows[training_ids[position] == ids]
        return shared


def column_texts(selection: Selection, names: Sequence[str] | None) -> list[ColumnTexts]:
    """Return the texts of some columns, by default of all that hold text or lists of text, columns of text first.

    By default, columns of labels are left out where others hold text: all rows would share a "text" with training.
    """
    types = {name: selection.arrow_type(name) for name in names or selection.column_names}
    chosen = [name for name, arrow_type in types.items() if is_text(arrow_type) or is_text_list(arrow_type)]
    if names is None:
        chosen.sort(key=lambda name: is_text_list(types[name]))
    if not chosen or len(chosen) < len(names or ()):
        raise InputError(
            f"{selection.source.where}: heldout needs columns of text, these hold "
            f"{', '.join(f'{name!r} {arrow_type}' for name, arrow_type in types.items())}; name some with heldout_by"
        )
    found = [_texts(selection, name, is_text_list(types[name])) for name in chosen]
    without_labels = [texts for texts in found if not texts.are_labels()]
    return found if names is not None or not without_labels else without_labels


def _texts(selection: Selection, name: str, in_lists: bool) -> ColumnTexts:
    column, rows = selection.column(name, fill=""), np.arange(len(selection))
    if in_lists:
        column, offsets = selection.flattened(name, fill="")
        rows = np.repeat(rows, np.diff(offsets))
    full = np.concatenate([np.zeros(0, bool), *map(not_blank, column.arrays())])
    return ColumnTexts(name, content_ids(column)[full], rows[full])


def split_rows(where: str, columns: Sequence[ColumnTexts], n: int, heldout: float, seed: int) -> tuple[Ids, Ids, int]:
    """Return the training rows, the held-out rows, both ascending, and how many were dropped for sharing a text.

    Rows whose first column has the same text stay together; the order of the rows does not matter.
    where: what errors call the data. n: its rows. heldout: a fraction below 1 or a number of rows.
    Errors: InputError for a size that leaves a side empty, and where all held-out rows share a text with training.
    """
    size = _checked_size(where, heldout, n)
    key = np.full(n, np.iinfo(np.uint64).max, np.uint64)  # (n,); a row whose first text is blank is a training row
    first = columns[0]
    np.minimum.at(key, first.rows, _seeded_hash(first.ids, seed))
    if heldout < 1:
        out = key < np.uint64(heldout * 2**64)
    else:
        ordered = np.sort(key)
        # All rows of a text go together: as many texts as fit with all their rows, and at least one.
        ends = np.append(np.flatnonzero(np.diff(ordered)) + 1, n)
        fitting = ends[ends <= size]
        out = key <= ordered[(fitting[-1] if len(fitting) else ends[0]) - 1]
    if not out.any() or out.all():
        raise InputError(
            f"{where}: heldout={heldout:g} of {n} rows leaves {'nothing held out' if not out.any() else 'no training'}"
            f" (column {first.name!r} decides); choose another size"
        )
    training_ids = np.sort(np.concatenate([texts.ids[~out[texts.rows]] for texts in columns]))
    shared = {texts.name: texts.shared_rows(out, training_ids) for texts in columns}
    leaks = np.unique(np.concatenate(list(shared.values())))
    kept = out.copy()
    kept[leaks] = False
    if 2 * len(leaks) > out.sum():
        worst = max(shared, key=lambda name: len(np.unique(shared[name])))
        others = [texts.name for texts in columns if texts.name != worst] or [worst]
        count = f"{len(leaks)} of {int(out.sum())}" if kept.any() else f"all {len(leaks)}"
        message = (
            f"{where}: {count} held-out rows share a text with training, most by column {worst!r}; "
            f"name the columns whose texts matter, e.g. heldout_by={others}"
        )
        if not kept.any():
            raise InputError(message)
        warnings.warn(f"{message}; those rows are left out", stacklevel=3)
    return np.flatnonzero(~out), np.flatnonzero(kept), len(leaks)


def _checked_size(where: str, heldout: float, n: int) -> int:
    if not (0 < heldout < 1 or (heldout >= 1 and float(heldout).is_integer())):
        raise InputError(f"{where}: heldout={heldout:g}; give a fraction below 1 or a whole number of rows")
    if heldout >= n:
        raise InputError(f"{where}: heldout={heldout:g} of {n} rows leaves no training; hold out fewer")
    return int(heldout)


def _seeded_hash(ids: Ids, seed: int) -> npt.NDArray[np.uint64]:
    """Return a hash of content ids and seed, uniform in 64 bits (the finaliser of SplitMix64)."""
    salt = int.from_bytes(hashlib.blake2b(str(seed).encode(), digest_size=8).digest(), "little")
    key = ids.view(np.uint64) ^ np.uint64(salt)
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(key ^ (key >> np.uint64(31)), np.uint64)
