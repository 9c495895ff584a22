"""An approximate index is searched by only with the recall that was measured, on lance and pgvector alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar.errors import InputError
from nearfar.index.backends.approximate import Known, Setting, effort_of
from nearfar.index.index import Index
from nearfar.index.recall import K, RecallQueries
from nearfar.index.rows import Vectors
from tests.index.backends import SETTINGS

DIM, ROWS = 16, 1500
NAMES = {"lance": "ivf_flat", "pgvector": "hnsw"}  # walked up by probes, by ef_search
FINE: dict[str, dict[str, int]] = {"lance": {"partitions": 30}, "pgvector": {"m": 8}}
POOR: dict[str, tuple[str, dict[str, int]]] = {  # of which no effort finds 0.99
    "lance": ("ivf_pq", {"partitions": 2, "sub_vectors": 1, "refine": 1}),
    "pgvector": ("hnsw", {"m": 2, "ef_construction": 4}),
}
KNOWN: Known = {"tree": {"leaves": Setting(None, 1, 9), "depth": Setting(4, 2, 8, "effort")}}


def clustered(rng: np.random.Generator, count: int, centres: int = 40) -> Vectors:
    means = np.random.default_rng(7).standard_normal((centres, DIM))
    vectors = means[rng.integers(centres, size=count)] + 0.5 * rng.standard_normal((count, DIM))
    return vectors.astype(np.float32)


@pytest.fixture(params=NAMES)
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Index]:
    """Return an index of 1,500 rows in clusters."""
    with Index.create(tmp_path / "i", None, dim=DIM, **SETTINGS[request.param](tmp_path)) as made:
        made.add([f"{n:04}" for n in range(ROWS)], vectors=clustered(np.random.default_rng(0), ROWS))
        yield made


def name_of(index: Index) -> str:
    return str(index.info()["backend"]["name"])


def recall_of(index: Index, found: list[list[str]], queries: Vectors) -> float:
    """Return recall@10 against one product of all rows in numpy."""
    ids = index.ids()
    scores = queries.astype(np.float64) @ index.vectors(ids).T
    best = [{ids[row] for row in np.argsort(-one, kind="stable")[:K]} for one in scores]
    return float(np.mean([len(best[i] & set(one)) / K for i, one in enumerate(found)]))


def test_the_least_effort_of_the_asked_recall_is_kept(index: Index) -> None:
    name, lines = name_of(index), list[str]()
    measured = index.approximate(NAMES[name], FINE[name], recall=0.95, say=lines.append)
    assert measured is not None
    tried = [float(line.rsplit(" ", 1)[1]) for line in lines if "recall@10" in line]
    assert all(before < 0.95 for before in tried[:-1])
    assert tried[-1] >= 0.95
    assert measured["recall"] == tried[-1]
    assert (measured["asked"], measured["k"], measured["queries"], measured["rows"]) == (0.95, 10, 400, ROWS)
    assert measured["milliseconds"] > 0
    assert measured["exact_milliseconds"] > 0
    kept = json.loads((index.folder / "index.json").read_text())["generations"]["1"]["approximate"]
    assert kept == measured == index.info()["approximate"]
    queries = clustered(np.random.default_rng(1), 200)
    found = [[hit.id for hit in hits] for hits in index.search(queries)]
    assert all(len(hits) == K for hits in found)
    assert recall_of(index, found, queries) > 0.9  # of queries that are no rows


def test_a_search_goes_by_the_settings_that_are_kept(index: Index) -> None:
    name = name_of(index)
    measured = index.approximate(NAMES[name], FINE[name], recall=0.5)
    assert measured is not None
    queries = clustered(np.random.default_rng(1), 20)
    with index._opened.reading() as (_, store):
        direct = store.backend.nearest(queries, 10, approximate=measured["settings"])
        asked: list[Any] = []
        whole = store.backend.nearest
        store.backend.nearest = lambda *a, **b: (asked.append(b["approximate"]), whole(*a, **b))[1]  # type: ignore
    assert [[hit.id for hit in hits] for hits in index.search(queries)] == [one.ids for one in direct]
    assert asked == [measured["settings"]]


def test_one_that_does_not_reach_the_recall_is_refused(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    name = name_of(index)
    if name == "pgvector":  # whose HNSW finds all of so few rows if it may look far enough
        from nearfar.index.backends.pgvector_approximate import KNOWN as THEIRS

        monkeypatch.setitem(THEIRS, "hnsw", {**THEIRS["hnsw"], "ef_search": Setting(1, 1, 1, "effort")})
    poor, settings = POOR[name]
    best = rf"{poor} finds at most 0\.\d+ of the 10 nearest rows .* 1.0 is asked; searches stay exact"
    with pytest.raises(InputError, match=best):
        index.approximate(poor, settings, recall=1.0)
    assert index.info()["approximate"] is None
    queries = clustered(np.random.default_rng(1), 50)
    assert recall_of(index, [[hit.id for hit in hits] for hits in index.search(queries)], queries) == 1
    with index._opened.reading() as (_, store):  # nothing of it is left to go by
        found = store.backend.nearest(queries, 10, approximate={"name": poor, **settings})
        assert [one.ids for one in found] == [one.ids for one in store.backend.nearest(queries, 10)]


def test_check_measures_again_and_says_what_has_become_worse(index: Index) -> None:
    name = name_of(index)
    measured = index.approximate(NAMES[name], FINE[name], recall=0.9)
    assert measured is not None
    found = index.check()
    assert found["problems"] == []
    assert found["approximate"]["recall"] == measured["recall"]  # the same rows are the queries
    contents = index._opened.folder.contents()
    path = index.folder / "index.json"
    told = json.loads(path.read_text())
    told["generations"]["1"]["approximate"]["asked"] = 2.0  # more than there is
    told["generations"]["1"]["approximate"]["date"] = "2000-01-01"
    path.write_text(json.dumps(told))
    [problem] = index.check()["problems"]
    assert f"{NAMES[name]} finds {measured['recall']:.4f} of the 10 nearest rows, 2.0 was asked" in problem
    assert index.info()["approximate"]["date"] != "2000-01-01"
    assert index._opened.folder.contents() != contents


def test_check_says_where_too_few_rows_are_left(index: Index) -> None:
    name = name_of(index)
    index.approximate(NAMES[name], FINE[name], recall=0.5)
    index.delete([f"{n:04}" for n in range(5, ROWS)])
    [problem] = index.check()["problems"]
    assert "5 rows are too few" in problem
    assert len(index.search(np.ones(DIM), k=9)) == 5


def test_none_makes_searches_exact_again(index: Index) -> None:
    name = name_of(index)
    index.approximate(NAMES[name], FINE[name], recall=0.5)
    assert index.approximate(None) is None
    assert index.info()["approximate"] is None
    assert "approximate" not in index.check()


def test_wrong_names_settings_and_recalls_change_nothing(index: Index) -> None:
    name = name_of(index)
    before = index.approximate(NAMES[name], FINE[name], recall=0.5)
    with pytest.raises(InputError, match=f"{name} has no index 'annoy'"):
        index.approximate("annoy")
    with pytest.raises(InputError, match="has no setting 'speed'"):
        index.approximate(NAMES[name], {"speed": 3})
    with pytest.raises(InputError, match=r"above 0 and at most 1, 1\.5 is asked"):
        index.approximate(NAMES[name], recall=1.5)
    assert index.info()["approximate"] == before


def test_rows_are_left_out_of_their_answers_and_equal_scores_count_alike(index: Index) -> None:
    rows = index.vectors([f"{n:04}" for n in range(20)])
    index.add([f"copy {n}" for n in range(20)], vectors=rows)
    with index._opened.reading() as (_, store):
        sample = RecallQueries.of(store.backend)
        assert all(name not in one.ids for name, one in zip(sample.ids, sample.truth))
        assert all(len(one.ids) == K for one in sample.truth)
        again = RecallQueries.of(store.backend)
    assert again.ids == sample.ids
    assert len(set(sample.ids) & set(index.ids())) == 400


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", None, dim=DIM, **SETTINGS["lance"](tmp_path)) as index:
        index.add([f"{n}" for n in range(K)], vectors=clustered(np.random.default_rng(0), K))
        with pytest.raises(InputError, match="10 rows are too few"):
            index.approximate("ivf_flat")
        assert index.info()["approximate"] is None


def test_the_exact_backend_says_who_has_one(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", None, dim=DIM) as index:
        index.add(["a"], vectors=np.ones((1, DIM)))
        with pytest.raises(InputError, match=r"exact has no index 'hnsw'.* lance has .*ivf_pq.*pgvector hnsw"):
            index.approximate("hnsw")
        assert index.approximate(None) is None


@pytest.mark.parametrize("damage", [3, {}, {"settings": {"name": "hnsw"}}, {"recall": "much"}])
def test_what_no_build_has_written_is_refused(tmp_path: Path, damage: Any) -> None:
    Index.create(tmp_path / "i", None, dim=DIM).close()
    path = tmp_path / "i" / "index.json"
    told = json.loads(path.read_text())
    told["generations"]["1"]["approximate"] = damage
    path.write_text(json.dumps(told))
    with pytest.raises(InputError, match="approximate is not what was measured"):
        Index.open(tmp_path / "i")


def test_the_effort_begins_where_settings_say() -> None:
    found = effort_of({"name": "tree"}, KNOWN, "forest")
    assert (found.name, found.least, found.most) == ("depth", 2, 8)
    assert effort_of({"name": "tree", "depth": 5}, KNOWN, "forest").least == 5
