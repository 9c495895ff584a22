"""Rows in a table of PostgreSQL with pgvector, with its approximate indexes."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np

from nearfar.errors import InputError
from nearfar.index.backends.approximate import Effort, checked, effort_of
from nearfar.index.backends.backend_settings import refuse_other_settings
from nearfar.index.backends.candidates import MORE, Shortlist, settled
from nearfar.index.backends.pgvector_approximate import KNOWN, index_of, indexed, search_options
from nearfar.index.backends.postgres import PLACE, Postgres, check_dimension, check_place, do, prepare, received
from nearfar.index.filter_sql import compiled, quoted, stored_as
from nearfar.index.filters import Filter
from nearfar.index.rows import Kind, Kinds, Nearest, Row, Rows, Value, Vectors

_NAME, _MADE = re.compile(r"[a-z_][a-z0-9_]{0,40}"), re.compile(r"[a-z_][a-z0-9_]{0,40}_[0-9a-f]{8}")
_FILE = "table"  # in the place: the table's whole name
_MARK = "an index of nearfar"  # the table's comment: no other table is written, read or dropped
_TYPES: dict[Kind, str] = {"text": "text", "integer": "bigint", "number": "double precision", "boolean": "boolean"}
_INLINE = 1024  # dimensions up to which vectors lie in the rows' own pages: all are read three times as fast


class Pgvector:
    """The rows of one generation in a table, whose name a file in the place keeps.

    settings: host, port, database (see `Postgres`), and table, with which the table's name begins. Approximate indexes
    (`KNOWN`, by name): hnsw, ivfflat; of vectors in float16 beyond 2,000 dimensions, and none beyond 4,000.
    """

    def __init__(self, place: Path, dim: int, fields: Kinds, settings: Mapping[str, Any]) -> None:
        _check(settings)
        check_dimension(dim)
        self.place, self.dim, self.fields, self.table = place, dim, dict(fields), ""
        self._server = Postgres(settings)

    @classmethod
    def create(cls, place: Path, dim: int, fields: Kinds, settings: Mapping[str, Any]) -> Self:
        """Make an empty one. Errors: `InputError` for settings, or a server that cannot be reached."""
        cls.discard(place, settings)
        made = cls(place, dim, fields, settings)
        made.table = f"{settings.get('table', 'nearfar')}_{secrets.token_hex(4)}"
        with made._closed_by_errors():
            prepare(made._server)
            place.mkdir(parents=True, exist_ok=True)
            (place / _FILE).write_text(made.table)  # first, so that `discard` finds one whose making was broken off
            columns = "".join(f", {quoted(name, 'postgres')} {_TYPES[kind]}" for name, kind in fields.items())
            with made._server.writing() as cursor:
                key = 'id text COLLATE "C" PRIMARY KEY'
                do(cursor, f"CREATE TABLE {made.table} ({key}, text text, vector vector({dim}) NOT NULL{columns})")
                do(cursor, f"COMMENT ON TABLE {made.table} IS '{_MARK}'")
                if dim <= _INLINE:
                    do(cursor, f"ALTER TABLE {made.table} ALTER COLUMN vector SET STORAGE PLAIN")
        return made

    @classmethod
    def open(cls, place: Path, dim: int, fields: Kinds, settings: Mapping[str, Any]) -> Self:
        """Open what `create` made. Errors: `InputError` for one that is missing, damaged or of another dimension."""
        found = cls(place, dim, fields, settings)
        found.table = _kept_name(place)
        with found._closed_by_errors():
            columns = found._columns()
            if (has := columns.get("vector")) != dim:
                raise InputError(f"{found._where}: has vectors of {has} dimensions, not {dim}; build the index again")
            if lost := [name for name in fields if stored_as(name) not in columns]:
                raise InputError(f"{found._where}: has no field {lost[0]!r:.60}; build the index again")
        return found

    @classmethod
    def discard(cls, place: Path, settings: Mapping[str, Any]) -> None:
        """Drop the table of what `create` made, or began to make, in a place."""
        name = _read(place)
        if _MADE.fullmatch(name):  # else it was broken off before there was a table
            found = cls(place, 1, {}, settings)
            found.table = name
            with closing(found), found._server.writing() as cursor:
                if found._is_there(cursor):
                    do(cursor, f"DROP TABLE {found.table}")

    def add_fields(self, fields: Kinds) -> None:
        """Give rows further fields, without a value in the rows that are there."""
        with self._server.writing() as cursor:
            for name, kind in fields.items():
                column = f"{quoted(name, 'postgres')} {_TYPES[kind]}"
                do(cursor, f"ALTER TABLE {self.table} ADD COLUMN IF NOT EXISTS {column}")
        self.fields |= fields

    def upsert(self, rows: Rows) -> None:
        """Add rows; one of an id that is there replaces it."""
        names = ["text", "vector", *(quoted(name, "postgres") for name in self.fields)]
        of_fields = (rows.fields.get(name, [None] * len(rows)) for name in self.fields)
        values: list[Any] = [rows.texts, rows.vectors, *of_fields]
        order = sorted(range(len(rows)), key=lambda i: rows.ids[i])  # alike in all writers, so that none blocks another
        with self._server.writing() as cursor:
            cursor.executemany(
                f"INSERT INTO {self.table} (id, {', '.join(names)}) VALUES (%s{', %s' * len(names)}) "
                f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = EXCLUDED.{name}' for name in names)}".encode(),
                ([rows.ids[i], *(value[i] for value in values)] for i in order),
            )

    def delete(self, ids: Sequence[str]) -> int:
        """Remove rows; return how many were there."""
        with self._server.writing() as cursor:
            do(cursor, f"DELETE FROM {self.table} WHERE id = ANY(%s)", [list(ids)])
            return int(cursor.rowcount)

    def get(self, ids: Sequence[str]) -> list[Row | None]:
        """Return the rows of ids, in their order; None where there is none."""
        with self._server.reading() as cursor:
            do(cursor, f"SELECT id, text{self._field_columns} FROM {self.table} WHERE id = ANY(%s)", [list(ids)])
            found = {row[0]: row for row in cursor}
        fields = {key: {f: v for f, v in zip(self.fields, row[2:]) if v is not None} for key, row in found.items()}
        return [Row(name, found[name][1], fields[name]) if name in found else None for name in ids]

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """Return the vectors (n, d) of rows that are there. Errors: `KeyError` naming an id that is not."""
        with self._server.reading() as cursor:
            do(cursor, f"SELECT id, vector FROM {self.table} WHERE id = ANY(%s)", [list(ids)])
            found = dict(cursor.fetchall())
        return received([found[name] for name in ids], self.dim)

    def count(self, where: Filter | None = None) -> int:
        """Return the number of rows, or of those that match."""
        condition, parameters = compiled(where, "postgres")
        with self._server.reading() as cursor:
            do(cursor, f"SELECT count(*) FROM {self.table} WHERE {condition}", parameters)
            return int(cursor.fetchall()[0][0])

    def ids(self, where: Filter | None = None) -> list[str]:
        """Return the ids of all rows, or of those that match, ascending."""
        condition, parameters = compiled(where, "postgres")
        with self._server.reading() as cursor:
            do(cursor, f"SELECT id FROM {self.table} WHERE {condition} ORDER BY id", parameters)
            return [name for (name,) in cursor]

    def value_counts(self, field: str, where: Filter | None = None, most: int = 50) -> dict[Value, int] | None:
        """Return how many rows have each value of a field; None where there are more than `most` values."""
        (condition, parameters), name = compiled(where, "postgres"), quoted(field, "postgres")
        select = f"SELECT {name}, count(*) FROM {self.table} WHERE {name} IS NOT NULL AND {condition} GROUP BY {name}"
        with self._server.reading() as cursor:
            do(cursor, f"{select} LIMIT {most + 1}", parameters)
            found: dict[Value, int] = dict(cursor.fetchall())
        return None if len(found) > most else found

    def scan(self, size: int = 4096) -> Iterator[Rows]:
        """Yield all rows with their vectors, at most `size` at a time, in the order of ids; each part as it is then."""
        after, columns = "", f"id, text, vector{self._field_columns}"
        while True:
            with self._server.reading() as cursor:
                do(cursor, f"SELECT {columns} FROM {self.table} WHERE id > %s ORDER BY id LIMIT %s", [after, size])
                page = cursor.fetchall()
            if not page:
                return
            ids, texts, vectors, *cells = (list(column) for column in zip(*page))
            yield Rows(ids, received(vectors, self.dim), texts, dict(zip(self.fields, cells)))
            after = ids[-1]

    def nearest(
        self, queries: Vectors, k: int, where: Filter | None = None, *, approximate: Mapping[str, Any] | None = None
    ) -> list[Nearest]:
        """Return for each query (n, d) the k rows of largest inner product among those that match, all where fewer do.

        approximate: the settings of an index that `build_approximate` built; where it comes short of k, the search is
        exact.
        """
        settings = None if approximate is None else checked(approximate, KNOWN, "pgvector")
        found, limit = [], k + MORE
        with self._server.reading() as cursor:
            for query in np.asarray(queries, np.float32):

                def look(limit: int | None, least: float | None, query: Vectors = query) -> Shortlist:
                    return self._compared(cursor, query, limit, where, least)

                if settings is None:
                    found.append(settled(look(limit, None), k, limit, look, exact=True))
                else:
                    first = self._approximate(cursor, query, limit, where, settings)
                    found.append(settled(first, k, limit, look, exact=False))
        return found

    def effort(self, settings: Mapping[str, Any]) -> Effort:
        """Return what makes a search by an approximate index find more. Errors: `InputError` for an unknown index."""
        return effort_of(settings, KNOWN, "pgvector")

    def build_approximate(self, settings: Mapping[str, Any]) -> None:
        """Build the approximate index that settings name, in place of another. Errors: `InputError`."""
        given = checked(settings, KNOWN, "pgvector")
        kind = index_of(given, self.dim, self.count())
        with self._server.writing() as cursor:
            do(cursor, f"DROP INDEX IF EXISTS {self.table}_near")
            do(cursor, f"CREATE INDEX {self.table}_near ON {self.table} USING {kind}")
        self.optimise()  # so that the planner knows what there is

    def drop_approximate(self) -> None:
        """Remove the approximate index, where there is one."""
        with self._server.writing() as cursor:
            do(cursor, f"DROP INDEX IF EXISTS {self.table}_near")

    def optimise(self) -> None:
        """Give back the space of what was deleted, and count anew what the planner goes by."""
        self._server.do_alone(f"VACUUM (ANALYZE) {self.table}")

    def close(self) -> None:
        """Let go of the connection."""
        self._server.close()

    def _compared(
        self, cursor: Any, query: Vectors, limit: int | None, where: Filter | None, least: float | None
    ) -> Shortlist:
        """Return the best rows when all are compared: no index orders by a negated distance."""
        condition, parameters = compiled(where, "postgres")
        given: list[Any] = [query, *parameters]
        if least is not None:
            condition = f"({condition}) AND -(vector <#> %s) >= %s"
            given += [query, least]
        select = f"SELECT id, vector, -(vector <#> %s) AS score FROM {self.table} WHERE {condition}"
        do(cursor, f"{select} ORDER BY score DESC LIMIT %s", [*given, limit])
        return self._candidates(query, cursor.fetchall())

    def _approximate(
        self, cursor: Any, query: Vectors, limit: int, where: Filter | None, settings: Mapping[str, Any]
    ) -> Shortlist:
        """Return what an index finds; it looks on while a filter leaves fewer than are asked for."""
        for key, value in search_options(settings, limit).items():
            do(cursor, "SELECT set_config(%s, %s, true)", [key, value])
        condition, parameters = compiled(where, "postgres")
        distance = f"{indexed(self.dim)} <#> {indexed(self.dim, '%s::vector')}"
        select = f"SELECT id, vector, -(vector <#> %s) FROM {self.table} WHERE {condition}"
        do(cursor, f"{select} ORDER BY {distance} LIMIT %s", [query, *parameters, query, limit])
        return self._candidates(query, cursor.fetchall())

    def _candidates(self, query: Vectors, found: Sequence[Any]) -> Shortlist:
        vectors = received([row[1] for row in found], self.dim)
        return Shortlist(query, [row[0] for row in found], vectors, np.array([row[2] for row in found], np.float32))

    @contextmanager
    def _closed_by_errors(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    @property
    def _where(self) -> str:
        return f"{self._server.where}, table {self.table}"

    @property
    def _field_columns(self) -> str:
        """The columns of fields, to follow others in a SELECT."""
        return "".join(f", {quoted(name, 'postgres')}" for name in self.fields)

    def _is_there(self, cursor: Any) -> bool:
        """Return whether the table is there. Errors: `InputError` where it is no index of ours."""
        do(cursor, "SELECT obj_description(to_regclass(%s), 'pg_class'), to_regclass(%s)::oid", [self.table] * 2)
        comment, number = cursor.fetchall()[0]
        if number is not None and comment != _MARK:
            raise InputError(f"{self._where}: is no index of nearfar; choose another place, or build the index again")
        return number is not None

    def _columns(self) -> dict[str, int]:
        """Return the table's columns by name, with the dimension of vectors."""
        with self._server.reading() as cursor:
            if not self._is_there(cursor):
                raise InputError(f"{self._where}: is missing; build the index again")
            of = "attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped"
            do(cursor, f"SELECT attname::text, atttypmod FROM pg_attribute WHERE {of}", [self.table])
            return dict(cursor.fetchall())


def _check(settings: Mapping[str, Any]) -> None:
    refuse_other_settings(settings, (*PLACE, "table"), "pgvector")
    check_place(settings)
    name = settings.get("table", "nearfar")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError("pgvector: table is no name of one; take small letters, digits and _, at most 41")


def _kept_name(place: Path) -> str:
    """Return the name of the table that `create` made."""
    name = _read(place)
    if not _MADE.fullmatch(name):
        raise InputError(f"{place / _FILE}: is missing or names no table of an index; build the index again")
    return name


def _read(place: Path) -> str:
    try:
        return (place / _FILE).read_text()
    except (OSError, ValueError):
        return ""
