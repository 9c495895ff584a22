"""nearfar index and nearfar search INDEX: what they say, and what they refuse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar.index.index import Index
from tests.cli.calling import Done, Run
from tests.contracts.samples import write_lines
from tests.encoders.cross_encoder import tiny
from tests.index.postgres_server import server


def facts(done: Done) -> Any:
    assert done.code == 0, done.err
    return json.loads(done.out)


@pytest.fixture
def rows(here: Path, nearfar: Run) -> Path:
    """Return an index of the pairs' keys, with a number in each row."""
    pairs = [json.loads(line) for line in (here / "pairs.jsonl").read_text().splitlines()]
    table = [
        {"id": row["id"], "text": row["key"], "n": i, "even": i % 2 == 0, "tags": ["a"]} for i, row in enumerate(pairs)
    ]
    write_lines(here / "rows.jsonl", table)
    found = facts(nearfar("index", "add", "rows.index", "rows.jsonl", "--model", "model", "--json"))
    assert found == {"index": "rows.index", "added": 60, "rows": 60, "ids": "id"}
    return here / "rows.index"


def test_an_index_of_a_table_is_searched(rows: Path, nearfar: Run) -> None:
    hits = facts(nearfar("search", rows, "the red fox", "-k", 5, "--json"))
    assert [set(hit) for hit in hits] == [{"id", "score", "text", "fields"}] * 5
    assert set(hits[0]["fields"]) == {"n", "even"}
    assert "fox" in hits[0]["text"]
    few = facts(
        nearfar("search", rows, "fox", "-k", 99, "--where", "n < 10 and even = true", "--mode", "vectors", "--json")
    )
    assert sorted(hit["fields"]["n"] for hit in few) == [0, 2, 4, 6, 8]
    like = facts(nearfar("search", rows, "--like", "row-3", "--like", "row-4", "-k", 99, "--json"))
    assert {hit["id"] for hit in like} == {f"row-{i}" for i in range(60)} - {"row-3", "row-4"}
    explained = facts(nearfar("search", rows, "red fox", "-k", 1, "--explain", "--json"))
    assert set(explained[0]["explain"]) == {"vectors", "words", "fused"}


def test_a_search_tells_people(rows: Path, nearfar: Run) -> None:
    done = nearfar("search", rows, "the red fox", "-k", 1, "--explain")
    assert done.code == 0
    assert "n " in done.out
    assert "by vectors: rank " in done.out
    assert "by words: rank " in done.out
    assert "nothing found" in nearfar("search", rows, "zzz", "--mode", "words").out


def test_rows_are_added_again_and_removed(rows: Path, here: Path, nearfar: Run) -> None:
    write_lines(
        here / "more.jsonl",
        [{"id": "row-1", "text": "a purple whale", "n": 1000}, {"id": "new", "text": "a whale", "n": 5}],
    )
    assert facts(nearfar("index", "add", rows, "more.jsonl", "--json"))["rows"] == 61
    assert facts(nearfar("search", rows, "whale", "--mode", "words", "--json"))[0]["id"] == "new"
    assert facts(nearfar("index", "delete", rows, "new", "nobody", "--json")) == {
        "index": str(rows),
        "deleted": 1,
        "rows": 60,
    }
    assert facts(nearfar("index", "delete", rows, "--where", "n >= 50", "--json"))["deleted"] == 11
    for command in ("check", "verify"):
        found = facts(nearfar("index", command, rows, "--json"))
        assert (found["rows"], found["problems"]) == (49, [])
    assert "49 rows, no problem" in nearfar("index", "verify", rows).out


def test_info_says_what_it_is(rows: Path, nearfar: Run) -> None:
    found = facts(nearfar("index", "info", rows, "--json"))
    assert (found["rows"], found["dim"], found["model"], found["generation"]) == (60, 16, "model", 1)
    assert found["fields"] == {"n": "integer", "even": "boolean"}
    told = nearfar("index", "info", rows).out
    assert "60 rows, 60 with text" in told
    assert "n (integer), even (boolean)" in told


def test_damage_is_exit_code_1(rows: Path, nearfar: Run) -> None:
    [path] = (rows / "generations" / "000001" / "rows").glob("vectors-*")
    damaged = np.fromfile(path, np.float32)
    damaged[16 * 7] += 0.5
    damaged.tofile(path)
    done = nearfar("index", "verify", rows, "--json")
    assert done.code == 1
    assert "row-7" in json.loads(done.out)["problems"][0]


def test_vectors_make_an_index_without_a_model(here: Path, nearfar: Run) -> None:
    vectors = np.random.default_rng(0).standard_normal((60, 5))
    np.save(here / "v.npy", vectors)
    write_lines(here / "ids.jsonl", [{"id": i, "year": 2000 + i} for i in range(60)])
    assert (
        facts(nearfar("index", "add", "v.index", "ids.jsonl", "--vectors", "v.npy", "--precision", "int8", "--json"))[
            "rows"
        ]
        == 60
    )
    with Index.open(here / "v.index") as index:
        assert index.search(vectors[7], k=1, where="year < 2050")[0].id == "7"
    nearfar("search", "v.index", "fox").refused("opened without a model")
    assert facts(nearfar("search", "v.index", "--like", "3", "-k", 2, "--json"))


