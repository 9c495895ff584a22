"""Every backend holds the contract: what is written is there, and what is found agrees with numpy to the id."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nearfar.errors import InputError
from nearfar.index.backend import Backend
from nearfar.index.filters import Compare, Filter, Missing, Not, OneOf, StartsWith
from nearfar.index.rows import Row, Rows, Value, Vectors
from tests.index.backends import BACKENDS
from tests.index.drawn import FIELDS, filters
from tests.index.filter_reference import mask

DIM = 8
Open = Callable[[], Backend]
PAIRS = int(os.environ.get("NEARFAR_PAIRS", "60"))  # of a filter and k, on each backend
NAMES = ["a.b", "a`b", 'say "hi"', "100 %", "%s", "?", "xmin", "select", "Größe", "UPPER", "x_61", "it's", "\U0001f98a",
         "'; drop table rows; --", "vector_", "é" * 31, "e\u0301", "rowid", "oid"]  # fmt: skip
TEXTS = ["", "a", "A", "ab", "'", '"', "%", "\\", "a%s", "_", "é", "e\u0301", "ß", "\U0001f98a", "\U0010ffff",
         "\U0010ffffa", "\ud7ff", "\ue000", "a\nb", "'; drop table rows; --", " ", "\t"]  # fmt: skip


@pytest.fixture(params=BACKENDS)
def again(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Return what opens an empty backend, and opens it again."""
    kind, wanted = BACKENDS[request.param](tmp_path)
    opened = [kind.create(tmp_path / "place", DIM, FIELDS, wanted)]

    def open_again() -> Backend:
        opened.append(kind.open(tmp_path / "place", DIM, FIELDS, wanted))
        return opened[-1]

    yield open_again
    for backend in opened:
        backend.close()


def unit(rng: np.random.Generator, n: int, dim: int = DIM) -> Vectors:
    vectors = rng.standard_normal((n, dim), np.float32)
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def rows_of(rng: np.random.Generator, ids: list[str], fields: dict[str, list[Value]] | None = None) -> Rows:
    given = fields or {}
    full = {name: given.get(name, [None] * len(ids)) for name in FIELDS}
    return Rows(ids, unit(rng, len(ids)), [None if i % 5 == 0 else f"text {name}" for i, name in enumerate(ids)], full)


def part_of(rows: Rows, part: slice) -> Rows:
    fields = {name: values[part] for name, values in rows.fields.items()}
    return Rows(rows.ids[part], rows.vectors[part], rows.texts[part], fields)


def reference(rows: Rows, query: Vectors, k: int, where: Filter | None) -> tuple[list[str], list[float]]:
    """Return the ids and scores of the k best rows, by one product in float64."""
    scores = (rows.vectors.astype(np.float64) @ query.astype(np.float64)).astype(np.float32)
    fields = [{name: values[i] for name, values in rows.fields.items()} for i in range(len(rows))]
    allowed = np.ones(len(rows), bool) if where is None else mask(where, fields)
    order = sorted(np.flatnonzero(allowed).tolist(), key=lambda row: (-scores[row], rows.ids[row]))[:k]
    return [rows.ids[row] for row in order], scores[order].tolist()


def test_an_empty_one_answers(again: Open) -> None:
    backend = again()
    assert backend.count() == backend.count(Missing("lang")) == 0
    assert backend.ids() == []
    assert backend.get(["a"]) == [None]
    assert list(backend.scan()) == []
    assert backend.delete(["a"]) == 0
    backend.optimise()
    [found] = backend.nearest(np.ones((1, DIM), np.float32), 3)
    assert found.ids == []
    assert found.scores.shape == (0,)


