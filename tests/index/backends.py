"""The backends that the contract tests run over, and what makes each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nearfar.index.backend import Backend
from nearfar.index.backends.exact import Exact
from tests.index.postgres_server import server

Made = tuple[type[Backend], dict[str, Any]]  # the class, and settings that are its own for one index
# A name for each backend and setting that must hold the contract to the id; a callable, as some start a server.
BACKENDS: dict[str, Callable[[Path], Made]] = {
    "exact": lambda _: (Exact, {}),
    "exact-int8": lambda _: (Exact, {"precision": "int8"}),
    "lance": lambda _: _lance(),
    "pgvector": lambda _: _pgvector(),
}
# The same for `nf.Index.create`: its arguments.
SETTINGS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "exact": lambda _: {},
    "exact-float16": lambda _: {"precision": "float16"},
    "exact-int8": lambda _: {"precision": "int8"},
    "exact-first-dim": lambda _: {"settings": {"first_dim": 2}},
    "lance": lambda _: {"backend": "lance", "settings": _lance()[1]},
    "pgvector": lambda _: {"backend": "pgvector", "settings": _pgvector()[1]},
}


def _lance() -> Made:
    pytest.importorskip("lancedb", reason="the extra lance is not installed")
    from nearfar.index.backends.lance import Lance

    return Lance, {}


def _pgvector() -> Made:
    settings = server()
    from nearfar.index.backends.pgvector import Pgvector

    return Pgvector, settings
