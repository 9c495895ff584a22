"""What indexes elsewhere have broken, on every backend: double ids, rows that stay, short answers, bad vectors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar.errors import InputError
from nearfar.index.documents.build_index import NewIndex, build_index
from nearfar.index.index import Index
from tests.index.backends import SETTINGS
from tests.index.documents.parts import CountingModel
from tests.index.word_model import WordModel

SAME = "a red fox runs by the river"


@pytest.fixture(params=SETTINGS)
def arguments(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    return SETTINGS[request.param](tmp_path)


@pytest.fixture
def index(arguments: dict[str, Any], tmp_path: Path) -> Iterator[Index]:
    with Index.create(tmp_path / "i", WordModel(), **arguments) as index:
        yield index


def test_a_deleted_files_passages_are_gone_where_another_file_has_the_same_text(
    arguments: dict[str, Any], tmp_path: Path
) -> None:
    docs, folder, model = tmp_path / "docs", tmp_path / "docs.index", CountingModel()
    docs.mkdir()
    for name in ("a.txt", "b.txt", "c.md"):
        (docs / name).write_text(SAME)
    build_index(folder, model, docs, new=NewIndex(arguments))
    for gone, left in (("b.txt", {"a.txt", "c.md"}), ("a.txt", {"c.md"})):
        (docs / gone).unlink()
        report, _ = build_index(folder, model, docs, new=NewIndex(arguments))
        assert (report.removed, report.embedded) == (1, 0)
        with Index.open(folder, model) as index:
            for mode in ("vectors", "words", "hybrid"):
                assert {hit.fields["file"] for hit in index.search("red fox", mode=mode)} == left
            assert index.search(SAME, where=f"file = '{gone}'") == []
            assert index.count() == len(left)
            assert index.verify()["problems"] == []


def test_ids_in_one_answer_are_unique(index: Index) -> None:
    rows = [{"id": f"{n:02}", "text": SAME if n % 3 else f"{SAME} {n}"} for n in range(30)]
    for _ in range(3):  # written again and again, as its rows change places in files and indexes
        index.add(rows[::2])
        index.add(rows)
        index.delete([f"{n:02}" for n in range(5)])
        index.add(rows[:7])
        for asked in ({}, {"mode": "vectors"}, {"mode": "words"}, {"fusion": {"vectors": 0.5, "words": 0.5}}):
            for k in (1, 7, 30, 99):
                for hits in index.search([SAME, "red fox 3", "river"], k=k, **asked):
                    ids = [hit.id for hit in hits]
                    assert len(ids) == len(set(ids)) == min(k, 30)
        like = [hit.id for hit in index.search(like=["07", "07", "08"], k=99)]
        assert sorted(like) == [row["id"] for row in rows if row["id"] not in ("07", "08")]
        index.optimise()
    assert index.ids() == [row["id"] for row in rows]


def test_rows_that_go_in_the_midst_of_a_search_leave_no_gap(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process removes rows between the comparison and the reading, or was killed before their words went."""
    index.add([{"id": f"{n:02}", "text": f"{SAME} {'red ' * (n % 5)}"} for n in range(30)])
    with index._opened.reading() as (_, store):
        backend = store.backend
    nearest, gone = backend.nearest, list[str]()

    def removing(*given: Any, **settings: Any) -> Any:
        found = nearest(*given, **settings)
        if not gone:
            gone.extend(found[0].ids[:3])
            backend.delete(gone)
        return found

    monkeypatch.setattr(backend, "nearest", removing)
    for mode in ("vectors", "words", "hybrid"):
        hits = index.search("red fox", k=10, mode=mode, where=None)
        assert len({hit.id for hit in hits} - set(gone)) == 10
    hits = index.search("red fox", k=99, mode="words")
    assert sorted([*gone, *(hit.id for hit in hits)]) == [f"{n:02}" for n in range(30)]


def test_a_batch_with_one_id_twice_writes_nothing(index: Index) -> None:
    index.add([{"id": "a", "text": "before"}])
    for vectors in (None, np.ones((3, 16), np.float32)):
        with pytest.raises(InputError, match=r"rows 1 and 3 have one id \('a'\)"):
            index.add([{"id": name, "text": "after"} for name in ("a", "b", "a")], vectors=vectors)
    assert index.ids() == ["a"]
    assert getattr(index.get("a"), "text", None) == "before"


@pytest.mark.parametrize("wrong", [0.0, np.nan, np.inf, -np.inf])
def test_a_vector_without_a_direction_is_refused_in_rows_and_queries(index: Index, wrong: float) -> None:
    vectors = np.ones((3, 16), np.float32)
    index.add(["a", "b", "c"], vectors=vectors)
    vectors[1] = 0
    vectors[1, 5] = wrong
    what = "is zero" if wrong == 0 else "is not finite"
    with pytest.raises(InputError, match=rf"row 2 \(id 'e'\) {what}"):
        index.add(["d", "e", "f"], vectors=vectors)
    with pytest.raises(InputError, match=rf"query 2: the vector of row 1 {what}"):
        index.search(vectors)
    assert index.ids() == ["a", "b", "c"]
    assert [len(index.search(vectors[0], k=k)) for k in (1, 2, 3, 9)] == [1, 2, 3, 3]


def test_another_length_is_refused_in_rows_and_queries(index: Index) -> None:
    for dim in (15, 17):
        with pytest.raises(InputError, match="this index has vectors of 16 dimensions"):
            index.add(["a"], vectors=np.ones((1, dim), np.float32))
        with pytest.raises(InputError, match="this index has vectors of 16 dimensions"):
            index.search(np.ones(dim, np.float32))
    assert index.count() == 0