def test_rows_come_back_as_they_were_written(again: Open) -> None:
    rng = np.random.default_rng(0)
    values = {
        "lang": ["de", None, ""],
        "year": [2**63 - 1, -5, None],
        "weight %": [0.1, None, -1e300],
        'is "new"': [True, False, None],
    }
    rows = rows_of(rng, ["b", "ü'\"%s", "c" * 300], values)  # type: ignore[arg-type]
    again().upsert(rows)
    backend = again()
    found = backend.get(["c" * 300, "nobody", "b"])
    assert found[1] is None
    assert found[2] == Row("b", None, {"lang": "de", "year": 2**63 - 1, "weight %": 0.1, 'is "new"': True})
    assert found[0] == Row("c" * 300, f"text {'c' * 300}", {"lang": "", "weight %": -1e300})
    second = backend.get(["ü'\"%s"])[0]
    assert second is not None
    assert type(second.fields['is "new"']) is bool
    assert np.array_equal(backend.vectors(["c" * 300, "b"]), rows.vectors[[2, 0]])
    with pytest.raises(KeyError, match="nobody"):
        backend.vectors(["b", "nobody"])
    assert backend.ids() == sorted(rows.ids)
    assert backend.ids(Compare("year", "<", 0)) == ["ü'\"%s"]
    assert backend.count(OneOf("lang", ("de", ""))) == 2


def test_an_upsert_replaces_and_a_delete_removes(again: Open) -> None:
    rng, backend = np.random.default_rng(1), again()
    backend.upsert(rows_of(rng, ["a", "b", "c"], {"lang": ["x", "x", "x"]}))
    second = rows_of(rng, ["b", "d"], {"lang": [None, "y"]})
    backend.upsert(second)
    assert backend.count() == 4
    assert backend.delete(["a", "nobody"]) == 1
    for _ in range(2):
        assert backend.ids() == ["b", "c", "d"]
        assert backend.ids(Compare("lang", "=", "x")) == ["c"]
        assert np.array_equal(backend.vectors(["d", "b"]), second.vectors[[1, 0]])
        [found] = backend.nearest(second.vectors[:1], 9)
        assert len(found.ids) == 3
        assert found.ids[0] == "b"
        assert found.scores[0] == pytest.approx(1, abs=1e-6)
        backend.optimise()
        assert again().count() == 3


def test_one_opened_before_sees_what_another_writes(again: Open) -> None:
    rng, reader, writer = np.random.default_rng(2), again(), again()
    assert reader.count() == 0
    for n in range(1, 5):
        rows = rows_of(rng, [f"r{n}", "always"])
        writer.upsert(rows)
        assert reader.count() == n + 1
        assert reader.nearest(rows.vectors[:1], 1)[0].ids == [f"r{n}"]
    writer.delete(["r1"])
    writer.optimise()
    assert reader.get(["r1"]) == [None]
    [found] = reader.nearest(rows.vectors[1:], 2)
    assert found.ids[0] == "always"


def test_all_rows_are_scanned_once(again: Open) -> None:
    rng, backend = np.random.default_rng(3), again()
    rows = rows_of(rng, [f"{n:03}" for n in range(57)], {"year": list(range(57))})
    backend.upsert(rows)
    parts = list(backend.scan(size=10))
    assert max(map(len, parts)) <= 10
    ids = [name for part in parts for name in part.ids]
    assert sorted(ids) == list(rows.ids)
    order = [int(name) for name in ids]
    assert np.array_equal(np.concatenate([part.vectors for part in parts]), rows.vectors[order])
    assert [text for part in parts for text in part.texts] == [rows.texts[i] for i in order]
    assert [year for part in parts for year in part.fields["year"]] == order


def test_fields_may_come_later(again: Open) -> None:
    rng, backend = np.random.default_rng(4), again()
    backend.upsert(rows_of(rng, ["a"]))
    backend.add_fields({"later": "integer"})
    backend.add_fields({"later": "integer"})
    rows = rows_of(rng, ["b"])
    backend.upsert(Rows(rows.ids, rows.vectors, rows.texts, {**rows.fields, "later": [7]}))
    assert backend.ids(Compare("later", "=", 7)) == ["b"]
    assert backend.ids(Missing("later")) == ["a"]


