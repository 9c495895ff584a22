"""Held-out splits as retrieval tasks: documents are found by views of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nearfar import registry
from nearfar.abilities import pool_of
from nearfar.column import Column, Ids, ListColumn, content_ids
from nearfar.contracts import Data, StreamedAugmentation
from nearfar.errors import InputError
from nearfar.positives.relations.augmented import AugmentedColumn
from nearfar.positives.relations.documents import Documents, SelectedCells, documents_column, spread
from nearfar.positives.relations.tasks import distinct, judged_and_train
from nearfar.tasks import Retrieval

Span = tuple[int, int]  # the start and stop of a part of a text, in characters


def documents_to_judge(
    data: Data, split: str, column: str | None, chunk: int
) -> tuple[Documents, list[Documents], Documents | None]:
    """Return the documents of a split, those of the other rows that are ranked with them, and those of training.

    The last is None where they are the split's. Other rows without the column have no documents.
    """
    rows, train = judged_and_train(data, split)
    documents = Documents.of(rows, column, chunk)
    name = documents_column(rows, column)
    others = [other for other in pool_of(data, split) if name in other.columns and len(other)]
    pool = [Documents.of(other, column, chunk) for other in others]
    return documents, pool, None if train is None else Documents.of(train, column, chunk)


def view_task(
    name: str,
    documents: Documents,
    query: StreamedAugmentation | None,
    rest: StreamedAugmentation | None = None,
    *,
    times: int = 1,
    pool: Sequence[Documents] = (),
    train: Documents | None = None,
) -> Retrieval:
    """Return the task of finding each distinct document by its query view, augmented, always alike.

    Where the query is a part of a text, word for word, the document is the rest of the text: in the whole text, those
    words alone would find it. For crops of film reviews, BM25's MRR@10 is 1.00 on whole texts and 0.49 on the rest.
    Without a query view, the query is a crop (`text_crop`). rest: what makes the documents, where it is given.

    times: queries of a text, at most, where there is no `rest`; those of one text do not overlap, leave half of it, and
    are resampled together. pool: further documents to rank, made in the same way, so that nothing but their contents
    tells them apart. train: the documents of training, which were seen; None where the task is of these themselves.

    Errors: `InputError` for no documents; for cells that are no text, without a query view: a cell finds itself.
    """
    if query is None and not documents.are_texts:
        raise InputError(
            "positives.views: without an augmentation a cell that is no text finds itself, which judges nothing; give "
            "a view one (positives.views.0.name=...), or a column of labels (positives.label) to judge by"
        )
    query = query or StreamedAugmentation(registry.build("augmentations", {"name": "text_crop"}), 0)
    sources, known = list[tuple[Documents, Ids]](), np.zeros(0, np.int64)
    for source in (documents, *pool):
        ids = content_ids(source.cells)
        first = distinct(source.cells, np.flatnonzero(~np.isin(ids, known)))[1]
        sources.append((source, first))
        known = np.concatenate([known, ids[first]])  # (m,) of all documents at last
    if (n := len(sources[0][1])) == 0:
        raise InputError(f"split {name!r} has no rows to judge with; hold out more")
    judged = [_judged(source, rows, query, rest, times) for source, rows in sources]
    own, queries = judged[0], _drawn(documents, sources[0][1], query, 0)
    source_of = np.arange(n)  # (q,) the document of each query
    if isinstance(own, RestColumn):
        parts = own.parts_of(0, n)
        queries = ListColumn("query", [part for of_text in parts for part in of_text])
        source_of = np.repeat(source_of, list(map(len, parts)))
    elif documents.are_texts:
        queries = ListColumn("query", queries.read(0, n))
    cells, place = spread(judged, "document")
    empty = sum(source.empty for source, _ in sources)
    clusters = np.unique(documents.document_ids[sources[0][1]], return_inverse=True)[1][source_of]
    return Retrieval(
        name,
        queries,
        cells,
        [f"q{i}" for i in range(len(source_of))],
        [f"d{i}" for i in range(len(cells))],
        {i: {document: 1} for i, document in enumerate(place[source_of].tolist())},
        clusters,
        {"queries": len(source_of), "documents": len(cells), "clusters": len(np.unique(clusters))}
        | ({"empty documents, left out": empty} if empty else {}),
        seen=None if train is None else np.isin(known[np.argsort(place)], content_ids(train.cells)),
    )


def _judged(
    documents: Documents, rows: Ids, query: StreamedAugmentation, rest: StreamedAugmentation | None, times: int
) -> Column:
    """Return some documents as a task ranks them, made whenever they are read."""
    if rest is not None:
        ids = content_ids(documents.cells)[rows]
        return AugmentedColumn("document", documents.cells, rows, ids, rest, documents.row)
    selected = SelectedCells("document", documents.cells, rows)
    if not documents.are_texts:
        return selected
    return RestColumn("document", selected, [_drawn(documents, rows, query, draw) for draw in range(times)])


def _drawn(documents: Documents, rows: Ids, query: StreamedAugmentation, draw: int) -> Column:
    """Return a view of some documents as queries."""
    ids = content_ids(documents.cells)[rows]
    return AugmentedColumn("query", documents.cells, rows, ids, query, documents.row, draw)


@dataclass(frozen=True, eq=False)
class RestColumn:
    """A column of texts without the queries that are parts of them, cut whenever they are read.

    drawn: columns of as many texts. The first is a query of each text; others are where they are parts of it that
    overlap with no other, and all of them leave half of it.
    """

    name: str
    texts: Column
    drawn: Sequence[Column]

    def __len__(self) -> int:
        return len(self.texts)

    def read(self, start: int, stop: int) -> list[Any]:
        """Return texts `start` to `stop`, each without its queries."""
        return [_without(text, _apart(text, drawn)) for text, drawn in self._read(start, stop)]

    def parts_of(self, start: int, stop: int) -> list[list[str]]:
        """Return the queries of texts `start` to `stop`: of a short text, or where they are changed, the first."""
        found = ((text, drawn, _apart(text, drawn)) for text, drawn in self._read(start, stop))
        return [[text[a:b] for a, b in spans] or drawn[:1] for text, drawn, spans in found]

    def _read(self, start: int, stop: int) -> list[tuple[str, list[str]]]:
        drawn = zip(*(column.read(start, stop) for column in self.drawn), strict=True)
        return [(text, list(parts)) for text, parts in zip(self.texts.read(start, stop), drawn, strict=True)]


def _apart(text: str, drawn: Sequence[str]) -> list[Span]:
    """Return the places of those parts of a text that do not overlap and, taken out, leave half of it."""
    spans: list[Span] = []
    for part in drawn:
        start = text.find(part)
        stop = start + len(part)
        apart = start >= 0 and all(stop <= a or b <= start for a, b in spans)
        if apart and 2 * sum((b - a for a, b in spans), stop - start) <= len(text):
            spans.append((start, stop))
    return spans


def _without(text: str, spans: Sequence[Span]) -> str:
    """Return a text without some spans of it; the whole text without any."""
    if not spans:
        return text
    ends = [0, *(stop for _, stop in sorted(spans))]
    starts = [*(start for start, _ in sorted(spans)), len(text)]
    kept = (text[a:b].strip() for a, b in zip(ends, starts, strict=True))
    return " ".join(part for part in kept if part)
