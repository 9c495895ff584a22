"""A connection to PostgreSQL: who we are is libpq's affair, transactions, and errors in one line without secrets."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from nearfar.errors import InputError, RunError
from nearfar.index.rows import Vectors

if TYPE_CHECKING:
    from psycopg import Connection, Cursor

PLACE = ("host", "port", "database")  # the settings that say where it is
_SECRETS = "user and password come from PGUSER, PGPASSWORD or ~/.pgpass, and are written nowhere"
_PATIENCE = 10  # seconds to be connected
_REQUIRES = 160_000  # the version of libpq from which it can be told in which ways not to show who we are
_OLDEST = (0, 8)  # of pgvector: from then on it looks on where a filter left too few
_MOST_DIMENSIONS = 16_000  # of pgvector's type
_NOT_A_NAME = re.compile(r"[@=?\x00-\x1f\x7f]|://")  # what connection strings have, and names do not
_HEAD = 4  # bytes before the numbers of a vector, as pgvector sends it: its dimension and two unused ones


class Postgres:
    """A database with pgvector. One that was lost is connected again by the next transaction.

    settings: host (a name, address or the folder of a socket), port, database; what is left out libpq takes from
    PGHOST, PGPORT, PGDATABASE or its defaults.

    Errors: `InputError` where it cannot be reached, or what is asked for is not there; `RunError` for others of the
    server's.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        driver()  # raises
        self._given = {"dbname" if key == "database" else key: settings[key] for key in PLACE if key in settings}
        self.where = f"PostgreSQL at {settings.get('host', 'its default host')}"
        if "database" in settings:
            self.where += f", database {settings['database']}"
        self._turn = threading.RLock()
        self._connection: Connection[Any] | None = None

    @contextmanager
    def reading(self) -> Iterator[Cursor[Any]]:
        """Read in one transaction, which sees the tables as they are at the first read."""
        with self._transaction("REPEATABLE READ READ ONLY") as cursor:
            yield cursor

    @contextmanager
    def writing(self) -> Iterator[Cursor[Any]]:
        """Write in one transaction, which an exception undoes."""
        with self._transaction("READ COMMITTED") as cursor:
            yield cursor

    def do_alone(self, statement: str) -> None:
        """Run a statement that may be in no transaction."""
        with self._turn, self._explained():
            self._begun("").execute(statement.encode())

    def close(self) -> None:
        """Let go of the connection."""
        with self._turn:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[Cursor[Any]]:
        from psycopg import Error

        with self._turn, self._explained():
            connection = self._begun(f"BEGIN ISOLATION LEVEL {kind}")
            try:
                with connection.cursor(binary=True) as cursor:
                    yield cursor
            except BaseException:
                with suppress(Error):
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def _begun(self, statement: str) -> Connection[Any]:
        """Return a connection on which a first statement ran: it shows whether the server is still there."""
        from psycopg import OperationalError

        connection = self._connection
        if connection is not None and not connection.closed:
            with suppress(OperationalError):
                connection.execute(statement.encode())
                return connection
        self._connection = connection = self._connected()
        connection.execute(statement.encode())
        return connection

    def _connected(self) -> Connection[Any]:
        psycopg = driver()
        given: dict[str, Any] = {"connect_timeout": _PATIENCE, "application_name": "nearfar", **self._given}
        if "PGREQUIREAUTH" not in os.environ and psycopg.pq.version() >= _REQUIRES:
            given["require_auth"] = "!password"  # who wrote index.json chose the host: it is not told the password
        try:
            connection: Connection[Any] = psycopg.connect(autocommit=True, **given)
        except psycopg.Error as error:
            raise InputError(f"{self.where}: cannot be reached ({_said(error)}); {_SECRETS}") from error
        [[oid]] = connection.execute("SELECT coalesce(to_regtype('vector')::oid, 0)").fetchall()
        if oid:
            connection.adapters.register_dumper(np.ndarray, _dumper(oid))
        return connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say in one line what the server says."""
        from psycopg import Error, errors

        try:
            yield
        except (errors.UndefinedTable, errors.UndefinedColumn) as error:
            raise InputError(f"{self.where}: {_said(error)}; build the index again") from error
        except (errors.InsufficientPrivilege, errors.ProgramLimitExceeded) as error:
            raise InputError(f"{self.where}: {_said(error)}") from error
        except Error as error:
            raise RunError(f"{self.where}: {_said(error)}") from error


def prepare(server: Postgres) -> None:
    """Check that a server has what is needed, and install the extension in the database."""
    with server.writing() as cursor:
        do(cursor, "SELECT current_setting('server_encoding')")
        if (encoding := cursor.fetchall()[0][0]) != "UTF8":
            raise InputError(f"{server.where}: is encoded in {encoding}; make a database in UTF8")
        do(cursor, "SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'")
        if not cursor.fetchall()[0][0]:
            raise InputError(f"{server.where}: the server has no pgvector; install it there")
        do(cursor, "CREATE EXTENSION IF NOT EXISTS vector")
        do(cursor, "SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        version = cursor.fetchall()[0][0]
    if tuple(map(int, version.split(".")[:2])) < _OLDEST:
        raise InputError(f"{server.where}: has pgvector {version}; 0.8 or newer is needed")
    server.close()  # the next connection knows the type


def do(cursor: Any, statement: str, parameters: Sequence[Any] = ()) -> None:
    """Run a statement, always with parameters, so that %% is % in it; planned anew, as a filter changes the plan."""
    cursor.execute(statement.encode(), parameters, prepare=False)


def driver() -> Any:
    """Return psycopg. Errors: `InputError` where it is not installed."""
    try:
        import psycopg
    except ImportError as error:  # of the package, or of libpq
        raise InputError("the backend pgvector needs psycopg: pip install 'nearfar[pgvector]'") from error
    return psycopg


def check_place(settings: Mapping[str, Any]) -> None:
    """Refuse a wrong host, port or database, without showing it: it may be a connection string with a password."""
    for key in ("host", "database"):
        value = settings.get(key, "localhost")
        if not isinstance(value, str) or not value or _NOT_A_NAME.search(value):
            raise InputError(f"pgvector: {key} is no name of one; {_SECRETS}")
    port = settings.get("port", 5432)
    if type(port) is not int or not 0 < port < 65_536:
        raise InputError("pgvector: port is no number from 1 to 65535")


def check_dimension(dim: int) -> None:
    """Refuse vectors that the type cannot hold."""
    if dim > _MOST_DIMENSIONS:
        raise InputError(f"pgvector: holds vectors of {_MOST_DIMENSIONS:,} dimensions, the model's have {dim:,}")


def received(cells: Sequence[bytes], dim: int) -> Vectors:
    """Return vectors (n, d) as pgvector sends them: each a head and big-endian float32 numbers."""
    rows = np.frombuffer(b"".join(cells), np.uint8).reshape(len(cells), _HEAD + 4 * dim)
    vectors: Vectors = np.ascontiguousarray(rows[:, _HEAD:]).view(">f4").astype(np.float32)
    return vectors


def _dumper(number: int) -> Any:
    """Return the class that sends arrays (d,) as vectors, of the type that has this number in the database."""
    from psycopg.adapt import Dumper
    from psycopg.pq import Format

    def dump(_: Any, vector: Any) -> bytes:
        return len(vector).to_bytes(2, "big") + bytes(2) + np.asarray(vector, ">f4").tobytes()

    return type("VectorDumper", (Dumper,), {"format": Format.BINARY, "oid": number, "dump": dump})


def _said(error: Any) -> str:
    """Return what the server says in one line, without the row or the statement it says it of."""
    text = error.diag.message_primary or str(error)
    return " ".join(text.split())[:300]