def test_equal_scores_are_ordered_by_id(again: Open) -> None:
    rng, backend = np.random.default_rng(5), again()
    [vector, other] = unit(rng, 2)
    ids = [f"{n}" for n in rng.permutation(3000)]  # as texts: "10" is before "9"
    vectors = np.repeat(vector[None], len(ids), 0)
    backend.upsert(
        Rows([*ids, "x"], np.vstack([vectors, other]), [None] * 3001, {name: [None] * 3001 for name in FIELDS})
    )
    for k in (1, 10, 100):
        [found] = backend.nearest(vector[None], k)
        assert found.ids == sorted(ids)[:k]
        assert len(set(found.scores.tolist())) == 1


@pytest.fixture(params=BACKENDS)
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Backend, Rows]]:
    """Return a backend of 700 rows, some of equal vectors, written in parts with some replaced and deleted."""
    kind, wanted = BACKENDS[request.param](tmp_path)
    backend = kind.create(tmp_path / "place", DIM, FIELDS, wanted)
    rng, names = np.random.default_rng(6), [f"r{n}" for n in range(700)]
    drawn: dict[str, list[Value]] = {
        "lang": [["a", "ab", "b", "é", None][i] for i in rng.integers(5, size=700)],
        "year": [None if i == 9 else int(i) - 3 for i in rng.integers(10, size=700)],
        "weight %": [float(x) for x in rng.integers(-3, 3, size=700)],
        'is "new"': [bool(x) for x in rng.integers(2, size=700)],
    }
    rows = rows_of(rng, names, drawn)
    rows.vectors[500:] = rows.vectors[:200]
    backend.upsert(rows_of(rng, [*names[:300], "gone"]))
    for start in range(0, 700, 200):
        backend.upsert(part_of(rows, slice(start, start + 200)))
    backend.delete(["gone"])
    yield backend, rows
    backend.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=PAIRS)
@given(where=st.none() | filters(), k=st.integers(1, 800), seed=st.integers(0, 9))
def test_what_is_found_agrees_with_numpy_to_the_id(
    filled: tuple[Backend, Rows], where: Filter | None, k: int, seed: int
) -> None:
    backend, rows = filled
    rng = np.random.default_rng(seed)
    queries = np.vstack([unit(rng, 2), rows.vectors[seed * 11 : seed * 11 + 1]])
    matching = len(rows) if where is None else backend.count(where)
    for query, found in zip(queries, backend.nearest(queries, k, where)):
        ids, scores = reference(rows, query, k, where)
        assert len(found.ids) == min(k, matching)
        assert found.ids == ids
        assert np.allclose(found.scores, scores, atol=1e-6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=PAIRS)
@given(where=filters())
def test_a_filter_finds_the_rows_that_meet_it(odd: tuple[Backend, list[dict[str, Value]]], where: Filter) -> None:
    backend, fields = odd
    expected = [f"{i:03}" for i, met in enumerate(mask(where, fields)) if met]
    assert backend.ids(where) == expected
    assert backend.count(where) == len(expected)


def test_values_are_counted(odd: tuple[Backend, list[dict[str, Value]]]) -> None:
    backend, fields = odd
    for where in (None, Missing("year"), Compare("lang", "=", "a"), Compare("lang", "=", "nobody's")):
        met = [True] * len(fields) if where is None else mask(where, fields)
        for name in FIELDS:
            expected = Counter(row[name] for row, is_met in zip(fields, met) if is_met and row[name] is not None)
            found = backend.value_counts(name, where, len(expected))
            assert found == expected
            assert found is not None and {type(value) for value in found} == {type(value) for value in expected}
            if len(expected) > 1:
                assert backend.value_counts(name, where, len(expected) - 1) is None


@pytest.fixture(params=BACKENDS)
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Backend, list[dict[str, Value]]]]:
    """Return a backend of rows with the odd values that filters are drawn from."""
    kind, wanted = BACKENDS[request.param](tmp_path)
    backend = kind.create(tmp_path / "place", DIM, FIELDS, wanted)
    rng, n = np.random.default_rng(7), 120
    choices: dict[str, list[Value]] = {
        "lang": [*TEXTS, None],
        "order": [*reversed(TEXTS), None],
        "year": [None, 0, 1, -1, 3, 2**53 + 1, 2**63 - 1, -(2**63) + 1],
        "weight %": [None, 0.0, 1.0, -1.0, 0.1, 1e300, 5e-324],
        'is "new"': [None, True, False],
    }
    drawn = {name: [values[i] for i in rng.integers(len(values), size=n)] for name, values in choices.items()}
    backend.upsert(rows_of(rng, [f"{i:03}" for i in range(n)], drawn))
    yield backend, [{name: values[i] for name, values in drawn.items()} for i in range(n)]
    backend.close()


