"""What an audit reads: every text of a data set by split, column and row, from a table or a BEIR folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nearfar.audit.findings import LONGEST
from nearfar.column import Column, Ids, ListColumn, chunks, content_ids, is_empty
from nearfar.content import canonical
from nearfar.data.beir import Beir, is_beir
from nearfar.data.table import Table
from nearfar.errors import InputError, listed, nearest
from nearfar.positives.relations.roles import Roles
from nearfar.storage.places import expanded

TextRole = Literal["query", "key", "negative", "text", "document"]
NOUNS: dict[str, tuple[str, str]] = {role: (role, f"{role}s") for role in ("key", "negative", "text", "document")}
NOUNS["query"] = ("query", "queries")
LEAKING_ROLES: tuple[TextRole, ...] = ("query", "text")
LABEL_COLUMNS = ("label", "labels", "class", "category", "topic", "topics", "intent")
_FIRST_ROWS = 1000  # the rows that decide what a column holds


@dataclass(frozen=True)
class TextPart:
    """The texts of one column in one split; row i has `texts[offsets[i]:offsets[i + 1]]`, blank ones included.

    positions: the place of each row in its file (n,), where a column names the splits; None is the place in the split.
    """

    split: str
    role: TextRole
    name: str  # of the column
    texts: list[str]  # (v,)
    offsets: Ids  # (n + 1,)
    can_leak: bool = False  # a test row leaks where training has its text
    positions: Ids | None = None

    @cached_property
    def ids(self) -> Ids:
        """The content ids of the texts, (v,): what is copied in another Unicode form is a copy."""
        return content_ids(ListColumn(self.name, self.texts))

    @cached_property
    def caseless_ids(self) -> Ids:
        """The same as `ids` with case, and white space at the ends, aside (v,): by these, texts leak."""
        texts = [canonical(canonical(text).strip().casefold()) for text in self.texts]
        return content_ids(ListColumn(self.name, texts))

    @cached_property
    def rows(self) -> Ids:
        """The row of each text, (v,)."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    @cached_property
    def nonblank(self) -> Ids:
        """The positions of the texts that are not blank, (w,)."""
        return np.array([i for i, text in enumerate(self.texts) if not is_empty(text)], np.int64)

    def row_number(self, row: int) -> int:
        """Return the number of a row for a reader, from 1."""
        return row + 1 if self.positions is None else int(self.positions[row]) + 1

    def row_name(self, row: int) -> str:
        """Return a row's split and number: "test row 4"."""
        return f"{self.split} row {self.row_number(row)}"

    def example(self, position: int, **more: Any) -> dict[str, Any]:
        """Return a text for a reader, with its split, row (from 1) and column."""
        text = self.texts[position]
        cut = text[:LONGEST] + (" \u2026" if len(text) > LONGEST else "")
        row = self.row_number(int(self.rows[position]))
        return {"split": self.split, "row": row, "column": self.name, "text": cut, **more}


Occurrence = tuple[TextPart, int]  # a text: its part, and its position among the part's texts


@dataclass(frozen=True)
class Material:
    """All texts of a data set. `main` is the split that is trained on, or, of a BEIR folder, the corpus."""

    name: str
    kind: Literal["pairs", "graded pairs", "texts", "BEIR folder"]
    main: str
    parts: list[TextPart]
    labels: dict[str, list[Any]] = field(default_factory=dict)  # by split, one cell for each row
    label: str | None = None  # the column of the labels
    relevant: list[tuple[int, int]] = field(default_factory=list)  # of a BEIR folder: (query, relevant document)

    @cached_property
    def splits(self) -> dict[str, int]:
        """The number of rows of each split, the main one first."""
        sizes = {part.split: len(part.offsets) - 1 for part in self.parts}
        return {self.main: sizes[self.main], **sizes}

    def of(self, split: str) -> list[TextPart]:
        """Return the parts of a split."""
        return [part for part in self.parts if part.split == split]

    @cached_property
    def roles(self) -> dict[TextRole, list[TextPart]]:
        """The parts of each role, in the order of the splits."""
        by_role: dict[TextRole, list[TextPart]] = {}
        for split in self.splits:
            for part in self.of(split):
                by_role.setdefault(part.role, []).append(part)
        return by_role

    @cached_property
    def merged_splits(self) -> dict[str, TextPart]:
        """Each split as a part with one text for each row: all texts of the row, one below the other."""
        return {split: _joined(self.of(split)) for split in self.splits}

    @cached_property
    def pairs(self) -> list[tuple[TextPart, int, TextPart, int]]:
        """The positive pairs of the main split: the occurrence of the query and that of the key."""
        if self.kind == "BEIR folder" and self.relevant:
            documents, queries = self.roles["document"][0], self.roles["query"][0]
            return [(queries, query, documents, document) for query, document in self.relevant]
        if self.kind != "pairs":
            return []
        query, key = (next(part for part in self.of(self.main) if part.role == role) for role in ("query", "key"))
        return [
            (query, q, key, k)
            for row in range(self.splits[self.main])
            for q in range(query.offsets[row], query.offsets[row + 1])
            for k in range(key.offsets[row], key.offsets[row + 1])
        ]


