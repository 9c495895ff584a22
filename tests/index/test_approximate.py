"""Approximate indexes of lance and pgvector never come short, score as an exact search, and find new rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar.errors import InputError
from nearfar.index.backend import Backend
from nearfar.index.backends.approximate import Known, Setting, checked
from nearfar.index.filters import Compare, Filter, Missing
from nearfar.index.rows import Kinds, Rows, Value, Vectors
from tests.index.backends import BACKENDS

DIM, ROWS = 16, 600
FIELDS: Kinds = {"part": "integer", "rare": "boolean"}
INDEXES: dict[str, list[dict[str, Any]]] = {  # poor ones on purpose: they come short
    "lance": [
        {"name": "ivf_flat", "partitions": 20, "probes": 1},
        {"name": "ivf_pq", "partitions": 4, "sub_vectors": 2, "probes": 1, "refine": 1},
        {"name": "ivf_hnsw_sq", "m": 4, "ef_construction": 10, "ef": 1, "refine": 2},
    ],
    "pgvector": [
        {"name": "hnsw", "m": 2, "ef_construction": 4, "ef_search": 1},
        {"name": "ivfflat", "lists": 20, "probes": 1},
    ],
}
SOUND: dict[str, dict[str, Any]] = {
    "lance": {"name": "ivf_flat", "partitions": 20, "probes": 20},
    "pgvector": {"name": "hnsw", "m": 16, "ef_construction": 200, "ef_search": 200},
}
FILTERS: list[Filter | None] = [None, Compare("part", "=", 3), Compare("rare", "=", True), Missing("part")]
KNOWN: Known = {"tree": {"leaves": Setting(None, 1, 9), "depth": Setting(4, 2, 8, "effort")}}


@pytest.fixture(params=INDEXES)
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Backend, Vectors]]:
    """Return a backend's name, one with 600 rows in 40 clusters, and their vectors; row i is of part i % 10."""
    kind, settings = BACKENDS[request.param](tmp_path)
    backend = kind.create(tmp_path / "place", DIM, FIELDS, settings)
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((40, DIM), np.float32)[rng.integers(40, size=ROWS)]
    vectors = (vectors + rng.standard_normal((ROWS, DIM), np.float32) / 4).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    backend.upsert(rows_of(vectors, 0))
    yield request.param, backend, vectors
    backend.close()


def rows_of(vectors: Vectors, first: int) -> Rows:
    numbers = range(first, first + len(vectors))
    fields: dict[str, list[Value]] = {
        "part": [n % 10 for n in numbers],
        "rare": [True if n % 200 == 7 else None for n in numbers],
    }
    return Rows([f"{n:04}" for n in numbers], vectors, [None] * len(vectors), fields)


def test_an_approximate_index_never_comes_short(filled: tuple[str, Backend, Vectors]) -> None:
    name, backend, vectors = filled
    queries = vectors[:3]
    exact = {(i, k): backend.nearest(queries, k, where) for i, where in enumerate(FILTERS) for k in (1, 10, 700)}
    for settings in INDEXES[name]:
        backend.build_approximate(settings)
        recalled = []
        for (i, k), expected in exact.items():
            found = backend.nearest(queries, k, FILTERS[i], approximate=settings)
            for query, one, best in zip(queries, found, expected):
                assert len(one.ids) == len(best.ids) == min(k, backend.count(FILTERS[i]))
                assert len(set(one.ids)) == len(one.ids)
                scores = backend.vectors(one.ids).astype(np.float64) @ query
                assert np.allclose(one.scores, scores, atol=1e-6)
                assert sorted(zip(-one.scores, one.ids)) == list(zip(-one.scores, one.ids))
                recalled += [len(set(one.ids) & set(best.ids)) / max(1, len(best.ids))]
            assert [one.ids for one in backend.nearest(queries, k, FILTERS[i])] == [one.ids for one in expected]
        assert np.mean(recalled) > 0.5


def test_rows_that_were_written_since_are_found(filled: tuple[str, Backend, Vectors]) -> None:
    name, backend, vectors = filled
    settings = SOUND[name]  # the graph is drawn by chance: a poor one need not lead to every row
    backend.build_approximate(settings)
    new = rows_of(-vectors[:5], ROWS)
    backend.upsert(new)
    backend.delete(["0000"])
    for query, found in zip(new.vectors, backend.nearest(new.vectors, 1, approximate=settings)):
        assert found.scores[0] == pytest.approx(1, abs=1e-6)
        assert found.ids[0] == new.ids[int((new.vectors @ query).argmax())]
    backend.optimise()
    assert backend.nearest(new.vectors[:1], 1, approximate=settings)[0].ids == new.ids[:1]
    assert "0000" not in backend.nearest(vectors[:1], ROWS, approximate=settings)[0].ids


def test_what_a_backend_has_not_is_refused(filled: tuple[str, Backend, Vectors]) -> None:
    name, backend, _ = filled
    for call in (
        backend.build_approximate,
        lambda given: backend.nearest(np.eye(1, DIM, dtype=np.float32), 1, approximate=given),
    ):
        with pytest.raises(InputError, match=f"{name} has no index 'annoy'"):
            call({"name": "annoy"})
        with pytest.raises(InputError, match="has no setting 'speed'"):
            call({**INDEXES[name][0], "speed": 11})


@pytest.mark.parametrize(
    ("given", "words"),
    [({}, "no index None"), ({"name": "tree", "depth": 9}, "from 2 to 8"), ({"name": "tree", "depth": True}, "True"),
     ({"name": "tree", "leaves": 1.0}, "from 1 to 9"), ({"name": "tree", "depth": None}, "depth is None")],
)  # fmt: skip
def test_settings_are_whole_numbers_within_limits(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        checked(given, KNOWN, "forest")


def test_settings_that_are_left_out_have_their_defaults() -> None:
    assert checked({"name": "tree"}, KNOWN, "forest") == {"name": "tree", "leaves": None, "depth": 4}
    assert checked({"name": "tree", "leaves": None, "depth": 8}, KNOWN, "forest")["depth"] == 8
