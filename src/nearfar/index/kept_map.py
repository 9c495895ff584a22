"""The map of an index, kept beside its rows in a file that says of which state of the index it was made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.errors import ChangedMeanwhileError
from nearfar.figures import mapping
from nearfar.index.index import Index
from nearfar.storage.folders import write_file_atomically
from nearfar.vectors.corpus_map import METHODS, CorpusMap, map_of
from nearfar.vectors.kept import NeighboursKept
from nearfar.vectors.projection import PrincipalAxes, Values

FORMAT = 1
State = dict[str, Any]  # what a map depends on
_NOTES = b"nearfar"  # the key of what the file says beside ids and places


def map_file(index: Index, method: str) -> Path:
    """Return where the map of the generation that is searched is kept."""
    return index.place / f"map-{method}.parquet"


def state(index: Index) -> State:
    """Return what a map depends on: which generation, of which model's space, and the digest of its rows."""
    now = index.description
    return {"generation": index.place.name, "fingerprint": now.fingerprint, "rows": now.rows, "digest": now.digest}


def made_map(index: Index, method: str = "pca", seed: int = 0) -> tuple[CorpusMap, State]:
    """Return the map of all rows of an index, made now, and the state that it is of.

    Memory is that of ids and places; of UMAP, of all vectors, too.

    Errors: those of `map_of`; `ChangedMeanwhileError` where another process writes.
    """
    before, ids = state(index), [name for rows in index.rows() for name in rows.ids]

    def vectors() -> Iterator[Values]:
        for rows in index.rows():
            yield rows.vectors

    try:
        found = map_of(vectors, ids, method, seed)
    except (IndexError, ValueError):
        if state(index) == before:
            raise  # nobody wrote meanwhile
        found = None
    if found is None or state(index) != before:
        raise ChangedMeanwhileError(
            f"{index.folder}: another process wrote to it while its map was made; make the map again"
        )
    return found, before


def keep_map(index: Index, made: tuple[CorpusMap, State]) -> Path:
    """Write a map, as `made_map` gives it, beside the rows that it was made of, and return the file.

    What was written to the index since then makes it a map of an earlier state, which `kept_map` does not give.

    Errors: `InputError` and `RunError` where it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found, of = made
    axes = None if found.axes is None else {name: array.tolist() for name, array in vars(found.axes).items()}
    notes = {"format": FORMAT, "state": of, "method": found.method, "axes": axes, "kept": asdict(found.kept)}
    columns = {"id": pa.array(found.ids, pa.string()), "x": found.places[:, 0], "y": found.places[:, 1]}
    table = pa.table(columns).replace_schema_metadata({_NOTES: json.dumps(notes).encode()})
    path = index.place.with_name(of["generation"]) / map_file(index, found.method).name
    with write_file_atomically(path) as aside:
        pq.write_table(table, aside, write_page_checksum=True)
    return path


def kept_map(index: Index, method: str = "pca") -> CorpusMap | None:
    """Return the map that is kept of an index; None where there is none, or it is damaged or of another state."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    now = state(index)
    try:
        with map_file(index, method).open("rb") as file:
            table = pq.read_table(file, page_checksum_verification=True)
        notes = mapping(json.loads((table.schema.metadata or {})[_NOTES]))
        if notes.get("format") != FORMAT or notes.get("state") != now or notes.get("method") != method:
            return None
        return _read(table, notes, int(now["rows"]))
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError, RecursionError):
        return None


def _read(table: Any, notes: dict[str, Any], count: int) -> CorpusMap | None:
    """Return what a file holds. Errors: whatever comes of a damaged one."""
    places = np.stack([np.asarray(table[name], np.float32) for name in ("x", "y")], 1)
    given, method = notes["axes"], str(notes["method"])
    axes = None
    if given is not None:
        axes = PrincipalAxes(*(np.array(given[name], np.float64) for name in ("mean", "axes", "shares")))
        if axes.axes.shape != (len(axes.mean), 2) or axes.shares.shape != (2,):
            return None
    if len(places) != count or method not in METHODS or (axes is None) != (method == "umap"):
        return None
    return CorpusMap(method, table["id"].to_pylist(), places, axes, NeighboursKept(**notes["kept"]))
