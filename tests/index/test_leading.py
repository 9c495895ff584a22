"""Leading coordinates rule out most rows and miss none: the answers are those of comparing all rows, to the id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.errors import InputError
from nearfar.index.backends import exact_files, leading
from nearfar.index.backends.codes import Coding, decoded, encoded, unscaled
from nearfar.index.backends.exact import Exact
from nearfar.index.backends.leading import Leading
from nearfar.index.backends.rows_table import RowsTable
from nearfar.index.filters import Compare, Filter
from nearfar.index.rescore import best, exact_scores
from nearfar.index.rows import Rows, Vectors

DIM = 48


def vectors_of(seed: int, count: int, decay: float = 0.9) -> Vectors:
    """Return unit vectors that differ along some axes more than along others; some of them are equal."""
    rng = np.random.default_rng(seed)
    turned, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((DIM, DIM)))
    found = (rng.standard_normal((count, DIM)) * decay ** np.arange(DIM)) @ turned
    found[count // 2 : count // 2 + count // 20] = found[: count // 20]
    unit: Vectors = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
    return unit


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few rows be enough, and blocks be short."""
    monkeypatch.setattr(exact_files, "FEWEST", 500)
    monkeypatch.setattr(leading, "_BLOCK", 256)


def made_of(place: Path, sample: Vectors, vectors: Vectors | None = None) -> Leading | None:
    """Choose leading coordinates by a sample of vectors."""
    keys = (sample if vectors is None else vectors).astype(np.float64)
    return Leading.create(place, 1, sample, lambda queries: np.sort(queries @ keys.T, axis=1)[:, -11])


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 99), k=st.integers(1, 90), share=st.sampled_from([1.0, 0.9, 0.3]))
def test_what_is_left_holds_the_k_best(
    tmp_path_factory: pytest.TempPathFactory, seed: int, k: int, share: float
) -> None:
    place, vectors = tmp_path_factory.mktemp("leading"), vectors_of(seed, 3000)
    made = made_of(place, vectors[:1000])
    assert made is not None
    made.write(0, vectors[:2000])
    made.write(2000, vectors[2000:])
    allowed = np.random.default_rng(seed).random(len(vectors)) < share
    for query in (vectors[7], vectors_of(seed + 1000, 1)[0], 3 * vectors_of(seed + 2000, 1)[0]):
        left = made.left(query, k, len(vectors), allowed if share < 1 else None, lambda slots: vectors[slots])
        if left is None:
            continue
        scores = exact_scores(query, vectors)
        scores[~allowed if share < 1 else slice(0)] = -np.inf
        assert set(np.flatnonzero(scores >= np.partition(scores, -k)[-k])) <= set(left.tolist())
        assert len(left) <= 300


def test_most_rows_are_ruled_out(tmp_path: Path) -> None:
    vectors = vectors_of(0, 5000)
    made = made_of(tmp_path, vectors[:1000])
    assert made is not None
    made.write(0, vectors)
    left = [made.left(query, 10, len(vectors), None, lambda slots: vectors[slots]) for query in vectors[:50]]
    assert np.median([len(vectors) if one is None else len(one) for one in left]) < 100
    opened = Leading.open(tmp_path, 1, DIM)
    assert opened is not None
    again = opened.left(vectors[0], 10, len(vectors), None, lambda slots: vectors[slots])
    assert again is not None
    assert left[0] is not None
    assert again.tolist() == left[0].tolist()


def test_where_no_axis_leads_there_are_none(tmp_path: Path) -> None:
    assert made_of(tmp_path, vectors_of(0, 2000, decay=1.0)) is None
    assert Leading.open(tmp_path, 1, DIM) is None
    assert made_of(tmp_path, np.tile(np.eye(4, dtype=np.float32), (5, 1))) is None


def test_the_nearest_of_all_rows_are_what_counts(tmp_path: Path) -> None:
    """Around many centres no axis leads, but each row has near ones, if few of a sample: the rest is far below them."""
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((400, DIM))
    whole = centres[rng.integers(0, 400, 20_000)] + 0.3 * rng.standard_normal((20_000, DIM))
    vectors = (whole / np.linalg.norm(whole, axis=1, keepdims=True)).astype(np.float32)
    assert made_of(tmp_path, vectors[:400]) is None
    made = made_of(tmp_path, vectors[:400], vectors)
    assert made is not None
    made.write(0, vectors)
    left = [made.left(query, 10, len(vectors), None, lambda slots: vectors[slots]) for query in vectors[:30]]
    assert all(one is not None and len(one) < 1000 for one in left)


def test_queries_that_leave_too_many_rows_are_soon_compared_at_once(tmp_path: Path) -> None:
    vectors = vectors_of(0, 5000)
    made = made_of(tmp_path, vectors[:1000])
    assert made is not None
    made.write(0, vectors)
    turned = np.linalg.eigh(vectors.T.astype(np.float64) @ vectors)[1][:, 0].astype(np.float32)  # along the last axis
    tried: list[int] = []

    def read(slots: Any) -> Vectors:
        tried.append(1)
        found: Vectors = vectors[slots]
        return found

    for _ in range(32):
        assert made.left(turned, 10, len(vectors), None, read) is None
    assert len(tried) == 8 + 3  # each of the first, then one of eight
    for _ in range(8):
        made.left(vectors[0], 10, len(vectors), None, read)
    assert made.left(vectors[0], 10, len(vectors), None, read) is not None