def read_material(
    source: str | Path | Table,
    *,
    column: str | None = None,
    query: str | None = None,
    key: str | None = None,
    label: str | None = None,
) -> Material:
    """Return all texts of a table (of pairs, graded pairs or texts) or of a BEIR folder.

    Columns that are not given are recognised as by `positives.Columns`; where it finds no pairs, the column with the
    longest texts is audited.

    Errors: `InputError`: those of the data; a column that is missing or holds no text.
    """
    if not isinstance(source, Table):
        folder = expanded(source)
        if is_beir(folder):
            return _read_beir(folder)
        return _read_table(Table(source), folder.resolve().name, column=column, query=query, key=key, label=label)
    return _read_table(source, source.where(), column=column, query=query, key=key, label=label)


def distinct(parts: Sequence[TextPart]) -> list[Occurrence]:
    """Return the first occurrence of each distinct text of some parts, without the blank ones."""
    first: dict[int, Occurrence] = {}
    for part in parts:
        for position in part.nonblank.tolist():
            first.setdefault(int(part.ids[position]), (part, position))
    return list(first.values())


def _joined(parts: list[TextPart]) -> TextPart:
    if len(parts) == 1 and len(parts[0].texts) == len(parts[0].offsets) - 1:
        return parts[0]
    n = len(parts[0].offsets) - 1
    texts = ["\n".join(t for p in parts for t in p.texts[p.offsets[i] : p.offsets[i + 1]]) for i in range(n)]
    name = " and ".join(p.name for p in parts)
    return TextPart(parts[0].split, parts[0].role, name, texts, np.arange(n + 1), positions=parts[0].positions)


def _read_table(
    table: Table, name: str, *, column: str | None, query: str | None, key: str | None, label: str | None
) -> Material:
    kind, columns = _text_columns(table, column, query, key)
    main = "train" if "train" in table.splits else table.splits[0]
    label = _label_column(table, label, [name for _, name in columns])
    parts, labels = [], {}
    for split in dict.fromkeys([main, *table.splits]):
        rows = table.split(split)
        if missing := [name for _, name in columns if name not in rows.columns]:
            raise InputError(f"{rows.where()}: no column {missing[0]!r}; {nearest(missing[0], rows.columns)}")
        parts += [_column_part(rows, split, role, name) for role, name in columns]
        if label is not None and label in rows.columns:
            labels[split] = [cell for cells in chunks(rows.column(label)) for cell in cells]
    if sum(len(part.texts) for part in parts) == 0:
        raise InputError(f"{table.where()}: no text in {listed([name for _, name in columns])}; name another column")
    return Material(name, kind, main, parts, labels, label if main in labels else None)


def _text_columns(
    table: Table, column: str | None, query: str | None, key: str | None
) -> tuple[Any, list[tuple[TextRole, str]]]:
    """Return the kind of a table, and its columns of text with their roles."""
    if column is not None:
        return "texts", [("text", column)]
    if query is None and key is None and {"sentence1", "sentence2"} <= set(table.columns):
        graded = any(name in table.columns for name in ("score", "label", "similarity", "similarity_score"))
        return "graded pairs" if graded else "pairs", [("query", "sentence1"), ("key", "sentence2")]
    try:
        roles = Roles.of(table, query, key, None, None)
    except InputError:
        if query is not None or key is not None:
            raise
        return "texts", [("text", _longest_column(table))]
    negatives: list[tuple[TextRole, str]] = [("negative", name) for name in roles.negatives]
    return "pairs", [("query", roles.query), ("key", roles.key), *negatives]


