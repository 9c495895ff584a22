"""Which rows are held out: chosen by content, and sharing no text with those that are trained on."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearfar.column import Ids, content_ids
from nearfar.data.tables.cells import is_text, is_text_list, says_something
from nearfar.data.tables.selection import Selection
from nearfar.errors import InputError

LABELS, OFTEN = 100, 100  # distinct texts at most, and rows of each on average at least, of a column of labels


@dataclass(frozen=True)
class SplitTexts:
    """The contents of one text column: ids of its texts, and the row of each; blank cells are left out."""

    name: str
    ids: Ids
    rows: Ids

    def labels(self) -> bool:
        """Say whether these are labels: few distinct ones, each of many rows."""
        return len(self.ids) >= OFTEN and len(np.unique(self.ids)) <= min(LABELS, len(self.ids) // OFTEN)

    def among(self, out: npt.NDArray[np.bool_], trained: Ids) -> Ids:
        """Return the rows of `out` whose text is among those `trained`, which are sorted."""
        if len(trained) == 0:
            return self.rows[:0]
        here = out[self.rows]
        ids, rows = self.ids[here], self.rows[here]
        place = np.minimum(np.searchsorted(trained, ids), len(trained) - 1)  # numpy's isin is slow on millions
        found: Ids = rows[trained[place] == ids]
        return found


def texts(selection: Selection, names: Sequence[str] | None) -> list[SplitTexts]:
    """Return the contents of some columns, by default of all that hold text or lists of text, texts first.

    By default, columns of labels are left out where others hold text: all rows would share a "text" with training.
    """
    kinds = {name: selection.kind(name) for name in names or selection.names}
    chosen = [name for name, kind in kinds.items() if is_text(kind) or is_text_list(kind)]
    if names is None:
        chosen.sort(key=lambda name: is_text_list(kinds[name]))
    if not chosen or len(chosen) < len(names or ()):
        raise InputError(
            f"{selection.source.where}: heldout needs columns of text, these hold "
            f"{', '.join(f'{name!r} {kind}' for name, kind in kinds.items())}; name some with heldout_by"
        )
    found = [_texts(selection, name, is_text_list(kinds[name])) for name in chosen]
    told = [texts for texts in found if not texts.labels()]
    return found if names is not None or not told else told


def _texts(selection: Selection, name: str, in_lists: bool) -> SplitTexts:
    column, rows = selection.column(name, fill=""), np.arange(len(selection))
    if in_lists:
        column, offsets = selection.flat(name, fill="")
        rows = np.repeat(rows, np.diff(offsets))
    told = np.concatenate([np.zeros(0, bool), *map(says_something, column.arrays())])
    return SplitTexts(name, content_ids(column)[told], rows[told])


def split(where: str, columns: Sequence[SplitTexts], n: int, heldout: float, seed: int) -> tuple[Ids, Ids, int]:
    """Return the training rows, the held-out rows, both ascending, and how many were dropped for sharing a text.

    Rows whose first column has the same text go together; the order of the rows does not matter.
    Errors: a size that leaves a side empty; held-out rows that all share a text with training.
    """
    size = _size(where, heldout, n)
    key = np.full(n, np.iinfo(np.uint64).max, np.uint64)  # a row whose first text is blank is trained on
    first = columns[0]
    np.minimum.at(key, first.rows, _mixed(first.ids, seed))
    if heldout < 1:
        out = key < np.uint64(heldout * 2**64)
    else:
        ordered = np.sort(key)
        # All rows of a text go with it: as many whole texts as fit, and at least one.
        ends = np.append(np.flatnonzero(np.diff(ordered)) + 1, n)
        fitting = ends[ends <= size]
        out = key <= ordered[(fitting[-1] if len(fitting) else ends[0]) - 1]
    if not out.any() or out.all():
        raise InputError(
            f"{where}: heldout={heldout:g} of {n} rows leaves {'nothing held out' if not out.any() else 'no training'}"
            f" (column {first.name!r} decides); choose another size"
        )
    trained = np.sort(np.concatenate([texts.ids[~out[texts.rows]] for texts in columns]))
    shared = {texts.name: texts.among(out, trained) for texts in columns}
    leaks = np.unique(np.concatenate(list(shared.values())))
    kept = out.copy()
    kept[leaks] = False
    if 2 * len(leaks) > out.sum():
        worst = max(shared, key=lambda name: len(np.unique(shared[name])))
        others = [texts.name for texts in columns if texts.name != worst] or [worst]
        many = f"{len(leaks)} of {int(out.sum())}" if kept.any() else f"all {len(leaks)}"
        message = (
            f"{where}: {many} held-out rows share a text with training, most by column {worst!r}; "
            f"name the columns whose texts matter, e.g. heldout_by={others}"
        )
        if not kept.any():
            raise InputError(message)
        warnings.warn(f"{message}; those rows are left out", stacklevel=3)
    return np.flatnonzero(~out), np.flatnonzero(kept), len(leaks)


def _size(where: str, heldout: float, n: int) -> int:
    if not (0 < heldout < 1 or (heldout >= 1 and float(heldout).is_integer())):
        raise InputError(f"{where}: heldout={heldout:g}; give a fraction below 1 or a whole number of rows")
    if heldout >= n:
        raise InputError(f"{where}: heldout={heldout:g} of {n} rows leaves no training; hold out fewer")
    return int(heldout)


def _mixed(ids: Ids, seed: int) -> npt.NDArray[np.uint64]:
    """Return contents as uniform 64-bit numbers that another seed shuffles (the finaliser of SplitMix64)."""
    salt = int.from_bytes(hashlib.blake2b(str(seed).encode(), digest_size=8).digest(), "little")
    key = ids.view(np.uint64) ^ np.uint64(salt)
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(key ^ (key >> np.uint64(31)), np.uint64)
