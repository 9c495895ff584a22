"""The contestants of the search benchmark: how each builds, and how it looks for the 10 nearest, in this process."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from _machine import status_mb

Vectors = npt.NDArray[np.float32]
Find = Callable[[Vectors], Any]  # queries (m, d) to m lists of rows
Task = dict[str, Any]
K, ASKED = 10, 0.99
PARTS = 10_000  # rows of one write
EFFORTS = [int(16 * 1.5**i) for i in range(14)]  # of the peers' graphs, which are walked up as ours are
EXACT: dict[str, Task] = {
    "exact, float32": {"kind": "nearfar", "backend": "exact", "precision": "float32"},
    "exact, float16": {"kind": "nearfar", "backend": "exact", "precision": "float16"},
    "exact, int8": {"kind": "nearfar", "backend": "exact", "precision": "int8"},
    "exact, bits": {"kind": "nearfar", "backend": "exact", "precision": "bits"},
    "lance": {"kind": "nearfar", "backend": "lance"},
    "pgvector": {"kind": "nearfar", "backend": "pgvector"},
    "faiss flat": {"kind": "faiss", "factory": "Flat"},
    "faiss flat, fp16": {"kind": "faiss", "factory": "SQfp16"},
    "faiss flat, int8": {"kind": "faiss", "factory": "SQ8"},
}
GRAPHS: dict[str, Task] = {
    "lance, ivf_hnsw_sq": {"kind": "nearfar", "backend": "lance", "approximate": "ivf_hnsw_sq"},
    "pgvector, hnsw": {"kind": "nearfar", "backend": "pgvector", "approximate": "hnsw"},
    "faiss HNSW": {"kind": "faiss", "factory": "HNSW32"},
    "usearch HNSW": {"kind": "usearch", "dtype": "f32"},
    "usearch HNSW, f16": {"kind": "usearch", "dtype": "f16"},
    "usearch HNSW, int8": {"kind": "usearch", "dtype": "i8"},
}
PACKAGES = {"lance": "lancedb", "pgvector": "psycopg", "faiss": "faiss", "usearch": "usearch"}


def is_here(task: Task) -> bool:
    """Return whether the packages of a contestant are installed."""
    name = task.get("backend", task["kind"])
    return name not in PACKAGES or find_spec(PACKAGES[name]) is not None


def build(task: Task) -> Task:
    """Build what is searched, at `place`; return seconds, bytes on disk and settings."""
    keys, place = np.load(task["keys"], mmap_mode="r"), Path(task["place"])
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    if task["kind"] == "nearfar":
        return _build_ours(task, keys, place)
    began = time.perf_counter()
    made = _faiss(task, keys) if task["kind"] == "faiss" else _usearch(task, keys)
    seconds = time.perf_counter() - began
    found: Task = {"seconds": seconds}
    if task["kind"] == "usearch" or task["factory"].startswith("HNSW"):
        queries, truth = np.load(task["queries"]), np.load(task["truth"])
        for effort in EFFORTS:
            _set_effort(task["kind"], made, effort)
            found |= {"effort": effort, "recall": recall(_peer(task["kind"], made)(queries), queries, keys, truth)}
            if found["recall"] >= ASKED:
                break
    if task["kind"] == "faiss":
        import faiss

        faiss.write_index(made, str(place / "index"))
    else:
        made.save(str(place / "index"))
    return found | {"bytes": (place / "index").stat().st_size}


def measure(task: Task) -> Task:
    """Return queries a second one by one and 64 at once, recall, and the process's highest memory."""
    queries = np.load(task["queries"])
    found: Task = {}
    if task["kind"] == "nearfar":
        from nearfar.index.index import Index

        index = Index.open(Path(task["place"]) / "i")
        with index._opened.reading() as (generation, store):
            searched_by, nearest = generation.searched_by, store.backend.nearest

        found["rows_per_second_1"] = _rate(lambda part: index.search(list(part), k=K), queries, 1, task["seconds"])
        find: Find = lambda part: [one.ids for one in nearest(part, K, approximate=searched_by)]  # noqa: E731
    else:
        find = _opened(task)
    for batch in (1, 64):
        found[f"per_second_{batch}"] = _rate(find, queries, batch, task["seconds"])
    answers = [row for start in range(0, len(queries), 64) for row in find(queries[start : start + 64])]
    found["peak_mb"] = status_mb("VmHWM")  # libraries and mapped files included
    if task.get("backend") == "pgvector":
        found["server_mb"] = _server_mb(task["server"])
    return found | {"recall": recall(answers, queries, np.load(task["keys"], mmap_mode="r"), np.load(task["truth"]))}