def test_an_approximate_search_is_measured_and_shown(here: Path, nearfar: Run) -> None:
    pytest.importorskip("lancedb", reason="the extra lance is not installed")
    vectors = np.random.default_rng(0).standard_normal((300, 8))
    np.save(here / "v.npy", vectors)
    write_lines(here / "ids.jsonl", [{"id": i} for i in range(300)])
    nearfar("index", "add", "l.index", "ids.jsonl", "--vectors", "v.npy", "--backend", "lance")
    done = nearfar("index", "approximate", "l.index", "ivf_flat", "partitions=4", "--recall", 0.9, "--json")
    measured = facts(done)["approximate"]
    assert measured["recall"] >= 0.9
    assert measured["settings"]["partitions"] == 4
    assert "recall@10" in done.err
    assert "ivf_flat (partitions 4, probes" in nearfar("index", "info", "l.index").out
    assert "of the 10 nearest (asked: 0.9)" in nearfar("index", "check", "l.index").out
    nearfar("index", "approximate", "l.index", "ivf_flat", "partitions=x").refused("partitions=x", "SETTING=NUMBER")
    nearfar("index", "approximate", "l.index", "hnsw").refused("lance has no index 'hnsw'", "ivf_hnsw_sq")
    assert "searches are exact" in nearfar("index", "approximate", "l.index", "none").out
    assert "search   exact" in nearfar("index", "info", "l.index").out


def test_another_generation_is_swapped_in(rows: Path, here: Path, nearfar: Run) -> None:
    nearfar("index", "swap", rows).refused("no other generation")
    with Index.beside(rows, None, dim=3) as beside:
        beside.add(["a", "b"], vectors=np.eye(3)[:2])
    assert facts(nearfar("index", "swap", rows, "--drop-old", "--json"))["rows"] == 2
    assert not (rows / "generations" / "000001").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["search", "INDEX"], ["give a query, or --like"]),
        (["search", "INDEX", "fox", "--like", "row-1"], ["one of the two"]),
        (["search", "INDEX", "fox", "more"], ["is an index", "'more'"]),
        (["search", "INDEX", "fox", "--column", "text"], ["is an index", "--column"]),
        (["search", "model", "pairs.jsonl", "fox", "--where", "n = 1"], ["is no index", "--where"]),
        (["search", "INDEX", "fox", "--where", "m = 1"], ["no row has a field 'm'"]),
        (["search", "INDEX", "fox", "--where", "n ="], ["is no filter"]),
        (["search", "INDEX", "fox", "--mode", "word"], ["did you mean 'words'"]),
        (["search", "INDEX", "fox", "--model", "nowhere"], ["nowhere", "--model"]),
        (["search", "INDEX", "--like", "nobody"], ["no row has the id 'nobody'"]),
        (["index", "info", "nowhere"], ["nowhere: no index there"]),
        (["index", "delete", "INDEX"], ["give ids or a filter"]),
        (["index", "add", "INDEX", "pairs.jsonl", "--vectors", "x.npy"], ["x.npy: not readable"]),
        (["index", "add", "new.index", "pairs.jsonl"], ["no index there; give --model or --vectors"]),
        (["index", "add", "INDEX", "bad.jsonl"], ["row 1", "n holds values of kind integer"]),
        (["index", "add", "i2", "pairs.jsonl", "--model", "model", "--backend", "ext"], ["did you mean 'exact'"]),
    ],
)
def test_what_is_wrong_is_one_line(rows: Path, here: Path, nearfar: Run, words: list[str], said: list[str]) -> None:
    write_lines(here / "bad.jsonl", [{"id": "x", "text": "a", "n": 1}, {"id": "y", "text": "a", "n": 1.5}])
    nearfar(*[str(rows) if word == "INDEX" else word for word in words]).refused(*said)
    assert facts(nearfar("index", "check", rows, "--json"))["rows"] == 60


def test_an_index_whose_model_is_gone_is_searched_by_words(rows: Path, here: Path, nearfar: Run) -> None:
    shutil.move(here / "model", here / "elsewhere")
    nearfar("search", rows, "fox").refused("model", "say where it is by --model")
    assert facts(nearfar("search", rows, "fox", "--mode", "words", "--json"))
    assert facts(nearfar("search", rows, "fox", "--model", "elsewhere", "--json"))


def test_a_table_without_ids_has_them_of_its_texts(here: Path, nearfar: Run) -> None:
    table = [{"text": f"a fox of number {i % 8}", "n": i} for i in range(10)]
    write_lines(here / "t.jsonl", table)
    add = ("index", "add", "t.index", "t.jsonl", "--model", "model", "--json")
    assert facts(nearfar(*add)) == {"index": "t.index", "added": 10, "rows": 10, "ids": None}
    assert facts(nearfar(*add))["rows"] == 10  # again, and none is double
    write_lines(here / "t.jsonl", [{"text": "something before"}, *reversed(table[:8]), {**table[8], "n": 99}])
    assert facts(nearfar(*add))["rows"] == 11
    with Index.open(here / "t.index") as index:
        assert index.count("n = 99") == 1
        assert len([name for name in index.ids() if name.endswith("-2")]) == 2
    assert "ids are of the texts, as the table has no column id" in nearfar(*add[:-1], columns=200).out