def _longest_column(table: Table) -> str:
    """Return the column "text", or else the column with the longest texts in the first rows."""
    sizes = {name: np.mean([len(text) for text in texts]) for name, texts in _first_texts(table) if texts}
    if not sizes:
        raise InputError(f"{table.where()}: no column of text; columns: {listed(table.columns)}")
    return "text" if "text" in sizes else max(sizes, key=lambda name: float(sizes[name]))


def _first_texts(table: Table) -> Iterator[tuple[str, list[str]]]:
    for name in table.columns:
        cells = table.column(name).read(0, _FIRST_ROWS)
        yield name, [cell for cell in cells if isinstance(cell, str)]


def _column_part(table: Table, split: str, role: TextRole, name: str) -> TextPart:
    can_leak = role in LEAKING_ROLES or name.startswith("sentence")  # of two sentences either may be the query
    first = next((cell for cell in table.column(name).read(0, _FIRST_ROWS) if cell is not None), "")
    if isinstance(first, list):
        part = _text_part(split, role, table.column(name), lists=True, can_leak=can_leak, positions=table.positions)
        if any(isinstance(cell, list) for cell in first):
            raise InputError(f"{table.where()}, column {name!r}: holds lists of lists; give one text or a list a cell")
        return part
    return _text_part(split, role, table.text(name, empty=True), can_leak=can_leak, positions=table.positions)


def _text_part(
    split: str, role: TextRole, column: Column, *, can_leak: bool, lists: bool = False, positions: Ids | None = None
) -> TextPart:
    """Return a column of texts, or of lists of texts, in memory; a null is a blank text, or an empty list."""
    texts: list[str] = []
    lengths: list[int] = []
    for cells in chunks(column):
        for cell in cells:
            cell_texts: Sequence[Any] = (cell or []) if lists else [cell]
            texts.extend("" if text is None else str(text) for text in cell_texts)
            lengths.append(len(cell_texts))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return TextPart(split, role, column.name, texts, offsets, can_leak, positions)


def _label_column(table: Table, label: str | None, text_columns: list[str]) -> str | None:
    """Return the column of labels: the given one, or one with a usual name and few values."""
    if label is not None:
        table.column(label)  # an unknown name is an error here
        return label
    for name in (name for name in LABEL_COLUMNS if name in table.columns and name not in text_columns):
        cells = table.column(name).read(0, _FIRST_ROWS)
        values = {str(cell) for cell in cells}
        if not any(isinstance(cell, float) for cell in cells) and (len(values) < 0.5 * len(cells) or len(values) < 3):
            return name
    return None


def _read_beir(folder: Path) -> Material:
    """Return a BEIR folder: its documents, and its queries and relevant pairs where it has them."""
    _, documents = Beir.corpus(folder)
    parts, relevant = [_text_part("corpus", "document", documents, can_leak=False)], []
    if any(folder.glob("queries.jsonl*")):
        queries = Table(next(iter(sorted(folder.glob("queries.jsonl*")))))
        parts.append(_text_part("queries", "query", queries.text("text", empty=True), can_leak=True))
        relevant = _relevant(folder, [str(c) for cells in chunks(queries.column("_id")) for c in cells])
    return Material(folder.resolve().name, "BEIR folder", "corpus", parts, relevant=relevant)


def _relevant(folder: Path, query_ids: list[str]) -> list[tuple[int, int]]:
    """Return the positions of each query and its relevant documents, by the judgements of all splits."""
    row = {query_id: i for i, query_id in enumerate(query_ids)}
    splits = sorted({path.name.partition(".tsv")[0] for path in (folder / "qrels").glob("*.tsv*")}) or ["test"]
    if not (folder / "qrels").is_dir() and not any(folder.glob("qrels.tsv*")):
        return []
    tasks = [Beir(folder, split=split).task() for split in splits]
    relevant = {
        (row[task.query_ids[query]], document)
        for task in tasks
        for query, grades in task.relevance.items()
        for document, grade in grades.items()
        if grade > 0
    }
    return sorted(relevant)
