"""The rows of a table as documents: a column of text, and the other columns as fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from nearfar.column import READ_BLOCK
from nearfar.column_names import TEXT_COLUMNS
from nearfar.data.table import Table
from nearfar.data.tables.read import ReadOptions, reader_of
from nearfar.errors import InputError
from nearfar.index.documents.document import BadDocumentError, FileDocument, storable
from nearfar.index.documents.field_values import NOT_FIELDS, FieldKinds, is_value

_ID_COLUMNS = ("_id", "id")
_TITLE = "title"


class NoTextColumnError(BadDocumentError):
    """A table has no column of a name by which one knows texts, and none was named."""


def table_documents(
    path: Path, column: str | None, kinds: FieldKinds, note: Callable[[str], None]
) -> Iterator[FileDocument]:
    """Yield the rows of a table that have text, each a document.

    The text is the column named, or the first of `TEXT_COLUMNS`; a column "title" stands in front of it, as in a BEIR
    corpus. "id" or "_id" becomes the field `row_id`; columns of texts, numbers, truth values and times become fields,
    and one that has the name of a field of nearfar's own gets "table_" in front. note: is told of cells that do not
    fit the field's kind, which are left out, and of columns that cannot be fields.

    Errors: `BadDocumentError` for a table that cannot be read; `NoTextColumnError`.
    """
    try:
        table = Table(path, split_column=None)
        name = column or next((name for name in TEXT_COLUMNS if name in table.columns), None)
        if name is None:
            known = ", ".join(table.columns[:20])
            raise NoTextColumnError(f"which column holds the texts? name it (--column); columns: {known:.300}")
        texts = table.text(name, empty=True)
        titles = table.text(_TITLE, empty=True) if _TITLE in table.columns and name != _TITLE else None
    except InputError as error:
        raise BadDocumentError(str(error).removeprefix(f"{path}: ")) from error
    fields = _Fields(table, {name, *([] if titles is None else [_TITLE])}, kinds)
    lines = chain(reader_of(path, ReadOptions()).lines(), repeat(None))
    empty = 0
    for start in range(0, len(table), READ_BLOCK):
        stop = min(start + READ_BLOCK, len(table))
        cells = texts.read(start, stop)
        fronts = titles.read(start, stop) if titles is not None else [""] * len(cells)
        for text, front, values, line in zip(cells, fronts, fields.rows(start, stop), lines):
            whole = storable(f"{front} {text}".strip())
            empty += not whole
            if whole:
                starts, known_lines = ((0,), (line,)) if line is not None else ((), ())
                yield FileDocument(whole, starts, known_lines, fields=values, share=stop / len(table))
    if empty:
        note(f"{empty:,} of {len(table):,} rows have no text")
    fields.tell(note)


class _Fields:
    """The columns of a table that become fields."""

    def __init__(self, table: Table, used: set[str], kinds: FieldKinds) -> None:
        self._kinds, self._misfits = kinds, Counter[str]()
        self._first: dict[str, str] = {}
        identity = next((name for name in _ID_COLUMNS if name in table.columns), None)
        self._columns: dict[str, Any] = {}
        self._left_out: list[str] = []
        for name in table.columns:
            if name in used:
                continue
            field = "row_id" if name == identity else f"table_{name}" if name.lower() in NOT_FIELDS else name
            cells = chain.from_iterable(_blocks(column := table.column(name)))
            if field in self._columns or not self._kinds.takes(field):
                self._left_out.append(f"{name!r} (its name)")
            elif is_value(next((cell for cell in cells if cell is not None), None)):
                self._columns[field] = column
            else:
                self._left_out.append(f"{name!r} (lists, objects or bytes)")

    def rows(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        """Yield the values of rows by field; a cell without a value has none."""
        columns = {name: column.read(start, stop) for name, column in self._columns.items()}
        for row in range(stop - start):
            found = {name: self._fit(name, cells[row]) for name, cells in columns.items()}
            yield {name: value for name, value in found.items() if value is not None}

    def _fit(self, name: str, cell: Any) -> Any:
        try:
            value = self._kinds.fit(name, str(cell) if name == "row_id" and cell is not None else cell)
            return storable(value) if isinstance(value, str) else value
        except (InputError, TypeError):
            self._misfits[name] += 1
            self._first.setdefault(name, repr(cell)[:40])
            return None

    def tell(self, note: Callable[[str], None]) -> None:
        """Say what was left out."""
        for name, count in self._misfits.items():
            kind, first = self._kinds.known[name], self._first[name]
            note(
                f"column {name!r}: {count:,} cells are no {kind}, as the field is (the first: {first}); left out there"
            )
        if self._left_out:
            note(f"columns that cannot be fields: {', '.join(self._left_out):.300}; left out")


def _blocks(column: Any) -> Iterator[list[Any]]:
    for start in range(0, len(column), READ_BLOCK):
        yield column.read(start, min(start + READ_BLOCK, len(column)))