def test_texts_are_compared_by_code_points_on_every_backend(odd: tuple[Backend, list[dict[str, Value]]]) -> None:
    backend, fields = odd
    for text in TEXTS:
        for where in (StartsWith("lang", text), Not(StartsWith("lang", text)), Compare("lang", ">=", text)):
            assert backend.ids(where) == [f"{i:03}" for i, met in enumerate(mask(where, fields)) if met], where


def test_fields_and_ids_may_be_called_anything(again: Open) -> None:
    rng, backend = np.random.default_rng(8), again()
    backend.add_fields(dict.fromkeys(NAMES[:5], "text"))
    backend.add_fields(dict.fromkeys(NAMES, "text"))
    ids = [f"id {text}" for text in TEXTS]
    rows = rows_of(rng, ids)
    texts: dict[str, list[Value]] = {name: [f"{name} {i % 3}" for i in range(len(ids))] for name in NAMES}
    backend.upsert(Rows(ids, rows.vectors, ids, {**rows.fields, **texts}))
    assert backend.ids() == sorted(ids)
    for name in NAMES:
        assert backend.ids(Compare(name, "=", f"{name} 1")) == sorted(ids[1::3])
        assert backend.count(Missing(name)) == 0
    for i, row in enumerate(backend.get(ids)):
        assert row == Row(ids[i], ids[i], {name: values[i] for name, values in texts.items()})
    for query, found in zip(rows.vectors, backend.nearest(rows.vectors, 1, Missing("lang"))):
        assert found.ids == [ids[int((rows.vectors @ query).argmax())]]
    assert backend.delete(ids[:4]) == 4
    assert backend.ids() == sorted(ids[4:])
    assert np.array_equal(backend.vectors(ids[4:]), rows.vectors[4:])


def test_nothing_is_no_error(again: Open) -> None:
    backend = again()
    backend.upsert(rows_of(np.random.default_rng(9), []))
    assert backend.delete([]) == 0
    assert backend.get([]) == []
    assert backend.vectors([]).shape == (0, DIM)
    assert backend.nearest(np.empty((0, DIM), np.float32), 3) == []
    assert backend.count() == 0


@pytest.mark.parametrize("name", BACKENDS)
def test_one_that_is_missing_or_of_another_dimension_is_refused(name: str, tmp_path: Path) -> None:
    kind, wanted = BACKENDS[name](tmp_path)
    with pytest.raises(InputError, match="is missing"):
        kind.open(tmp_path / "nowhere", DIM, FIELDS, wanted)
    kind.create(tmp_path / "place", DIM, FIELDS, wanted).close()
    if name.startswith("exact"):
        return  # whose files say nothing of it: index.json alone does
    with pytest.raises(InputError, match="vectors of 8 dimensions"):
        kind.open(tmp_path / "place", DIM + 1, FIELDS, wanted)
    with pytest.raises(InputError, match="has no field 'other'"):
        kind.open(tmp_path / "place", DIM, {**FIELDS, "other": "text"}, wanted)
    with pytest.raises(InputError, match="precision"):
        kind.open(tmp_path / "place", DIM, FIELDS, {**wanted, "precision": "int8"})


@pytest.mark.parametrize("name", BACKENDS)
def test_one_whose_making_was_broken_off_is_made_again(name: str, tmp_path: Path) -> None:
    kind, wanted = BACKENDS[name](tmp_path)
    kind.create(tmp_path / "place", DIM, FIELDS, wanted).close()
    kind.discard(tmp_path / "place", wanted)
    shutil.rmtree(tmp_path / "place")
    kind.discard(tmp_path / "place", wanted)
    backend = kind.create(tmp_path / "place", DIM, {}, wanted)
    assert backend.count() == 0
    backend.close()
