"""A table: rows with named columns, from a file, a folder, a Hugging Face data set or plain dictionaries."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from nearfar.column import Column, Ids
from nearfar.data.tables.files import known_split
from nearfar.data.tables.read import ReadOptions, read
from nearfar.data.tables.selection import Selection, checked_lists, checked_numbers, checked_text
from nearfar.data.tables.shared_texts import column_texts
from nearfar.data.tables.split import split_rows
from nearfar.data.tables.split_column import SPLIT_COLUMN, named_splits
from nearfar.errors import InputError


class Table:
    """A table of n rows with named columns, read in slices from a memory-mapped Arrow copy.

    `path` is a file (JSON Lines, CSV, TSV, Parquet, each also .gz, .bz2, .xz or .zst; an original STS benchmark file;
    .txt, a row a line in the column `text`), a folder of such files (a file whose name says train, dev or test is that
    split), a folder without tables whose .txt, .md and .rst files, also in sub-folders, are a document each (columns
    `_id`, the path, and `text`; files called train.txt and test.txt hold lines), the corpus of a BEIR folder, a
    folder that `save_to_disk` wrote, a data set's name on the Hugging Face hub (`config` names its configuration), a
    `datasets.Dataset`, or a list of dictionaries. In CSV and TSV every cell is text ("NA" and "007" stay as they are);
    in TSV, quotation marks are plain characters. `delimiter` overrides what the file's name, or a first line `sep=;`,
    says (a TAB switches quoting off); `quoting` switches it on or off, and `escape` is what stands before a mark inside
    a quoted cell where marks are not doubled; `header` names the columns of a file without a header.

    A column `split` names the splits in the same words, in any case, where no file does; `split_column` names another
    one, which goes before files, and null reads none. `notes` has the rows of each split. Rows with an empty cell are
    in none, and a value that names none is a split of its own, where others say train and test. A column of other
    values is no such column.

    The table itself is the training rows (of several splits without a "train": the first). `heldout`, a fraction below
    1 or a number of rows, takes rows out of training as the split "heldout", drawn by a hash of `seed` and of their
    texts. Rows that share a text in a column in use (`heldout_by`; by default the columns of queries, keys, negatives
    and texts, not those that describe a row, such as id or category) are one group, also through a chain of other
    rows, and stay together: the largest group is for training, and of the others as many are held out as come nearest
    to the share. If hardly any can be, because every question shares an answer with another, queries alone are held
    out: their texts are not in training, but their documents are. Queries are ranked among all documents (`pool`).
    `notes` counts train and heldout and, where rows share texts, groups, says how rows were held out, and which share
    was reached. in_use: the columns that positives are told to read, which a recipe hands in.

    Errors: InputError, of one or two lines: the file, the row and its line, the column, what is wrong, the fix.

        table = Table([{"query": "how to sort a list", "key": "sorted(xs)"}])
        table.text("query").read(0, 1)  # ["how to sort a list"]
    """

    # A hash of the rows' content; the file's format and name do not matter. Computed when first read (a second for each
    # GB), and yet a plain variable to the type checker, as in `contracts.Data`.
    fingerprint: str = cast("str", cached_property(lambda self: self._rows.fingerprint()))

    def __init__(
        self,
        path: str | Path | list[dict[str, Any]] | Any,
        *,
        heldout: float = 0.0,
        heldout_by: list[str] | None = None,
        delimiter: str | None = None,
        quoting: bool | None = None,
        escape: str | None = None,
        header: list[str] | None = None,
        config: str | None = None,
        split_column: str | None = SPLIT_COLUMN,
        seed: int = 0,
        in_use: Sequence[str] = (),
    ) -> None:
        for setting, mark, example in (("delimiter", delimiter, ","), ("escape", escape, "\\")):
            if mark is not None and len(mark.encode()) != 1:
                raise InputError(
                    f"table: {setting} {mark!r} is not one plain character; give one, e.g. {setting}={example!r}"
                )
        if escape is not None and (quoting is False or escape in ('"', delimiter)):
            raise InputError(
                f"table: escape {escape!r} is what stands before a quotation mark inside a quoted cell; leave it out"
            )
        columns = None if header is None else tuple(header)
        tables = read(path, ReadOptions(delimiter, columns, config, quoting, escape))
        self._splits, self._whole, notes = named_splits(tables, split_column)
        self._select("train" if "train" in self._splits else next(iter(self._splits)))
        self.notes: dict[str, Any] = {"train": len(self), "heldout": 0, **notes}
        if heldout:
            self._hold_out(heldout, heldout_by, seed, in_use)

    def _select(self, split: str) -> None:
        self._name = split
        self._show(self._splits[split])

    def _show(self, rows: Selection) -> None:
        self._rows = rows
        self.columns: list[str] = self._rows.column_names
        self._checked: dict[tuple[str, bool], Column] = {}
        self.__dict__.pop("fingerprint", None)

    def _hold_out(self, heldout: float, by: list[str] | None, seed: int, in_use: Sequence[str]) -> None:
        rows = self._rows
        if "heldout" in self._splits:
            raise InputError(f"{self.where()}: has a split 'heldout' already; leave heldout={heldout:g} out")
        columns, first = column_texts(rows, by, in_use)
        split = split_rows(rows.source.where, columns, first, len(rows), heldout, seed)
        parts = {self._name: split.train, "heldout": split.heldout}
        self._splits |= {name: rows.select(part) for name, part in parts.items()}
        self._select(self._name)
        self.notes |= split.notes

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def splits(self) -> list[str]:
        """The names that `split` knows."""
        return list(self._splits)

    def split(self, name: str) -> Table:
        """Return the rows of one split as a table; "dev", "val" and the like are "validation".

        Errors: InputError for an unknown name, with the known ones.
        """
        other = copy.copy(self)
        other._select(known_split(name, self._splits, self.where()))
        return other

    def pool(self, split: str) -> list[Table]:
        """Return the rows of all other splits, whose documents are ranked for the queries of a split, too.

        A search has them all, and among the few of a split nearly any model finds the right one.
        """
        judged = self.split(split)._name
        return [self.split(name) for name in self._splits if name != judged]

    @property
    def positions(self) -> Ids:
        """The place (n,) of each row, from 0, among all rows of the file or files that it is read from."""
        return np.arange(len(self)) if self._rows.rows is None else self._rows.rows

    def rows_of_all_splits(self) -> Table | None:
        """Return the rows of all splits, in their order, where one column names the splits; else None."""
        if self._whole is None:
            return None
        other = copy.copy(self)
        other._show(Selection(self._whole))
        return other

    def where(self, row: int | None = None) -> str:
        """Return the name of the file, or of a row (given from 0) in it, for errors: "faq.jsonl: row 3 (line 4)"."""
        return self._rows.source.where if row is None else self._rows.locate(row)

    def column(self, name: str) -> Column:
        """Return a column as it is, (n,). Errors: InputError for an unknown name, with the known ones."""
        return self._rows.column(name)

    def text(self, name: str, *, empty: bool = False) -> Column:
        """Return a column of text, (n,) str; with `empty`, cells may be blank, and null becomes the empty text.

        Errors: InputError for a column of another type; a cell that is null or blank, not Unicode, or over 10 MB.
        """
        if (name, empty) not in self._checked:
            self._checked[name, empty] = checked_text(self._rows, name, empty=empty)
        return self._checked[name, empty]

    def lists(self, name: str) -> tuple[Column, Ids]:
        """Return the elements of a column of lists of text, (v,) str, and the (n + 1,) offsets of the rows in them.

        A null is an empty list, and a plain text a list of one. Errors: as `text`, with the element.
        """
        return checked_lists(self._rows, name)

    def numbers(self, name: str) -> npt.NDArray[np.float64]:
        """Return a column of numbers, or of text that spells them, (n,) float64.

        Errors: InputError for a column of another type; a cell that is null, no number, or not finite.
        """
        return checked_numbers(self._rows, name)
