"""Rows in LanceDB: one table of vectors, texts and fields in files, with its approximate indexes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from nearfar.errors import InputError, RunError
from nearfar.index.backends.approximate import Effort, checked, effort_of
from nearfar.index.backends.backend_settings import refuse_other_settings
from nearfar.index.backends.candidates import MORE, Shortlist, settled
from nearfar.index.backends.lance_approximate import KNOWN, index_of, searched_by
from nearfar.index.backends.lance_filter import column, expression
from nearfar.index.backends.lance_folder import connect, explained
from nearfar.index.filters import Filter
from nearfar.index.rows import Kind, Kinds, Nearest, Row, Rows, Value, Vectors

if TYPE_CHECKING:
    import pyarrow as pa

_TABLE = "rows"
# What tells LanceDB that two writers who add one id are in each other's way; without it both rows stay.
_KEY = {"lance-schema:unenforced-primary-key": "true"}
_KEPT = timedelta(hours=1)  # how long `optimise` leaves old versions to those who read them
_AT_ONCE = 1 << 24  # numbers in the vectors that one query brings


class Lance:
    """The rows of one generation in a folder of LanceDB's.

    A call is one version of the table, so its rows are there all or none, and a reader looks for the newest version
    before each read. Approximate indexes (`KNOWN`, by name): ivf_flat, ivf_pq, ivf_hnsw_sq; rows that were written
    since are compared one by one.
    """

    def __init__(self, place: Path, dim: int, fields: Kinds, table: Any) -> None:
        self.place, self.dim, self.fields, self._table = place, dim, dict(fields), table

    @classmethod
    def create(cls, place: Path, dim: int, fields: Kinds, settings: Mapping[str, Any]) -> Self:
        """Make an empty one, in place of one whose making was broken off. Errors: `InputError` for settings."""
        refuse_other_settings(settings, (), "lance")
        import pyarrow as pa

        shutil.rmtree(place / f"{_TABLE}.lance", ignore_errors=True)
        database = connect(place)
        parts: list[pa.Field[Any]] = [
            pa.field("id", pa.string(), nullable=False, metadata=_KEY),
            pa.field("text", pa.string()),
        ]
        parts += [pa.field("vector", pa.list_(pa.float32(), dim), nullable=False)]
        parts += [_field(name, kind) for name, kind in fields.items()]
        with explained(place, "cannot be made"):
            return cls(place, dim, fields, database.create_table(_TABLE, schema=pa.schema(parts)))

    @classmethod
    def open(cls, place: Path, dim: int, fields: Kinds, settings: Mapping[str, Any]) -> Self:
        """Open what `create` made. Errors: `InputError` for one that is missing, damaged or of another dimension."""
        refuse_other_settings(settings, (), "lance")
        if not (place / f"{_TABLE}.lance").is_dir():
            raise InputError(f"{place}: is missing, so this index cannot be read; build it again")
        with explained(place, "cannot be opened"):
            table = connect(place).open_table(_TABLE)
            schema = table.schema
        there = schema.field("vector").type.list_size if "vector" in schema.names else None
        if there != dim:
            raise InputError(f"{place}: has vectors of {there} dimensions, index.json says {dim}; build it again")
        if lost := [name for name in fields if column(name) not in schema.names]:
            raise InputError(f"{place}: has no field {lost[0]!r:.60}, which index.json names; build it again")
        return cls(place, dim, fields, table)

    @classmethod
    def discard(cls, place: Path, settings: Mapping[str, Any]) -> None:
        """Do nothing: all of it is in the place."""

    def add_fields(self, fields: Kinds) -> None:
        """Give rows further fields, without a value in the rows that are there."""
        with self._writing():
            there = set(self._table.schema.names)
            new = [_field(name, kind) for name, kind in fields.items() if column(name) not in there]
            if new:
                self._table.add_columns(new)
        self.fields |= fields

    def upsert(self, rows: Rows) -> None:
        """Add rows; one of an id that is there replaces it."""
        if not len(rows):
            return
        with self._writing():
            given = self._arrow(rows)
            merge = self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            merge.execute(given)

    def delete(self, ids: Sequence[str]) -> int:
        """Remove rows; return how many were there."""
        if not ids:
            return 0
        with self._writing():
            return int(self._table.delete(_among(ids)).num_deleted_rows)

    def get(self, ids: Sequence[str]) -> list[Row | None]:
        """Return the rows of ids, in their order; None where there is none."""
        if not ids:
            return []
        found = self._read(["id", "text", *map(column, self.fields)], _among(ids))
        rows = {row.id: row for row in self._rows(found)}
        return [rows.get(name) for name in ids]

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """Return the vectors (n, d) of rows that are there. Errors: `KeyError` naming an id that is not."""
        if not ids:
            return np.empty((0, self.dim), np.float32)
        found = self._read(["id", "vector"], _among(ids))
        place = {name: i for i, name in enumerate(found["id"].to_pylist())}
        vectors: Vectors = _numbers(found["vector"], self.dim)[[place[name] for name in ids]]
        return vectors

    def count(self, where: Filter | None = None) -> int:
        """Return the number of rows, or of those that match."""
        if where is not None:
            return len(self._read(["id"], expression(where, self.fields)))
        with self._reading():
            return int(self._table.count_rows())

    def ids(self, where: Filter | None = None) -> list[str]:
        """Return the ids of all rows, or of those that match, ascending."""
        found = self._read(["id"], None if where is None else expression(where, self.fields))
        names: list[Any] = found["id"].to_pylist()
        return sorted(names)

    def value_counts(self, field: str, where: Filter | None = None, most: int = 50) -> dict[Value, int] | None:
        """Return how many rows have each value of a field; None where there are more than `most` values."""
        found = self._read([column(field)], None if where is None else expression(where, self.fields))
        counts: Any = found[column(field)].drop_null().value_counts()
        return None if len(counts) > most else {one["values"]: one["counts"] for one in counts.to_pylist()}

    def scan(self, size: int = 4096) -> Iterator[Rows]:
        """Yield all rows with their vectors, at most `size` at a time, in any order, of one version of the table."""
        with self._reading():
            names = ["id", "text", "vector", *map(column, self.fields)]
            batches = self._table.search().select(names).to_batches(batch_size=size)
            for whole in batches:
                for start in range(0, len(whole), size):
                    batch = whole.slice(start, size)
                    fields = {name: batch[column(name)].to_pylist() for name in self.fields}
                    vectors = _numbers(batch["vector"], self.dim)
                    yield Rows(batch["id"].to_pylist(), vectors, batch["text"].to_pylist(), fields)

    def nearest(
        self, queries: Vectors, k: int, where: Filter | None = None, *, approximate: Mapping[str, Any] | None = None
    ) -> list[Nearest]:
        """Return for each query (n, d) the k rows of largest inner product among those that match, all where fewer do.

        approximate: the settings of an index that `build_approximate` built; where it comes short of k, the search is
        exact.
        """
        queries = np.asarray(queries, np.float32)
        settings = None if approximate is None else checked(approximate, KNOWN, "lance")
        limit = min(k, self.count()) + MORE
        found, at_once = [], max(1, _AT_ONCE // (limit * self.dim))
        for start in range(0, len(queries), at_once):
            part = queries[start : start + at_once]
            for query, first in zip(part, self._candidates(part, limit, where, settings)):

                def look(limit: int | None, least: float | None, query: Vectors = query) -> Shortlist:
                    return self._candidates(query[None], limit or self.count() + 1, where, None, least)[0]

                found.append(settled(first, k, limit, look, exact=settings is None))
        return found

    def effort(self, settings: Mapping[str, Any]) -> Effort:
        """Return what makes a search by an approximate index find more. Errors: `InputError` for an unknown index."""
        return effort_of(settings, KNOWN, "lance")

    def build_approximate(self, settings: Mapping[str, Any]) -> None:
        """Build the approximate index that settings name, in place of another.

        Errors: `InputError` for one that it has not, or that the rows are too few for.
        """
        given = checked(settings, KNOWN, "lance")
        config = index_of(given, self.dim)
        try:
            with self._writing():
                self._table.create_index("vector", config=config, replace=True)
        except RunError as error:
            raise InputError(f"approximate: {given['name']} cannot be built: {error}") from error

    def drop_approximate(self) -> None:
        """Remove the approximate index, where there is one."""
        with self._writing():
            for index in self._table.list_indices():
                if index.columns == ["vector"]:
                    self._table.drop_index(index.name)

    def optimise(self) -> None:
        """Join small files, bring indexes up to date, also one of ids, and drop what was deleted over an hour ago."""
        from lancedb.index import BTree

        with self._writing():
            if not any(index.columns == ["id"] for index in self._table.list_indices()):
                self._table.create_index("id", config=BTree())
            self._table.optimize(cleanup_older_than=_KEPT, delete_unverified=True)

    def close(self) -> None:
        """Let go of the table."""
        self._table._table.close()

    def _candidates(
        self,
        queries: Vectors,
        limit: int,
        where: Filter | None,
        settings: Mapping[str, Any] | None,
        least: float | None = None,
    ) -> list[Shortlist]:
        """Return the best rows of each query by LanceDB's scores, of at least `least`, and at most so many."""
        with self._reading():
            search = self._table.search(queries, vector_column_name="vector").distance_type("dot").limit(limit)
            search = search.select(["id", "vector", "_distance"])
            if where is not None:
                search = search.where(expression(where, self.fields))
            if least is not None:
                search = search.distance_range(upper_bound=1 - least)
            search = search.bypass_vector_index() if settings is None else searched_by(search, settings, limit)
            found = search.to_arrow()
        ids, vectors = np.array(found["id"].to_pylist(), object), _numbers(found["vector"], self.dim)
        scores = 1 - found["_distance"].to_numpy()
        of = found["query_index"].to_numpy() if "query_index" in found.column_names else np.zeros(len(ids), np.int32)
        parts = [np.flatnonzero(of == i) for i in range(len(queries))]
        return [Shortlist(query, ids[i].tolist(), vectors[i], scores[i]) for query, i in zip(queries, parts)]

    def _read(self, names: list[str], where: Any) -> pa.Table:
        with self._reading():
            search = self._table.search().select(names)
            found: pa.Table = (search if where is None else search.where(where)).to_arrow()
        return found

    def _rows(self, found: pa.Table) -> Iterator[Row]:
        cells = [(name, found[column(name)].to_pylist()) for name in self.fields]
        ids: list[Any] = found["id"].to_pylist()
        for i, (name, text) in enumerate(zip(ids, found["text"].to_pylist())):
            fields: dict[str, Value] = {field: values[i] for field, values in cells if values[i] is not None}
            yield Row(name, text, fields)

    def _arrow(self, rows: Rows) -> pa.Table:
        import pyarrow as pa

        flat = pa.array(np.ascontiguousarray(rows.vectors, np.float32).reshape(-1))
        values: dict[str, Any] = {"id": rows.ids, "text": rows.texts}
        values["vector"] = pa.FixedSizeListArray.from_arrays(flat, self.dim)
        for name in self.fields:
            values[column(name)] = rows.fields.get(name, [None] * len(rows))
        schema = self._table.schema
        return pa.table({name: values[name] for name in schema.names}, schema=schema)

    def _reading(self) -> Any:
        return explained(self.place, "cannot be read")

    def _writing(self) -> Any:
        return explained(self.place, "cannot be written", RunError)


def _field(name: str, kind: Kind) -> pa.Field[Any]:
    import pyarrow as pa

    types = {"text": pa.string(), "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}
    return pa.field(column(name), types[kind])


def _among(ids: Sequence[str]) -> Any:
    from lancedb.expr import col

    return col("id").isin(list(ids))


def _numbers(column: Any, dim: int) -> Vectors:
    """Return a column of vectors as (n, d)."""
    flat = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    vectors: Vectors = flat.flatten().to_numpy().reshape(-1, dim)
    return vectors
