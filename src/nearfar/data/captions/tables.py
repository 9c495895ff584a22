"""Captions of a table: a column of pictures, by path or saved in it, and a column of captions, one or a list a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from nearfar.column import Ids
from nearfar.column_names import CAPTION_COLUMNS, PICTURE_COLUMNS
from nearfar.data.captions.rows import CaptionRows
from nearfar.data.picture_sets.saved import SavedSet
from nearfar.data.table import Table
from nearfar.errors import InputError, listed, nearest

NamesOf = Callable[[Table, str], Sequence[str]]  # of the picture of each row of a split


def table_captions(table: Table, image: str | None, caption: str | None) -> CaptionRows:
    """Return the captions of a table whose column `image` holds the paths of pictures; None is a recognised name.

    Errors: `InputError`: those of `Table.text` and `Table.lists`; no such column.
    """
    image = _named(table, image, PICTURE_COLUMNS, "image", "the paths of the pictures")

    def names(rows: Table, split: str) -> Sequence[str]:  # noqa: ARG001 (a path is the same picture in every split)
        return rows.text(image).read(0, len(rows))

    return _rows(table, caption, names)


def saved_captions(table: Table, saved: SavedSet, caption: str | None) -> CaptionRows:
    """Return the captions of a data set that `save_to_disk` wrote, in which each row has a picture of its own."""
    every = saved.names()
    one_table = table.rows_of_all_splits() is not None  # splits by a column

    def names(rows: Table, split: str) -> Sequence[str]:
        return [every[row] if one_table else f"{split}/{row}" for row in rows.positions.tolist()]

    return _rows(table, caption, names)


def _rows(table: Table, caption: str | None, names: NamesOf) -> CaptionRows:
    caption = _named(table, caption, CAPTION_COLUMNS, "caption", "the captions")
    parts = [table.split(split) for split in table.splits]
    origin: list[tuple[Table, Ids]] = []  # of each split: the row of each caption
    captioned, without = set[str](), set[str]()

    def rows() -> Iterator[tuple[str, str, str]]:
        for split, part in zip(table.splits, parts):
            column, offsets = part.lists(caption)
            texts, pictures = column.read(0, len(column)), names(part, split)
            row = np.repeat(np.arange(len(part)), np.diff(offsets))  # (t,)
            origin.append((part, row))
            captioned.update(pictures[i] for i in np.unique(row).tolist())
            without.update(pictures[i] for i in np.flatnonzero(np.diff(offsets) == 0).tolist())
            for i, text in zip(row.tolist(), texts):
                yield split, pictures[i], text

    def locate(row: int) -> str:
        for part, of_caption in origin:
            if row < len(of_caption):
                return part.where(int(of_caption[row]))
            row -= len(of_caption)
        raise IndexError(row)

    found = CaptionRows.of(table.where(), rows(), locate)
    notes = {name: note for name, note in table.notes.items() if name in ("split column", "splits")}
    return replace(found, uncaptioned=len(without - captioned), notes=notes)


def _named(table: Table, name: str | None, usual: Sequence[str], setting: str, what: str) -> str:
    """Return the name of a column: the given one, or the likeliest of the usual ones, in any case."""
    if name is not None:
        if name not in table.columns:
            raise InputError(f"data.image_text.{setting}: no column {name!r}; {nearest(name, table.columns)}")
        return name
    known = {column.strip().lower(): column for column in reversed(table.columns)}
    found = next((known[one] for one in usual if one in known), None)
    if found is None:
        raise InputError(
            f"{table.where()}: which column holds {what}? give data.{setting}=...; columns: {listed(table.columns)}"
        )
    return found
