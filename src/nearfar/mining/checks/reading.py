"""From what the user names to the material of an audit: which columns hold the texts, and which the labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.column import chunks
from nearfar.data.beir import Beir
from nearfar.data.table import Table
from nearfar.errors import InputError, nearest
from nearfar.mining.checks.material import Material, Part, Role, part
from nearfar.positives._roles import Roles

LABELS = ("label", "labels", "class", "category", "topic", "topics", "intent")
_LOOK = 1000  # rows that say what a column holds


def read(
    source: str | Path | Table,
    *,
    column: str | None = None,
    query: str | None = None,
    key: str | None = None,
    label: str | None = None,
) -> Material:
    """Return all texts of a table (of pairs, graded pairs or texts) or of a BEIR folder.

    Columns that are not named are recognised as by `positives.Columns`; else the column with the longest texts counts.
    Errors: `InputError`: those of the data; a column that is not there or holds no text.
    """
    if not isinstance(source, Table):
        folder = Path(source).expanduser()
        if folder.is_dir() and any(folder.glob("corpus.jsonl*")):
            return _beir(folder)
        return _table(Table(source), folder.resolve().name, column=column, query=query, key=key, label=label)
    return _table(source, source.where(), column=column, query=query, key=key, label=label)


def _table(
    table: Table, name: str, *, column: str | None, query: str | None, key: str | None, label: str | None
) -> Material:
    kind, columns = _columns(table, column, query, key)
    main = "train" if "train" in table.splits else table.splits[0]
    label = _label(table, label, [name for _, name in columns])
    parts, labels = [], {}
    for split in dict.fromkeys([main, *table.splits]):
        rows = table.split(split)
        if gone := [name for _, name in columns if name not in rows.columns]:
            raise InputError(f"{rows.where()}: no column {gone[0]!r}; {nearest(gone[0], rows.columns)}")
        parts += [_part(rows, split, role, name) for role, name in columns]
        if label is not None and label in rows.columns:
            labels[split] = [cell for cells in chunks(rows.column(label)) for cell in cells]
    if sum(len(part.texts) for part in parts) == 0:
        raise InputError(f"{table.where()}: no text in {', '.join(name for _, name in columns)}; name another column")
    return Material(name, kind, main, parts, labels, label if main in labels else None)


def _columns(
    table: Table, column: str | None, query: str | None, key: str | None
) -> tuple[Any, list[tuple[Role, str]]]:
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
        return "texts", [("text", _longest(table))]
    negatives: list[tuple[Role, str]] = [("negative", name) for name in roles.negatives]
    return "pairs", [("query", roles.query), ("key", roles.key), *negatives]


def _longest(table: Table) -> str:
    """Return the column with the longest texts by the first rows."""
    sizes = {name: np.mean([len(text) for text in texts]) for name, texts in _texts(table) if texts}
    if not sizes:
        raise InputError(f"{table.where()}: no column of text; columns: {', '.join(table.columns)}")
    return "text" if "text" in sizes else max(sizes, key=lambda name: float(sizes[name]))


def _texts(table: Table) -> Iterator[tuple[str, list[str]]]:
    for name in table.columns:
        cells = table.column(name).read(0, _LOOK)
        yield name, [cell for cell in cells if isinstance(cell, str)]


def _part(table: Table, split: str, role: Role, name: str) -> Part:
    asks = True if name.startswith("sentence") else None  # either of two sentences may come first
    first = next((cell for cell in table.column(name).read(0, _LOOK) if cell is not None), "")
    if isinstance(first, list):
        found = part(split, role, table.column(name), lists=True, asks=asks)
        if any(isinstance(cell, list) for cell in first):
            raise InputError(f"{table.where()}, column {name!r}: holds lists of lists; give one text or a list a cell")
        return found
    return part(split, role, table.text(name, empty=True), asks=asks)


def _label(table: Table, label: str | None, texts: list[str]) -> str | None:
    """Return the column of labels: the one named, or one with a usual name and few values."""
    if label is not None:
        table.column(label)  # an unknown one is refused here
        return label
    for name in (name for name in LABELS if name in table.columns and name not in texts):
        cells = table.column(name).read(0, _LOOK)
        values = {str(cell) for cell in cells}
        if not any(isinstance(cell, float) for cell in cells) and (len(values) < 0.5 * len(cells) or len(values) < 3):
            return name
    return None


def _beir(folder: Path) -> Material:
    """Return a BEIR folder: its documents, its queries, and which are near, where the judgements can be read."""
    _, documents = Beir.corpus(folder)
    parts, judged = [part("corpus", "document", documents)], []
    if any(folder.glob("queries.jsonl*")):
        queries = Table(next(iter(sorted(folder.glob("queries.jsonl*")))))
        parts.append(part("queries", "query", queries.text("text", empty=True)))
        judged = _judged(folder, [str(c) for cells in chunks(queries.column("_id")) for c in cells])
    return Material(folder.resolve().name, "BEIR folder", "corpus", parts, judged=judged)


def _judged(folder: Path, query_ids: list[str]) -> list[tuple[int, int]]:
    """Return the places of queries and documents that are judged near, in all splits of the judgements."""
    place = {ident: i for i, ident in enumerate(query_ids)}
    splits = sorted({path.name.partition(".tsv")[0] for path in (folder / "qrels").glob("*.tsv*")}) or ["test"]
    if not (folder / "qrels").is_dir() and not any(folder.glob("qrels.tsv*")):
        return []
    tasks = [Beir(folder, split=split).task() for split in splits]
    near = {
        (place[task.query_ids[query]], document)
        for task in tasks
        for query, grades in task.relevance.items()
        for document, grade in grades.items()
        if grade > 0
    }
    return sorted(near)