def recall(found: Sequence[Any], queries: Vectors, keys: Vectors, truth: Vectors) -> float:
    """Return the share of the nearest that are found: rows that score no less than the last of these."""
    hits = 0
    for rows, query, least in zip(found, queries.astype(np.float64), truth):
        chosen = sorted({int(row) for row in rows if int(row) >= 0})
        hits += int((keys[chosen].astype(np.float64) @ query >= least - 1e-6).sum())
    return hits / (K * len(queries))


def _rate(find: Find, queries: Vectors, batch: int, seconds: float) -> float:
    """Return queries a second, in batches, after a few to warm up."""
    find(queries[:batch])
    count, start, began = 0, 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds or count < 2 * batch:
        find(queries[start : start + batch])
        count, start = count + batch, (start + batch) % (len(queries) - batch + 1)
    return count / spent


def _build_ours(task: Task, keys: Vectors, place: Path) -> Task:
    from nearfar.errors import InputError
    from nearfar.index.index import Index

    settings = task["server"] if task["backend"] == "pgvector" else None
    found: Task = {}
    began = time.perf_counter()
    options = {"backend": task["backend"], "precision": task.get("precision", "float32"), "settings": settings}
    with Index.create(place / "i", None, dim=keys.shape[1], language=None, **options) as index:
        for start in range(0, len(keys), PARTS):
            part = keys[start : start + PARTS]
            index.add([str(start + i) for i in range(len(part))], vectors=part)
        index.optimise()
        found["seconds_of_rows"] = found["seconds"] = time.perf_counter() - began
        if (name := task.get("approximate")) is not None:
            lines: list[str] = []
            try:
                found["approximate"] = index.approximate(name, recall=ASKED, say=lines.append)
            except InputError as error:
                found["left_out"] = str(error)
            built = next((line for line in lines if "built in" in line), "0 s")
            found["seconds"] += float(built.split()[-2].replace(",", ""))
        found["bytes"] = index.info()["bytes"]
    if task["backend"] == "pgvector":
        found["bytes"] += _table_bytes(task["server"], next((place / "i").rglob("table")).read_text())
    return found


def _faiss(task: Task, keys: Vectors) -> Any:
    import faiss

    faiss.omp_set_num_threads(1)
    made: Any = faiss.index_factory(keys.shape[1], task["factory"], faiss.METRIC_INNER_PRODUCT)
    if task["factory"].startswith("HNSW"):
        made.hnsw.efConstruction = 200
    else:
        made.train(np.ascontiguousarray(keys[:PARTS]))
    for start in range(0, len(keys), PARTS):
        made.add(np.ascontiguousarray(keys[start : start + PARTS]))
    return made


def _usearch(task: Task, keys: Vectors) -> Any:
    from usearch.index import Index

    made = Index(ndim=keys.shape[1], metric="ip", dtype=task["dtype"], connectivity=32, expansion_add=200)
    for start in range(0, len(keys), PARTS):
        part = np.ascontiguousarray(keys[start : start + PARTS])
        made.add(np.arange(start, start + len(part)), part, threads=1)
    return made


def _set_effort(kind: str, made: Any, effort: int) -> None:
    if kind == "faiss":
        made.hnsw.efSearch = effort
    else:
        made.expansion_search = effort


def _peer(kind: str, made: Any) -> Find:
    if kind == "faiss":
        return lambda queries: made.search(queries, K)[1]
    return lambda queries: np.atleast_2d(made.search(queries if len(queries) > 1 else queries[0], K, threads=1).keys)


def _opened(task: Task) -> Find:
    path = str(Path(task["place"]) / "index")
    made: Any
    if task["kind"] == "faiss":
        import faiss

        faiss.omp_set_num_threads(1)
        made = faiss.read_index(path)
    else:
        from usearch.index import Index

        made = Index.restore(path)
    if (effort := task["effort"]) is not None:
        _set_effort(task["kind"], made, effort)
    return _peer(task["kind"], made)


def _table_bytes(server: Task, table: str) -> int:
    import psycopg

    with psycopg.connect(host=server["host"], dbname=server["database"]) as connection:
        [size] = connection.execute("SELECT pg_total_relation_size(%s::regclass)", [table]).fetchone() or [0]
    return int(size)


def _server_mb(server: Task) -> float:
    """Return the memory of the server's processes, what they share counted once."""
    owner = next(Path(server["host"]).glob("data/postmaster.pid")).read_text().splitlines()[0]
    found = 0.0
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = (place / "stat").read_text().rpartition(")")[2].split()[1]
            if owner in (parent, place.name):
                lines = (place / "smaps_rollup").read_text().splitlines()
                found += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 2**10
        except (OSError, StopIteration):
            continue  # it has ended
    return found


def one_thread() -> None:
    """Keep this process, and those that it starts, to one processor and one thread."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS", "LANCE_CPU_THREADS")
    os.environ.update(dict.fromkeys(names, "1"))
    os.environ["PGOPTIONS"] = "-c maintenance_work_mem=2GB -c max_parallel_maintenance_workers=0"