def test_any_column_may_be_that_of_ids(here: Path, nearfar: Run) -> None:
    write_lines(here / "t.jsonl", [{"doc": f"d{i}", "text": f"a fox {i}", "n": i} for i in range(3)])
    add = ("index", "add", "t.index", "t.jsonl", "--model", "model", "--json", "--id")
    assert facts(nearfar(*add, "doc"))["ids"] == "doc"
    with Index.open(here / "t.index") as index:
        assert index.ids() == ["d0", "d1", "d2"]
        assert set(index.fields) == {"n"}
    nearfar(*add, "dok").refused("--id dok: no such column", "did you mean 'doc'")
    np.save(here / "v.npy", np.eye(3))
    write_lines(here / "n.jsonl", [{"n": i} for i in range(3)])
    nearfar("index", "add", "n.index", "n.jsonl", "--vectors", "v.npy").refused("no column id", "--id")
    assert not (here / "n.index").exists()


def test_settings_of_the_backend_come_by_path(here: Path, nearfar: Run) -> None:
    write_lines(here / "t.jsonl", [{"id": i, "text": f"a fox {i}"} for i in range(3)])
    (here / "docs").mkdir()
    (here / "docs" / "a.txt").write_text("a red fox")
    for words in (("add", "i", "t.jsonl", "--model", "model"), ("build", "i", "model", "docs")):
        call = ("index", *words)
        nearfar(*call, "backend.first_dim=99").refused("first_dim 99")
        nearfar(*call, "backend.first=9").refused("exact: has no setting 'first'")
        nearfar(*call, "backend.name=lance").refused("--backend in its place")
        nearfar(*call, "backend=lance").refused("write backend.port=5432")
        nearfar(*call, "backend.first_dim=8").refused("was not trained for shorter vectors")
        nearfar(*call, "--backend", "pgvector", "backend.port=none").refused("port")
        secret = nearfar(*call, "--backend", "pgvector", "backend.host=postgresql://me:hunter2@db")
        secret.refused("host is no name")
        assert "hunter2" not in secret.err
        assert not (here / "i").exists()
        assert nearfar(*call, "--precision", "bits", "backend.oversample=20").code == 0
        assert nearfar(*call, "--precision", "bits", "backend.oversample=20").code == 0
        nearfar(*call, "backend.oversample=21").refused("with another value of it; leave backend.oversample out")
        nearfar(*call, "--backend", "lance").refused("was made of exact; leave --backend out")
        with Index.open(here / "i") as index:
            assert index.info()["backend"] == {"name": "exact", "precision": "bits", "oversample": 20}
        shutil.rmtree(here / "i")
    nearfar("index", "build", "i", "model", "docs", "data.delimiter=,").refused("data.delimiter")


def test_a_server_is_named_on_the_command_line(here: Path, nearfar: Run) -> None:
    settings = [f"backend.{name}={value}" for name, value in {**server(), "table": "cli"}.items()]
    write_lines(here / "t.jsonl", [{"id": i, "text": f"a fox {i}"} for i in range(3)])
    add = ("index", "add", "i", "t.jsonl", *settings, "--model", "model", "--backend", "pgvector")
    assert facts(nearfar(*add, "--json"))["rows"] == 3
    assert facts(nearfar("search", "i", "fox 2", "--json"))[0]["id"] == "2"
    assert (here / "i" / "generations" / "000001" / "rows" / "table").read_text().startswith("cli_")


def test_a_cross_encoder_reranks(rows: Path, here: Path, nearfar: Run) -> None:
    pytest.importorskip("sentence_transformers", reason="the extra rescore is not installed")
    tiny(here / "tiny")
    search = ("search", rows, "the red fox")
    before = [hit["id"] for hit in facts(nearfar(*search, "-k", 4, "--json"))]
    reranked = facts(nearfar(*search, "-k", 3, "--rerank", "tiny", "--depth", 4, "--explain", "--json"))
    assert {hit["id"] for hit in reranked} <= set(before)
    assert [before[hit["explain"]["reranked"]["before"] - 1] for hit in reranked] == [hit["id"] for hit in reranked]
    assert [hit["explain"]["reranked"]["score"] for hit in reranked] == [hit["score"] for hit in reranked]
    told = nearfar(*search, "-k", 1, "--rerank", "tiny", "--depth", 4, "--explain").out
    assert "reranked: rank 1, before " in told
    nearfar(*search, "--depth", 4).refused("--depth 4", "--rerank")
    nearfar(*search, "--depth", 0, "--rerank", "tiny").refused("--depth 0")
    nearfar(*search, "--rerank", "nowhere").refused("nowhere", "config.json is missing")
    nearfar("search", rows, "--like", "row-1", "--rerank", "tiny").refused("like= has no words")
    nearfar("search", "model", "pairs.jsonl", "fox", "--rerank", "tiny").refused("no index", "--rerank")
