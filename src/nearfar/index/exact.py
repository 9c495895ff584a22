"""Exact search, by vectors, by words or by both: every document is scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from torch import Tensor

from nearfar.abilities import ARRAYS
from nearfar.column import Column, Ids, ListColumn, cell_ids, chunks, column_kind, kind_of
from nearfar.errors import InputError, nearest
from nearfar.index.hybrid import DEPTH, MODES, Mode
from nearfar.text.bm25 import Bm25, reciprocal_rank_fusion
from nearfar.vectors.embed import Embedder, embed_by_kind, embed_slices
from nearfar.vectors.ranking import Ranking
from nearfar.vectors.topk import TopK

TextHit = dict[str, Any]  # "id", "score" and, of a document of text, "text"
Corpus = Sequence[Any] | Column
Query = str | npt.NDArray[Any] | Tensor
Queries = list[str] | list[npt.NDArray[Any]] | list[Tensor]


@overload
def search(model: Embedder, corpus: Corpus, queries: Query, k: int = 10, *, mode: Mode = ...) -> list[TextHit]: ...


@overload
def search(
    model: Embedder, corpus: Corpus, queries: Queries, k: int = 10, *, mode: Mode = ...
) -> list[list[TextHit]]: ...


def search(
    model: Embedder, corpus: Corpus, queries: Query | Queries, k: int = 10, *, mode: Mode = "vectors"
) -> list[TextHit] | list[list[TextHit]]:
    """Return the k documents nearest to a query, best first: [{"id", "score", "text"}]; a list of such for a list.

    The score is the cosine; equal scores are in the order of the corpus. Documents are embedded and scored in slices,
    so memory holds one slice of vectors and the best documents so far, whatever the size of the corpus. An empty
    document is never found.

    By words (`text.bm25.Bm25`) the score is BM25's, and only documents that share a word with the query are found. The
    hybrid is the reciprocal rank fusion of both rankings, each to its 100 best documents or k, where k is more: its
    score is the sum of 1 / (60 + rank), which orders the documents of one query and says nothing beyond that.

    Args:
        model: anything with `embed(cells, role=...)` that returns unit vectors.
        corpus: texts, or arrays of whatever the model reads as keys, whose id is their position from 0; or rows with
            "text" and, optionally, "title" (put in front of the text) and "id" or "_id"; or a column of any of these.
        queries: a text, or an array that the model reads as a query, or a list of such.
        k: number of documents, at least 1; all of the corpus where it has fewer.
        mode: "vectors", "words" (the model is not used) or "hybrid"; the last two read texts only.

    Errors: `InputError`: an empty query; a corpus of something else, or with nothing but empty documents; k < 1; an
    unknown mode, or one by words where queries or documents are no texts.

    Example:
        >>> import nearfar as nf
        >>> encoder = nf.encoders.Static(dim=64, vocabulary=300)
        >>> corpus = ["a red fox", "a grey goose"]
        >>> encoder.prepare([nf.column.ListColumn("text", corpus)])
        >>> [hit] = nf.search(nf.Model(encoder), corpus, "a fox", k=1)
        >>> hit["id"], hit["text"]
        (0, 'a red fox')

    When not to use it: for many searches of one corpus, as each call embeds the corpus again; keep
    `model.embed(corpus)` and search it with `vectors.topk`.
    """
    is_single = not isinstance(queries, list | tuple)
    cells: list[Any] = [queries] if is_single else list(queries)
    for row, query in enumerate(cells):
        if not (query.strip() if isinstance(query, str) else kind_of(query) in ARRAYS):
            raise InputError(f"search: query {row + 1} is empty or no text ({query!r:.60}); write what to look for")
    if not cells:
        return []
    if isinstance(corpus, str):
        raise InputError("search: the corpus is one text; give a list of texts, or of rows with id and text")
    column: Column = ListColumn("corpus", corpus) if isinstance(corpus, Sequence) else corpus
    ranking = _ranking(model, column, cells, k, mode)
    hits = [
        [_hit(column, row, score) for row, score in zip(rows.tolist(), scores.tolist()) if row >= 0]
        for rows, scores in zip(ranking.rows, ranking.scores)
    ]
    return hits[0] if is_single else hits


def _ranking(model: Embedder, column: Column, cells: list[Any], k: int, mode: Mode) -> Ranking:
    """Return the k best rows of the corpus for each query."""
    if mode not in MODES:
        raise InputError(f"search: no mode {mode!r}; {nearest(str(mode), MODES)}")
    if k < 1:
        raise InputError(f"search: k must be at least 1, it is {k}")
    if mode == "vectors":
        return _by_vectors(model, column, cells, k)
    depth = k if mode == "words" else max(k, DEPTH)
    words = _by_words(column, cells, depth, mode)
    if mode == "words":
        return words
    return reciprocal_rank_fusion([_by_vectors(model, column, cells, depth), words], depth=k)


def _by_words(column: Column, cells: list[Any], k: int, mode: Mode) -> Ranking:
    documents = _Documents(column)
    if kinds := {kind for kind in (*map(kind_of, cells), column_kind(documents)) if kind not in (None, "text")}:
        raise InputError(f"search: {mode} reads texts, not {' and '.join(sorted(kinds))}; take mode 'vectors'")
    if not any(text.strip() for part in chunks(documents) for text in part):
        raise _nothing_to_find(column)
    return Bm25(documents).rank(cells, k)


def _by_vectors(model: Embedder, column: Column, cells: list[Any], k: int) -> Ranking:
    best = TopK(np.asarray(embed_by_kind(model, cells, "query"), np.float32), k)
    corpus_rows = np.empty(0, np.int64)  # the row in the corpus of each document that is not empty
    for rows, embedded, vectors in embed_slices(partial(embed_by_kind, model, role="key"), _Documents(column)):
        if embedded.any():
            best.add(np.asarray(vectors, np.float32))
            corpus_rows = np.append(corpus_rows, rows.start + np.flatnonzero(embedded))
    if not len(corpus_rows):
        raise _nothing_to_find(column)
    ranking = best.ranking()
    return Ranking(corpus_rows[ranking.rows], ranking.scores)


def _nothing_to_find(column: Column) -> InputError:
    return InputError(f"search: all {len(column)} documents of the corpus are empty; there is nothing to find")


class _Documents:
    """A corpus as a column of what is embedded: texts, those of rows with a title, or arrays."""

    name = "corpus"

    def __init__(self, column: Column) -> None:
        self.column = column

    def __len__(self) -> int:
        return len(self.column)

    def read(self, start: int, stop: int) -> list[Any]:
        """Return the texts or arrays of rows `start` to `stop`."""
        return [_content(cell, start + i) for i, cell in enumerate(self.column.read(start, stop))]

    def ids(self) -> Ids:
        """Return the content ids of what is embedded."""
        return cell_ids(self)


def _hit(column: Column, row: int, score: float) -> TextHit:
    cell = column.read(row, row + 1)[0]
    identity = cell.get("id", cell.get("_id", row)) if isinstance(cell, Mapping) else row
    content = _content(cell, row)
    return {"id": identity, "score": score} | ({"text": content} if isinstance(content, str) else {})


def _content(cell: Any, row: int) -> Any:
    """Return a document's text, with its title in front, as BEIR does; or its array."""
    if isinstance(cell, str) or kind_of(cell) in ARRAYS:
        return cell
    if not isinstance(cell, Mapping) or "text" not in cell:
        raise InputError(f"search: document {row + 1} of the corpus is no text and no row with 'text' ({cell!r:.60})")
    return f"{cell.get('title') or ''} {cell['text'] or ''}".strip()
