"""Index: rows with vectors, texts and fields in a folder, to be searched by meaning, by words, or by both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self, overload

from nearfar.errors import InputError, nearest
from nearfar.index import writing
from nearfar.index.embedding import Embedding
from nearfar.index.filters import Filter
from nearfar.index.folder import Generation, IndexFolder
from nearfar.index.generations import begin, create, swap, waiting
from nearfar.index.hybrid import WEIGHTED, Fusion, Hit, Mode
from nearfar.index.incoming import checked_fields
from nearfar.index.opened import Opened, counted
from nearfar.index.pictured import Pictured
from nearfar.index.reranking import DEPTH, PairScorer, Rerankers
from nearfar.index.rows import Kinds, Row, Rows, Vectors
from nearfar.index.searching import asked, similar, vectors_of
from nearfar.index.upkeep import Upkeep


class Index(Upkeep, Pictured, AbstractContextManager["Index"]):
    """Rows in a folder: each an id, a unit vector, perhaps a text, and typed fields.

    `create` makes one, `open` opens it. Rows that are pictures get a thumbnail (`Pictured`). Several processes may read
    and write it: writers wait for each other, a write that has returned is there whatever happens, and a reader sees it
    at its next call.

    Example:
        >>> import tempfile
        >>> import nearfar as nf
        >>> encoder = nf.encoders.Static(dim=64, vocabulary=300)
        >>> texts = ["a red fox", "a grey goose"]
        >>> encoder.prepare([nf.column.ListColumn("text", texts)])
        >>> folder = tempfile.TemporaryDirectory()
        >>> index = nf.Index.create(folder.name + "/animals.index", nf.Model(encoder))
        >>> index.add([{"id": "f", "text": texts[0], "legs": 4}, {"id": "g", "text": texts[1], "legs": 2}])
        2
        >>> [hit.id for hit in index.search("a fox", k=1, where="legs > 2")]
        ['f']
        >>> index.close()
        >>> folder.cleanup()

    When not to use it: for one search of one corpus, which `nearfar.search` does without a folder.
    """

    def __init__(self, opened: Opened, embedding: Embedding) -> None:
        self._opened, self._embedding, self._rerankers = opened, embedding, Rerankers()
        try:
            with opened.reading() as (generation, _):
                embedding.check(generation)
                opened.expect(generation)
        except BaseException:
            opened.close()
            raise

    @classmethod
    def create(
        cls,
        folder: str | Path,
        model: Any,
        *,
        backend: str = "exact",
        precision: str = "float32",
        fields: Mapping[str, Any] | None = None,
        dim: int | None = None,
        language: str | None = "auto",
        settings: Mapping[str, Any] | None = None,
    ) -> Self:
        """Make an empty index in a folder, and open it.

        Args:
            folder: where there is none yet.
            model: a `Model`, its folder, or anything with `embed(cells, role=...)`, `dim` and `fingerprint`; None where
                all rows and queries will be vectors.
            backend: what keeps the rows: "exact", "lance" or "pgvector" (docs/backends.md).
            precision: in which vectors are kept and compared: "float32", "float16", or "int8" and "bits", by which the
                best candidates are found for float32 to score.
            fields: names and kinds ("text", "integer", "number", "boolean") of fields; others are added as rows bring
                them, of the kind of their first value.
            dim: of the vectors, where there is no model.
            language: of the texts, for search by words: its stems and stop words. "auto" tells it by the texts,
                anew until there are 200; None knows none.
            settings: further ones of the backend.

        Errors: `InputError` where an index is there already, for an unknown backend, precision, kind or language.
        """
        place, embedding, kinds = IndexFolder(Path(folder)), Embedding(model), checked_fields(fields or {})
        kept = {"name": backend, "precision": precision, **(settings or {})}
        create(place, embedding, Generation(kept, embedding.dim(dim), fields=kinds), language)
        return cls(Opened(place), embedding)

    @classmethod
    def open(cls, folder: str | Path, model: Any = None) -> Self:
        """Open an index. model: as of `create`; without one it is searched by vectors and words alone.

        Errors: `InputError` where there is none, it is damaged, or its vectors are of another model.
        """
        embedding = Embedding(model)  # refused, if it is, before anything is open
        return cls(Opened(IndexFolder(Path(folder))), embedding)

    @classmethod
    def beside(
        cls, folder: str | Path, model: Any, *, dim: int | None = None, language: str | None = "auto", new: bool = True
    ) -> Self:
        """Open a generation of another model beside the one that is searched, to be filled; `swap` then puts it there.

        new: make it, and drop one that was begun before; otherwise open that one. Arguments and errors: as of `create`.
        """
        place, embedding = IndexFolder(Path(folder)), Embedding(model)
        number = begin(place, embedding, language=language, dim=dim) if new else waiting(place)
        return cls(Opened(place, number), embedding)

    @staticmethod
    def swap(folder: str | Path, *, drop_old: bool = False) -> None:
        """Let the generation that was filled beside take the place of the one that is searched, at once.

        Errors: `InputError` where there is none, or it is empty.
        """
        swap(IndexFolder(Path(folder)), drop_old=drop_old)

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self._opened.folder.path

    @property
    def place(self) -> Path:
        """The folder of the generation that is searched."""
        with self._opened.reading():
            return self._opened.folder.place(self._opened.number)

    def refuse_another(self) -> None:
        """Refuse to go on where a generation of another model was swapped in since this one was opened.

        Errors: `OtherModelError`, an `InputError`.
        """
        with self._opened.reading() as (generation, _):
            self._opened.refuse_another(generation)

    @property
    def fields(self) -> Kinds:
        """The kinds of the fields that rows may have, by name."""
        with self._opened.reading() as (_, store):
            return dict(store.fields)

    @property
    def description(self) -> Generation:
        """What `index.json` says of the generation that is searched, with rows and digest as of the last write."""
        with self._opened.reading() as (generation, store):
            return counted(generation, store)

    def add(self, rows: Iterable[Any], vectors: Any = None) -> int:
        """Add rows, or replace those of their ids; return how many. All of them are there when it returns, or none is.

        Args:
            rows: mappings with "id", "text" or "image" (pixels, or whatever the model reads), and fields. Where vectors
                are given, content may be missing, and a row may be its id alone. A title is a field like any other.
            vectors: (n, d), where they are known; they are normalised.

        Errors: `InputError`, by row, and nothing is written: an id that is empty or there twice; nothing to embed; a
        field's value of another kind than before; vectors that are zero, not finite, or of another dimension.
        """
        return writing.add(self._opened, self._embedding, rows, vectors)

    def delete(self, ids: Sequence[str] | None = None, *, where: str | Filter | None = None) -> int:
        """Remove the rows of ids, or those that match a filter; return how many there were. Unknown ids are none.

        Errors: `InputError` for both or neither, and for a wrong filter.
        """
        return writing.delete(self._opened, ids, where)

    @overload
    def get(self, ids: str) -> Row | None: ...  # type: ignore[overload-overlap]  # a text is a sequence of texts, too

    @overload
    def get(self, ids: Sequence[str]) -> list[Row | None]: ...

    def get(self, ids: str | Sequence[str]) -> Row | list[Row | None] | None:
        """Return the row of an id, or those of several in their order; None where there is none."""
        with self._opened.reading() as (_, store):
            found = store.backend.get([ids] if isinstance(ids, str) else list(ids))
        return found[0] if isinstance(ids, str) else found

    def count(self, where: str | Filter | None = None) -> int:
        """Return the number of rows, or of those that match a filter."""
        with self._opened.reading() as (_, store):
            return store.backend.count(self._opened.filter(where))

    def value_counts(
        self, field: str, where: str | Filter | None = None, *, most: int = 50
    ) -> dict[str | int | float | bool, int] | None:
        """Return how many rows have each value of a field, of all or of those that match, the commonest first.

        None, where there are more than `most` values. Rows without a value are not counted.

        Errors: `InputError` for an unknown field, and for a wrong filter.
        """
        with self._opened.reading() as (_, store):
            if field not in store.fields:
                raise InputError(f"value_counts: no row has a field {field!r:.60}; {nearest(field, store.fields)}")
            found: Any = store.backend.value_counts(field, self._opened.filter(where), most)
        return None if found is None else dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def ids(self, where: str | Filter | None = None) -> list[str]:
        """Return the ids of all rows, or of those that match a filter, ascending."""
        with self._opened.reading() as (_, store):
            return store.backend.ids(self._opened.filter(where))

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """Return the unit vectors (n, d) of rows. Errors: `InputError` for an id that is not there."""
        with self._opened.reading() as (_, store):
            return vectors_of(store, ids, "vectors")

    def embed(self, query: Any) -> Vectors:
        """Return the unit vector (d,) of a query, a text or what else the model reads. Errors: those of `search`."""
        with self._opened.reading() as (generation, _):
            self._opened.refuse_another(generation)
        found: Vectors = self._embedding.embed([query], "query", generation)[0]
        return found

    def rows(self, size: int = 4096) -> Iterator[Rows]:
        """Yield all rows with their vectors, at most `size` at a time, in any order, and each part as it is then.

        Other threads may search and write between two parts. Errors: `ChangedMeanwhileError` where another
        generation took the place of this one, or its rows were copied into new files (`optimise`).
        """
        return self._opened.rows(size)

    def search(
        self,
        query: Any = None,
        k: int = 10,
        *,
        where: str | Filter | None = None,
        mode: Mode | None = None,
        fusion: Fusion = WEIGHTED,
        like: str | Sequence[str] | None = None,
        rerank: str | Path | PairScorer | None = None,
        depth: int = DEPTH,
        explain: bool = False,
    ) -> Any:
        """Return the k best rows for a query, best first, a list of `Hit`; for a list of queries, a list of such lists.

        There are k hits, or as many as match the filter, where that is fewer (by words: as many as share a word with
        the query). Equal scores are in the order of ids. After `approximate` some of the nearest may be missed.

        Args:
            query: a text, a vector (d,), a picture or what else the model reads; or a list of such.
            k: number of rows, at least 1.
            where: a filter, `year >= 2020 and lang = 'de'` (`index.parse_filter`), or its tree.
            mode: "vectors" (the score is the cosine), "words" (BM25) or "hybrid" (both, fused); by default hybrid for
                texts where the index has texts, else vectors.
            fusion: of a hybrid search, weights of both scores, each as a share of the best one (cosines from -1, BM25
                from 0 on), by default {"vectors": 0.6, "words": 0.4}; or "rrf", reciprocal rank fusion.
            like: ids, in place of a query: more rows like these, without them, by the mean of their vectors.
            rerank: a cross-encoder's folder, or what returns the scores of (queries, texts), pair by pair: the best
                `depth` rows, at least k, are ordered by its scores, which the hits then have.
            explain: whether hits say what each ranking gave.

        Errors: `InputError` for an empty query, one that is zero or not finite or of another dimension, a wrong filter,
        an unknown id; for a text where the index was opened without a model; for a reranker that is none or gives
        scores that are not finite, and for a query or a row that it should read and that is no text.
        """
        if (query is None) == (like is None):
            raise InputError("search: give a query, or ids with like=; one of the two")
        reranking = None if rerank is None else self._rerankers.of(rerank, depth)
        with self._opened.reading() as (generation, store):
            self._opened.refuse_another(generation)
            condition, is_single = self._opened.filter(where), True
            if like is not None:
                search = similar(like, k, mode, store, explain=explain)
            else:
                search, is_single = asked(query, k, mode, fusion, store, generation.dim, explain=explain)
        if reranking is not None:
            reranking.refuse(search.queries)
            search.k = max(k, depth)
        search.embed(self._embedding, generation)  # without holding up other threads
        with self._opened.reading() as (now, store):
            self._opened.refuse_another(now)
            found: list[list[Hit]] = search.run(store, condition, now.searched_by)
        if reranking is not None:
            found = reranking.reranked(search.queries, found, k)
        return found[0] if is_single else found

    def close(self) -> None:
        """Let go of files and connections."""
        self._opened.close()

    def __exit__(self, *_: object) -> None:
        self.close()