def rows_of(ids: range, vectors: Vectors) -> Rows:
    return Rows([f"{n:05}" for n in ids], vectors, [None] * len(ids), {"part": [n % 7 for n in ids]})


@pytest.mark.usefixtures("small")
def test_a_search_is_that_of_all_rows_after_any_writes(tmp_path: Path) -> None:
    backend = Exact.create(tmp_path / "rows", DIM, {"part": "integer"}, {})
    vectors = vectors_of(1, 1200)
    backend.upsert(rows_of(range(600), vectors[:600]))
    backend.optimise()
    assert (tmp_path / "rows" / "axes-000002").is_file()
    backend.upsert(rows_of(range(600, 1200), vectors[600:]))  # by the axes there are
    backend.upsert(rows_of(range(5), vectors[300:305]))
    vectors[:5] = vectors[300:305]
    backend.delete([f"{n:05}" for n in range(50, 90)])
    there = [n for n in range(1200) if not 50 <= n < 90]
    for turn in range(2):
        for where in (None, Compare("part", "!=", 3), Compare("part", "=", 3)):
            check(backend, vectors, there, where)
        backend.optimise()  # with axes of all
        assert [path.name for path in sorted((tmp_path / "rows").glob("*-0*"))] == [
            f"{name}-000003" for name in ("axes", "leading", "vectors")
        ], turn
    again = Exact.open(tmp_path / "rows", DIM, {"part": "integer"}, {})
    check(again, vectors, there, None)


@pytest.mark.usefixtures("small")
def test_files_of_an_optimising_that_failed_are_not_those_of_anothers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = vectors_of(1, 1200)
    first = Exact.create(tmp_path / "rows", DIM, {"part": "integer"}, {})
    first.upsert(rows_of(range(600), vectors[:600]))
    with monkeypatch.context() as broken:
        broken.setattr(RowsTable, "renumber", lambda _: (_ for _ in ()).throw(OSError("no space left")))
        with pytest.raises(OSError, match="no space"):
            first.optimise()
    second = Exact.open(tmp_path / "rows", DIM, {"part": "integer"}, {})
    turned = vectors_of(2, 600) @ np.linalg.qr(np.random.default_rng(9).standard_normal((DIM, DIM)))[0]
    vectors[600:] = turned / np.linalg.norm(turned, axis=1, keepdims=True)
    second.upsert(rows_of(range(600, 1200), vectors[600:]))
    second.optimise()  # with axes of all rows, under the number of the files that failed
    check(first, vectors, list(range(1200)), None)


def check(backend: Exact, vectors: Vectors, there: list[int], where: Filter | None) -> None:
    wanted = [n for n in there if where is None or (n % 7 == 3) == (getattr(where, "operator", "") == "=")]
    assert backend.count(where) == len(wanted)
    queries = np.vstack([vectors[:9], vectors_of(5, 9)])
    for k in (1, 10, 60):
        for number in (1, 3):
            for start in range(0, len(queries), number):
                part = queries[start : start + number]
                for query, found in zip(part, backend.nearest(part, k, where)):
                    ids = [f"{n:05}" for n in wanted]
                    expected = best(ids, exact_scores(query, vectors[wanted]), k)
                    assert found.ids == expected.ids
                    assert found.scores.tolist() == expected.scores.tolist()


@pytest.mark.usefixtures("small")
def test_what_an_optimise_that_was_broken_off_left_is_no_harm(tmp_path: Path) -> None:
    backend = Exact.create(tmp_path / "rows", DIM, {"part": "integer"}, {})
    (tmp_path / "rows" / "axes-000002").write_bytes(b"half")
    backend.upsert(rows_of(range(600), vectors_of(1, 600, decay=1.0)))
    backend.delete(["00001"])
    backend.optimise()  # without axes, as none leads
    assert len(backend.nearest(vectors_of(1, 1), 5)[0].ids) == 5
    backend.upsert(rows_of(range(600), vectors_of(1, 600)))
    (tmp_path / "rows" / "axes-000003").write_bytes(b"half")
    backend.optimise()
    path = tmp_path / "rows" / "axes-000003"
    assert path.stat().st_size == 8 * DIM * (DIM // 2 - 1)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match="is damaged"):
        Exact.open(tmp_path / "rows", DIM, {"part": "integer"}, {}).nearest(vectors_of(1, 1), 5)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("precision", ["float16", "int8", "bits"])
def test_other_precisions_have_none(tmp_path: Path, precision: str) -> None:
    backend = Exact.create(tmp_path / "rows", DIM, {"part": "integer"}, {"precision": precision})
    backend.upsert(rows_of(range(600), vectors_of(1, 600)))
    backend.delete(["00001"])
    backend.optimise()
    assert not list((tmp_path / "rows").glob("axes-*"))


def test_halves_are_decoded_as_numpy_does() -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    every = halves[np.isfinite(halves)].reshape(-1, 2)
    found = decoded(np.ascontiguousarray(every).view(np.uint8), "float16", 2)
    assert np.array_equal(found.view(np.uint32), every.astype(np.float32).view(np.uint32))


@pytest.mark.parametrize("coding", ["int8"])
def test_steps_times_scales_are_what_codes_stand_for(coding: Coding) -> None:
    codes: Any = encoded(vectors_of(3, 50), coding)
    steps, scales = unscaled(codes, DIM)
    assert np.array_equal(steps, np.rint(steps))
    assert np.abs(steps).max() == 127
    assert np.array_equal(steps * scales[:, None], decoded(codes, coding, DIM))
