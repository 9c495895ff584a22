"""pgvector's approximate indexes by name: how they are built, and how they are searched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nearfar.errors import InputError
from nearfar.index.backends.approximate import Known, Setting

KNOWN: Known = {
    "hnsw": {
        "m": Setting(16, 2, 100),
        "ef_construction": Setting(64, 4, 1000),
        "ef_search": Setting(100, 1, 1000, "effort"),
    },
    "ivfflat": {"lists": Setting(None, 1, 32_768), "probes": Setting(20, 1, 32_768, "effort")},
}
_FULL, _HALF = 2000, 4000  # dimensions that an index takes in float32, in float16
_MOST_SEARCHED = 1000  # of hnsw.ef_search
_IN_A_LIST = 1000  # rows, of ivfflat, by default


def index_of(given: Mapping[str, Any], dim: int, rows: int) -> str:
    """Return what CREATE INDEX says after USING. Errors: `InputError` for too many dimensions."""
    if dim > _HALF:
        raise InputError(f"approximate: pgvector's indexes take {_HALF:,} dimensions, these have {dim:,}")
    name = given["name"]
    build = {key: given[key] for key, each in KNOWN[name].items() if each.part == "build"}
    if name == "ivfflat" and build["lists"] is None:
        build["lists"] = max(1, rows // _IN_A_LIST)
    options = ", ".join(f"{key} = {value}" for key, value in build.items())
    return f"{name} (({indexed(dim)}) {'vector' if dim <= _FULL else 'halfvec'}_ip_ops) WITH ({options})"


def indexed(dim: int, vector: str = "vector") -> str:
    """Return what is indexed of a vector: itself, or its numbers in float16."""
    return vector if dim <= _FULL else f"{vector}::halfvec({dim})"


def search_options(given: Mapping[str, Any], limit: int) -> dict[str, str]:
    """Return the server's options for a search, which looks on while a filter leaves fewer than are asked for."""
    name = given["name"]
    options = {f"{name}.iterative_scan": "relaxed_order"}
    if name == "hnsw":
        options["hnsw.ef_search"] = str(max(given["ef_search"], min(limit, _MOST_SEARCHED)))
    else:
        options["ivfflat.probes"] = str(given["probes"])
    return options
