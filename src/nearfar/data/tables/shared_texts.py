"""The texts of a table's columns by row, and which columns decide whether two rows share a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nearfar.column import Ids, content_ids
from nearfar.column_names import METADATA, columns_in_use
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

    @property
    def distinct(self) -> int:
        """The number of distinct texts."""
        return len(np.unique(self.ids))

    def are_labels(self) -> bool:
        """Say whether the texts are labels: few distinct ones, each of many rows."""
        n = len(self.ids)
        return n >= MIN_ROWS_PER_LABEL and self.distinct <= min(MAX_LABELS, n // MIN_ROWS_PER_LABEL)


def column_texts(
    selection: Selection, by: Sequence[str] | None, named: Sequence[str]
) -> tuple[list[ColumnTexts], ColumnTexts]:
    """Return the texts of the columns in use, queries first, and those of the column whose hash draws rows.

    by: the columns in use, given by the user. named: those that positives are told to read. Without both, columns are
    recognised by name; failing that, all columns of text are in use, but not labels, columns of one text only, and
    those whose name says that they describe a row (id, category, source). The drawing column is the first that is no
    column of labels, if it is in use or no two rows share a text of it.
    """
    types = {name: selection.arrow_type(name) for name in by or selection.column_names}
    chosen = [name for name, arrow_type in types.items() if is_text(arrow_type) or is_text_list(arrow_type)]
    if not chosen or len(chosen) < len(by or ()):
        hold = ", ".join(f"{name!r} {arrow_type}" for name, arrow_type in types.items())
        fix = "name others with heldout_by" if by else "write texts, numbers in quotation marks"
        raise InputError(f"{selection.source.where}: heldout needs columns of text, these hold {hold}; {fix}")
    if by is None:
        chosen.sort(key=lambda name: is_text_list(types[name]))
    found = {name: _texts(selection, name, is_text_list(types[name])) for name in chosen}
    found = {name: texts for name, texts in found.items() if len(texts.ids)} or found
    if by is not None:
        return list(found.values()), next(iter(found.values()))
    unlabelled = [texts for texts in found.values() if not texts.are_labels()] or list(found.values())
    in_use = [found[name] for name in columns_in_use(selection.column_names, named) if name in found]
    if not in_use:
        free = [texts for texts in unlabelled if not METADATA.fullmatch(texts.name) and texts.distinct > 1]
        in_use = free or unlabelled
    first = unlabelled[0]
    draws = any(texts is first for texts in in_use) or first.distinct == len(first.ids)
    return in_use, first if draws else in_use[0]


def _texts(selection: Selection, name: str, in_lists: bool) -> ColumnTexts:
    column, rows = selection.column(name, fill=""), np.arange(len(selection))
    if in_lists:
        column, offsets = selection.flattened(name, fill="")
        rows = np.repeat(rows, np.diff(offsets))
    full = np.concatenate([np.zeros(0, bool), *map(not_blank, column.arrays())])
    return ColumnTexts(name, content_ids(column)[full], rows[full])
