"""What is PostgreSQL's own: where it is, who we are, whose tables, and passwords that nothing shows."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar.errors import InputError, RunError
from nearfar.index.backends.pgvector import Pgvector
from nearfar.index.index import Index
from nearfar.index.rows import Rows
from tests.index.postgres_server import PASSWORD, server

SECRET = "hunter2"


@pytest.fixture
def settings() -> dict[str, Any]:
    return dict(server())


@pytest.fixture
def backend(settings: dict[str, Any], tmp_path: Path) -> Iterator[Pgvector]:
    made = Pgvector.create(tmp_path / "place", 3, {}, settings)
    yield made
    made.close()


def run(settings: dict[str, Any], *statements: str) -> Any:
    """Run statements as another client; return what the last one gives."""
    import psycopg

    with psycopg.connect(host=settings["host"], dbname=settings["database"], autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else None


def some(n: int) -> Rows:
    return Rows([f"r{i}" for i in range(n)], np.eye(3, dtype=np.float32)[np.arange(n) % 3], [None] * n, {})


@pytest.mark.parametrize(
    "wrong",
    [{"password": SECRET}, {"dsn": f"postgresql://me:{SECRET}@host/db"}, {"database": f"postgresql://me:{SECRET}@h/db"},
     {"host": f"host=h password={SECRET}"}, {"host": f"me:{SECRET}@h"}, {"database": f"db?password={SECRET}"},
     {"table": f"x; drop table {SECRET}"}, {"table": "X"}, {"table": ""}, {"port": SECRET}, {"port": 0}, {"host": ""},
     {"precision": "int8"}],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused_and_not_shown(wrong: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="the extra pgvector is not installed")
    with pytest.raises(InputError, match=r"^(pgvector|precision)") as error:
        Index.create(tmp_path / "i", None, dim=3, backend="pgvector", settings=wrong)
    assert SECRET not in str(error.value)
    assert not any(SECRET in path.read_text() for path in tmp_path.rglob("*.json"))


def test_a_wrong_password_is_one_line_without_it(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", SECRET)
    with pytest.raises(InputError, match=r"cannot be reached .*password authentication failed") as error:
        Pgvector.create(tmp_path / "place", 3, {}, settings)
    assert SECRET not in str(error.value)
    assert "PGPASSWORD or ~/.pgpass" in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="cannot be reached"):
        Pgvector.create(tmp_path / "place", 3, {}, {**settings, "host": str(tmp_path)})


def test_no_file_of_an_index_holds_a_password(settings: dict[str, Any], tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", None, dim=3, backend="pgvector", settings={**settings, "table": "mine"}) as index:
        index.add(["a", "b"], vectors=np.eye(3)[:2])
        assert PASSWORD not in repr(index.info())
    held = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert os.environ["PGUSER"].encode() not in held.replace(b'"database": "postgres"', b"")
    assert PASSWORD.encode() not in held
    with Index.open(tmp_path / "i") as index:
        assert index.ids() == ["a", "b"]


def test_a_password_may_come_from_a_file(
    settings: dict[str, Any], backend: Pgvector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.upsert(some(2))
    file = tmp_path / "pgpass"
    file.write_text(f"*:*:*:postgres:{PASSWORD}\n")
    file.chmod(0o600)
    monkeypatch.delenv("PGPASSWORD")
    monkeypatch.setenv("PGPASSFILE", str(file))
    other = Pgvector.open(tmp_path / "place", 3, {}, settings)
    assert other.count() == 2
    other.close()


def test_a_table_that_is_not_ours_is_neither_read_nor_dropped(settings: dict[str, Any], tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    run(settings, "CREATE TABLE customers_0a1b2c3d (id text, vector vector(3))")
    (place / "table").write_text("customers_0a1b2c3d")
    for call in (lambda: Pgvector.open(place, 3, {}, settings), lambda: Pgvector.discard(place, settings)):
        with pytest.raises(InputError, match="is no index of nearfar"):
            call()
    (place / "table").write_text('x"; DROP TABLE customers_0a1b2c3d; --')
    with pytest.raises(InputError, match="names no table"):
        Pgvector.open(place, 3, {}, settings)
    Pgvector.discard(place, settings)
    assert run(settings, "SELECT count(*) FROM customers_0a1b2c3d") == [(0,)]
    run(settings, "DROP TABLE customers_0a1b2c3d")


def test_a_generation_that_is_dropped_leaves_no_table(settings: dict[str, Any], tmp_path: Path) -> None:
    tables = "SELECT count(*) FROM pg_class WHERE relname LIKE 'gone_%' AND relkind = 'r'"
    folder, vectors = tmp_path / "i", np.eye(3)
    with Index.create(folder, None, dim=3, backend="pgvector", settings={**settings, "table": "gone"}) as index:
        index.add(["a"], vectors=vectors[:1])
    for _ in range(2):  # the first is dropped by the second
        with Index.beside(folder, None, dim=3) as index:
            index.add(["b", "c"], vectors=vectors[:2])
    assert run(settings, tables) == [(2,)]
    Index.swap(folder, drop_old=True)
    assert run(settings, tables) == [(1,)]
    with Index.open(folder) as index:
        assert index.ids() == ["b", "c"]


def test_a_connection_that_was_lost_is_made_again(settings: dict[str, Any], backend: Pgvector) -> None:
    backend.upsert(some(3))
    cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'nearfar'"
    for call in (backend.count, lambda: backend.upsert(some(4)), backend.optimise, backend.count):
        assert run(settings, cut)[0][0] >= 1
        call()
    assert backend.count() == 4


def test_a_table_that_was_dropped_by_another_is_one_line(settings: dict[str, Any], backend: Pgvector) -> None:
    run(settings, f"DROP TABLE {backend.table}")
    with pytest.raises(InputError, match="does not exist; build the index again"):
        backend.count()
    with pytest.raises(InputError, match="is missing; build the index again"):
        Pgvector.open(backend.place, 3, {}, settings)


def test_an_upsert_that_fails_leaves_none_of_its_rows(settings: dict[str, Any], backend: Pgvector) -> None:
    backend.upsert(some(2))
    run(settings, f"ALTER TABLE {backend.table} ADD CONSTRAINT none CHECK (id <> 'r7')")
    with pytest.raises(RunError, match="violates check constraint"):
        backend.upsert(some(9))
    assert backend.ids() == ["r0", "r1"]
    backend.upsert(some(5))
    assert backend.count() == 5


def test_a_database_that_is_not_of_utf_8_is_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    run(settings, "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(InputError, match="encoded in LATIN1"):
        Pgvector.create(tmp_path / "place", 3, {}, {**settings, "database": "latin"})


def test_vectors_too_long_for_an_index_are_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"16,000 dimensions, the model's have 16,001"):
        Pgvector.create(tmp_path / "place", 16_001, {}, settings)
    for dim, words in ((2500, None), (4001, "take 4,000 dimensions")):
        made = Pgvector.create(tmp_path / f"place {dim}", dim, {}, settings)
        vectors = np.eye(5, dim, dtype=np.float32)
        made.upsert(Rows(list("abcde"), vectors, [None] * 5, {}))
        if words is None:
            made.build_approximate({"name": "hnsw"})
        else:
            with pytest.raises(InputError, match=words):
                made.build_approximate({"name": "hnsw"})
        [found] = made.nearest(vectors[1:2], 2, approximate={"name": "hnsw"} if words is None else None)
        assert found.ids == ["b", "a"]
        made.close()


def test_without_its_package_the_fix_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(InputError, match=r"pip install 'nearfar\[pgvector\]'"):
        Index.create(tmp_path / "i", None, dim=3, backend="pgvector")
