"""LanceDB's approximate indexes by name: how they are built, and how they are searched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nearfar.errors import InputError
from nearfar.index.backends.approximate import Known, Setting

_PROBES, _PARTITIONS = Setting(20, 1, 65_536, "effort"), Setting(None, 1, 65_536)
KNOWN: Known = {
    "ivf_flat": {"partitions": _PARTITIONS, "probes": _PROBES},
    "ivf_pq": {
        "partitions": _PARTITIONS,
        "sub_vectors": Setting(None, 1, 4096),
        "probes": _PROBES,
        "refine": Setting(10, 1, 1000, "search"),
    },
    "ivf_hnsw_sq": {
        "partitions": Setting(1, 1, 65_536),
        "m": Setting(20, 4, 200),
        "ef_construction": Setting(300, 10, 2000),
        "probes": Setting(1, 1, 65_536, "search"),
        "ef": Setting(100, 1, 10_000, "effort"),
        "refine": Setting(4, 1, 1000, "search"),
    },
}


def index_of(given: Mapping[str, Any], dim: int) -> Any:
    """Return what LanceDB is to build. Errors: `InputError` for parts of vectors that do not divide them."""
    from lancedb import index

    build: dict[str, Any] = {"distance_type": "dot", "num_partitions": given["partitions"]}
    if given["name"] == "ivf_flat":
        return index.IvfFlat(**build)
    if given["name"] == "ivf_hnsw_sq":
        return index.HnswSq(m=given["m"], ef_construction=given["ef_construction"], **build)
    if (parts := given["sub_vectors"]) is not None and dim % parts:
        raise InputError(f"approximate: sub_vectors is {parts}, which does not divide {dim} dimensions")
    return index.IvfPq(num_sub_vectors=parts, **build)


def searched_by(search: Any, given: Mapping[str, Any], limit: int) -> Any:
    """Return a search that goes by the index, and looks on while a filter leaves fewer than are asked for."""
    search, refine = search.minimum_nprobes(given["probes"]).maximum_nprobes(0), given.get("refine")
    if refine is not None:
        search = search.refine_factor(refine)
    return search.ef(max(given["ef"], limit * (refine or 1))) if "ef" in given else search  # fewer are refused
