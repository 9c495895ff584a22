"""Looking at a corpus as a map: of an index, or of texts or pictures that a model embeds."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.column import Column, column_kind, take
from nearfar.errors import InputError, NearfarError, nearest
from nearfar.index.index import Index
from nearfar.index.kept_map import keep_map, kept_map, made_map, map_file
from nearfar.model import Model
from nearfar.reports.map import MapQuery, MapRows
from nearfar.vectors.corpus_map import CorpusMap, map_of, refuse_method
from nearfar.vectors.embed import Vectors, embed_by_kind, embed_column
from nearfar.vectors.topk import topk

_AT_ONCE = 4096  # rows that are read at a time
_READ = 1000  # characters of a text


def map_of_index(index: Index, method: str = "pca") -> tuple[CorpusMap, Path | None]:
    """Return the map of an index, and the file beside its rows that keeps it; None where it cannot be kept.

    A map that is kept of the index as it is now is read; else it is made of all rows, and kept.

    Errors: `InputError` for fewer than three rows and an unknown method; those of `made_map`.
    """
    refuse_method(method)
    if (known := kept_map(index, method)) is not None:
        return known, map_file(index, method)
    made = made_map(index, method)
    try:
        return made[0], keep_map(index, made)
    except NearfarError as error:  # such as a folder that only others may write
        warnings.warn(f"the map is not kept: {error}", stacklevel=2)
        return made[0], None


def query_of_index(index: Index, found: CorpusMap, query: Any, k: int = 10) -> MapQuery:
    """Return a query on the map of an index, with its k nearest rows by vectors. query: a text, or a vector (d,).

    Errors: those of `Index.search`.
    """
    vector = np.asarray(query, np.float32) if isinstance(query, np.ndarray) else index.embed(query)
    hits = index.search(vector, k, mode="vectors")
    pairs = [(found.rows[hit.id], hit.score) for hit in hits if hit.id in found.rows]  # others were just written
    rows = np.array([row for row, _ in pairs], np.int64)
    text = query if isinstance(query, str) else "a vector"
    return MapQuery(text, found.locate(vector, rows), rows, np.array([score for _, score in pairs], np.float64))


def rows_of_index(index: Index, found: CorpusMap, rows: Any, by: str | None) -> MapRows:
    """Return some rows (m,) of an index's map with their texts and the field by which they are coloured.

    Errors: `InputError` for an unknown field.
    """
    refuse_field(index, by)
    texts, values, labels = list[str](), list[Any](), list[str]()
    for start in range(0, len(rows), _AT_ONCE):
        ids = [found.ids[i] for i in rows[start : start + _AT_ONCE]]
        for name, row in zip(ids, index.get(ids)):
            texts.append("" if row is None or row.text is None else row.text[:_READ])
            values.append(None if row is None or by is None else row.fields.get(by))
            labels.append(name if row is None else _label(name, row.fields))
    of_documents = "file" in index.fields
    return MapRows(rows, texts, by, None if by is None else values, labels if of_documents else None)


def _label(name: str, fields: Mapping[str, Any]) -> str:
    """Return what a row is called, as the page of a server has it: its file with the line or the page; of an archive
    the member; else its id.
    """
    file, line, page, member = (fields.get(field) for field in ("file", "line", "page", "member"))
    if not isinstance(file, str):
        return name
    if isinstance(member, str):
        return member
    return f"{file}:{line}" if line is not None else f"{file}, page {page}" if page is not None else file


def refuse_field(index: Index, by: str | None) -> None:
    """Refuse a field that the rows of an index do not have."""
    if by is not None and by not in (known := index.fields):
        raise InputError(f"{index.folder}: {by!r:.60}: no such field; {nearest(by, known) if known else 'it has none'}")


def map_of_cells(
    model: Model, cells: Column, ids: Sequence[str], method: str = "pca"
) -> tuple[CorpusMap, Vectors, Any]:
    """Return the map of cells that a model embeds, their unit vectors (m, d), and which cells they are of, (m,).

    Empty texts have no vector and are left out.

    Errors: those of the model and of `map_of`.
    """
    refuse_method(method)
    vectors = embed_column(model, cells, "key", empty=True)
    rows = np.flatnonzero(vectors.any(1))
    vectors = vectors if len(rows) == len(vectors) else vectors[rows]
    return map_of(vectors, [ids[row] for row in rows.tolist()], method), vectors, rows


def query_of_cells(model: Model, found: CorpusMap, vectors: Vectors, query: str, k: int = 10) -> MapQuery:
    """Return a query on the map of cells, whose vectors are (m, d), with its k nearest rows. Errors: of the model."""
    vector = embed_by_kind(model, [query], "query")
    best = topk(vector, vectors, min(k, len(vectors)))
    return MapQuery(query, found.locate(vector[0], best.rows[0]), best.rows[0], best.scores[0].astype(np.float64))


def rows_of_cells(
    cells: Column, given: Any, shown: Any, by: str | None, values: Sequence[Any] | None, ids: Sequence[str]
) -> MapRows:
    """Return some rows (m,) of a map of cells with their texts; a picture's is its id.

    given: which cell each row of the map is, (n,). values: of all cells in the column `by`.
    """
    chosen = given[shown]
    pictures = column_kind(cells) == "image"
    texts = [ids[row] for row in chosen] if pictures else [str(cell)[:_READ] for cell in take(cells, chosen)]
    return MapRows(shown, texts, by, None if values is None else [values[row] for row in chosen])
