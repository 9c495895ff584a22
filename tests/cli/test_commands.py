"""Each command on good input: what it writes, the one JSON value that programs read, the lines that people read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

import nearfar as nf
from nearfar import registry
from nearfar.cli.demo import QUERIES
from nearfar.vectors.quantize import Ranges
from tests.cli.calling import Done, Run
from tests.cli.conftest import SMALL, pairs
from tests.contracts.samples import beir, packages, write_lines

RUN_KEYS = {"run", "model", "train_pairs_per_second", "peak_memory_mb", "seconds", "metrics", "pairs"}
REPORT_KEYS = {"task", "metrics", "intervals", "baseline", "difference", "protocol"}
RECIPES = [
    *("adapt", "finetune", "paraphrases", "python_packages", "simcse", "simcse_scratch", "simcse_supervised", "static"),
    *("barlow_twins", "byol", "dcl", "moco_v2", "moco_v3", "nnclr", "simclr", "simsiam", "supcon", "swav", "vicreg"),
    *("picture_finetune", "caption_words", "clip", "clip_finetune", "locked", "siglip"),
    *("masked_language", "causal_language", "retromae"),
]
RETRIEVAL = {"ndcg@10", "mrr@10", "map", "recall@1", "recall@10", "recall@100"}
SPACE = {"alignment", "uniformity", "effective_rank", "random_cosine"}


def facts(done: Done) -> Any:
    """Return the one JSON value on standard output."""
    assert done.code == 0, done.err
    assert done.out.endswith("\n")
    assert done.out.count("\n") == 1
    return json.loads(done.out)


def shown(done: Done, columns: int = 80) -> str:
    """Return what people read, after a look at its width."""
    assert done.code == 0, done.err
    wide = [line for line in done.out.splitlines() if len(line) > columns]
    assert wide == []
    return done.out


def test_train_says_what_it_made(workshop: Path, here: Path, nearfar: Run) -> None:
    found = facts(nearfar("train", "static", "data.path=pairs.jsonl", *SMALL, "--out", "a", "--json"))
    assert set(found) >= RUN_KEYS | REPORT_KEYS
    assert set(found["metrics"]) == RETRIEVAL | SPACE
    assert found["metrics"]["mrr@10"] == pytest.approx(found["baseline"]["bm25"]["mrr@10"] + gap(found), abs=1e-9)
    assert found["train_pairs_per_second"] > 0
    assert json.loads((here / "a" / "results.json").read_text()) == found
    names = {path.name for path in (here / "a").iterdir()}
    assert names == {"recipe.yaml", "events.jsonl", "checkpoints", "model", "report.html", "results.json", "rows.json"}
    first = json.loads((workshop / "run" / "results.json").read_text())
    assert found["metrics"] == first["metrics"]


def gap(found: dict[str, Any]) -> float:
    difference = found["difference"]["bm25"]["mrr@10"]
    assert difference["low"] <= difference["value"] <= difference["high"]
    return float(difference["value"])


def test_the_recipe_in_a_run_runs_to_the_same_numbers(workshop: Path, here: Path, nearfar: Run) -> None:
    recipe = workshop / "run" / "recipe.yaml"
    assert set(yaml.safe_load(recipe.read_text())["versions"]) >= {"nearfar", "torch", "numpy"}
    found = facts(nearfar("train", recipe, "--out", "again", "--json"))
    assert found["metrics"] == json.loads((workshop / "run" / "results.json").read_text())["metrics"]
    again, first = (nf.Model.load(folder / "model") for folder in (here / "again", workshop / "run"))
    assert again.fingerprint == first.fingerprint


def test_train_tells_people(here: Path, nearfar: Run) -> None:
    call = ["train", "static", "data.path=pairs.jsonl", *SMALL, "--overwrite", "--out", "a"]
    for columns in (80, 120):
        text = shown(nearfar(*call, columns=columns), columns)
        for word in ("mrr@10", "BM25", "[low,", "pairs, ", "a second", "model   a/model", "report  a/report.html"):
            assert word in text


def test_train_without_judging_or_baseline(here: Path, nearfar: Run) -> None:
    (here / "recipe.yaml").write_text(
        "data: {name: table, path: pairs.jsonl}\npositives: {name: columns}\n"
        "encoder: {name: static}\nloss: {name: infonce}\n"
    )
    found = facts(nearfar("train", "recipe.yaml", *SMALL[:-1], "--out", "a", "--json"))
    assert (found["metrics"], (here / "a" / "report.html").is_file()) == ({}, True)
    (here / "model").rename("other")
    call = ["train", "static", "data.path=pairs.jsonl", *SMALL, "--baseline", "none", "--baseline", "other"]
    assert list(facts(nearfar(*call, "--out", "b", "--json"))["baseline"]) == ["other"]


def test_the_model_knows_how_it_was_made(workshop: Path) -> None:
    model = nf.Model.load(workshop / "run" / "model")
    assert model.notes["recipe"]["encoder"]["dim"] == 16
    assert set(model.notes["metrics"]) == RETRIEVAL | SPACE
    card = (workshop / "run" / "model" / "README.md").read_text()
    assert "mrr@10" in card
    assert model.fingerprint in card


def test_a_dry_run_writes_nothing(here: Path, nearfar: Run) -> None:
    call = ["train", "static", "data.path=pairs.jsonl", *SMALL, "--dry-run", "--out", "dry"]
    found = facts(nearfar(*call, "--json"))
    assert set(found) >= {"batch", "pairs", "batch_size", "steps", "seconds", "pairs_per_second", "memory_mb"}
    assert found["steps"] == 8
    text = nearfar(*call).out
    assert "Nothing was trained" in text
    assert "where is the" in text
    assert not (here / "dry").exists()


def test_train_mines_while_it_trains(here: Path, nearfar: Run) -> None:
    mining = ["training.refresh_every=3", "mining.negatives=2", "mining.window=[5,9]", "mining.range_max=5"]
    call = ["train", "static", "data.path=pairs.jsonl", *SMALL, *mining, "--baseline", "none"]
    facts(nearfar(*call, "--out", "a", "--json"))
    events = [json.loads(line) for line in (here / "a" / "events.jsonl").read_text().splitlines()]
    mined = [event for event in events if event["event"] == "refresh"]
    assert [event["step"] for event in mined] == [3, 6]
    assert all(event["found"] == 2 * event["examples"] for event in mined)
    recipe = yaml.safe_load((here / "a" / "recipe.yaml").read_text())
    assert (recipe["mining"]["negatives"], recipe["mining"]["window"]) == (2, [5, 9])
    assert facts(nearfar(*call, "--out", "b", "--dry-run", "--json"))["refreshes"] == 2
    assert nearfar(*call, "--out", "c", "mining.negatives=0").code == 2


def test_evaluate_on_a_table_beside_baselines(here: Path, nearfar: Run) -> None:
    shutil.copytree("model", "other")
    call = ["evaluate", "model", "pairs.jsonl", "--baseline", "bm25", "--baseline", "other", "--out", "reports/a.json"]
    found = facts(nearfar(*call, "--json"))
    assert set(found) >= REPORT_KEYS
    assert set(found["metrics"]) == RETRIEVAL | SPACE
    assert set(found["difference"]["bm25"]["ndcg@10"]) == {"value", "low", "high"}
    (twin,) = set(found["baseline"]) - {"bm25"}
    assert found["difference"][twin]["mrr@10"]["value"] == 0
    assert json.loads((here / "reports" / "a.json").read_text()) == found
    assert (found["task"], found["verdict"]["metric"]) == ("pairs.jsonl", "mrr@10")
    assert found["verdict"]["outcome"] in ("better", "worse", "undecided")
    for columns in (60, 80, 120):
        text = shown(nearfar(*call[:5], columns=columns), columns)
        assert "ndcg@10" in text
        assert " ".join(text.split()).startswith(f"pairs.jsonl: {found['verdict']['sizes']} ")
    text = shown(nearfar(*call[:7], columns=60), 60)
    assert found["verdict"]["sentence"] in " ".join(text.split())


def test_evaluate_on_graded_pairs(here: Path, nearfar: Run) -> None:
    rows = [{"sentence1": f"the fox {i}", "sentence2": f"the fox {i * i % 7}", "score": i % 5} for i in range(20)]
    write_lines(here / "sts.jsonl", rows)
    found = facts(nearfar("evaluate", "model", "sts.jsonl", "--json"))
    assert set(found["metrics"]) == {"spearman", "pearson"} | SPACE
    assert "spearman" in shown(nearfar("evaluate", "model", "sts.jsonl"))


def test_evaluate_on_a_beir_folder(here: Path, nearfar: Run) -> None:
    beir(here / "beir")
    found = facts(nearfar("evaluate", "model", "beir", "--json"))
    assert (found["task"], found["protocol"]["documents"]) == ("beir, split test", 9)
    (here / "beir" / "qrels").mkdir()
    (here / "beir" / "qrels.tsv").rename(here / "beir" / "qrels" / "dev.tsv")
    assert facts(nearfar("evaluate", "model", "beir", "--split", "dev", "--json"))["metrics"] == found["metrics"]


def test_search_finds_the_nearest(here: Path, nearfar: Run) -> None:
    found = facts(nearfar("search", "model", "pairs.jsonl", "red fox", "-k", "3", "--column", "key", "--json"))
    assert [set(hit) for hit in found] == [{"id", "score", "text"}] * 3
    assert [hit["score"] for hit in found] == sorted((hit["score"] for hit in found), reverse=True)
    rows = {row["id"]: row["key"] for row in map(json.loads, Path("pairs.jsonl").read_text().splitlines())}
    assert all(rows[hit["id"]] == hit["text"] for hit in found)
    assert len(facts(nearfar("search", "model", "pairs.jsonl", "fox", "-k", "999", "--json"))) == len(rows)


def test_search_in_lines_and_in_a_beir_corpus(here: Path, nearfar: Run) -> None:
    (here / "lines.txt").write_text("a red fox\nthe grey goose\n", encoding="utf-8")
    found = facts(nearfar("search", "model", "lines.txt", "fox", "--json"))
    assert {hit["id"]: hit["text"] for hit in found} == {"1": "a red fox", "2": "the grey goose"}
    (beir(here / "beir") / "qrels.tsv").unlink()
    (here / "beir" / "queries.jsonl").unlink()
    assert {hit["id"] for hit in facts(nearfar("search", "model", "beir", "fox", "--json"))} == {
        f"d{i}" for i in range(9)
    }


def test_search_tells_people(here: Path, nearfar: Run) -> None:
    write_lines(here / "long.jsonl", [{"text": "def fox():\n\n    return 'red' " + "and so on " * 99, "id": "x" * 30}])
    for columns in (80, 120):
        text = shown(nearfar("search", "model", "long.jsonl", "fox", columns=columns), columns)
        assert text.splitlines()[0].endswith("  " + "x" * 30)
        assert text.rstrip().endswith("...")
        assert len(text.splitlines()) == 3


@pytest.mark.parametrize("name", ["v.npy", "v.parquet"])
def test_embed_writes_the_vectors_of_embed(name: str, here: Path, nearfar: Run) -> None:
    out = f"deep/{name}"
    found = facts(
        nearfar("embed", "model", "pairs.jsonl", "--column", "query", "--role", "query", "--out", out, "--json")
    )
    model = nf.Model.load("model")
    rows = [json.loads(line) for line in Path("pairs.jsonl").read_text().splitlines()]
    assert found.pop("truncated") == 0
    assert found == {"out": out, "rows": len(rows), "dim": 16, "precision": "float32", "fingerprint": model.fingerprint}
    expected = model.embed([row["query"] for row in rows], role="query")
    if name.endswith(".npy"):
        vectors = np.load(out)
    else:
        table = pq.read_table(out)
        assert table["id"].to_pylist() == [row["id"] for row in rows]
        vectors = np.array(table["vector"].to_pylist(), np.float32)
    np.testing.assert_array_equal(vectors, expected)
    assert vectors.dtype == np.float32
    assert [path.name for path in (here / "deep").iterdir()] == [name]
    assert "60 vectors of 16 dimensions" in shown(nearfar("embed", "model", "pairs.jsonl", "--out", out))


@pytest.mark.parametrize("name", ["v.npy", "v.parquet"])
def test_embed_writes_smaller_vectors(name: str, here: Path, nearfar: Run) -> None:
    words = ["embed", "model", "pairs.jsonl", "--column", "query", "--dim", "12", "--json"]
    found = facts(nearfar(*words, "--precision", "int8", "--calibration", "pairs.jsonl", "--out", name))
    assert (found["dim"], found["precision"], found["ranges"]) == (12, "int8", f"{name}.ranges.npy")
    model, queries = nf.Model.load("model"), [row["query"] for row in pairs()]
    again = facts(
        nearfar(*words, "--precision", "int8", "--calibration", f"{name}.ranges.npy", "--out", f"again-{name}")
    )
    assert again["ranges"] == f"again-{name}.ranges.npy"
    bits = facts(nearfar(*words, "--precision", "ubinary", "--out", f"bits-{name}"))
    assert "ranges" not in bits
    expected = model.embed(queries, dim=12, precision="int8", calibration=Ranges.load(Path(f"{name}.ranges.npy")))
    for path, vectors in [
        *((path, expected) for path in (name, f"again-{name}")),
        (f"bits-{name}", model.embed(queries, dim=12, precision="ubinary")),
    ]:
        if name.endswith(".npy"):
            stored = np.load(path)
        else:
            column = pq.read_table(path)["vector"]
            stored = np.array(column.to_pylist(), column.type.value_type.to_pandas_dtype())
        assert stored.dtype == vectors.dtype
        np.testing.assert_array_equal(stored, vectors)


def test_embed_keeps_the_place_of_an_empty_document(here: Path, nearfar: Run) -> None:
    folder = beir(here / "beir")
    write_lines(
        folder / "corpus.jsonl", [{"_id": "a", "title": "A fox", "text": ""}, {"_id": "b", "title": "", "text": ""}]
    )
    done = nearfar("embed", "model", "beir", "--out", "v.npy", "--json")
    assert facts(done)["rows"] == 2
    assert done.err == "nearfar: warning: 1 empty documents have a zero vector\n"
    np.testing.assert_allclose(np.linalg.norm(np.load("v.npy"), axis=1), [1, 0], atol=1e-6)


def test_report_is_made_again(run_here: Path, nearfar: Run) -> None:
    page = run_here / "run" / "report.html"
    page.unlink()
    found = facts(nearfar("report", "run", "--json"))
    assert (found["report"], set(found["metrics"])) == ("run/report.html", RETRIEVAL | SPACE)
    assert page.read_text(encoding="utf-8").lstrip().startswith("<!doctype html>")
    assert shown(nearfar("report", "run")) == "run/report.html\n"


def test_list_names_rooms_parts_and_recipes(nearfar: Run) -> None:
    found = facts(nearfar("list", "--json"))
    assert found == {
        **{package: registry.names(package) for package in registry.PART_PACKAGES},
        "recipes": sorted(RECIPES),
    }
    for package in registry.PART_PACKAGES:
        parts = facts(nearfar("list", package, "--json"))
        assert list(parts) == registry.names(package)
        assert all(part["about"] for part in parts.values())
    assert facts(nearfar("list", "losses", "--json"))["infonce"]["settings"]["temperature"] == 0.05
    assert facts(nearfar("list", "data", "--json"))["table"]["required"] == ["path"]
    assert set(facts(nearfar("list", "recipes", "--json"))) == set(RECIPES)
    for words in ([], ["losses"], ["recipes"], ["augmentations"], ["data"]):
        for columns in (80, 120):
            shown(nearfar("list", *words, columns=columns), columns)


def test_doctor_tells_of_the_machine(here: Path, nearfar: Run) -> None:
    found = facts(nearfar("doctor", "--json"))
    assert set(found) >= {"python", "versions", "threads", "precision", "gpu", "cache", "free_gb", "problems"}
    assert found["versions"]["nearfar"] == "0.1.0"
    assert "torch" in nearfar("doctor").out


@pytest.fixture
def small_demo(here: Path) -> list[str]:
    """Settings that make a demo of a few small packages."""
    paths = ", ".join(str(path) for path in packages(here / "packages"))
    settings = ["data.heldout=20", "data.unseen=20", "encoder.dim=16", "encoder.vocabulary=400"]
    return [f"data.paths=[{paths}]", "data.workers=1", *settings, "training.steps=20", "training.batch_size=64"]


def test_demo_from_harvest_to_search(here: Path, small_demo: list[str], nearfar: Run) -> None:
    text = shown(nearfar("demo", *small_demo))
    for word in (
        "1  Harvest",
        "2  Train",
        "3  Index",
        "search [low, high]",
        "bm25",
        "unseen",
        "vectors alone",
        "4  Search",
        "Next:",
        "nearfar search runs/demo/index",
    ):
        assert word in text
    found = facts(nearfar("demo", *small_demo, "--json"))  # it replaces the first
    assert set(found) >= RUN_KEYS | REPORT_KEYS | {"unseen", "search", "searches", "index"}
    for part in (found, found["unseen"], found["search"], found["unseen"]["search"]):
        assert set(part["metrics"]) >= RETRIEVAL
        assert set(part["baseline"]["bm25"]) >= RETRIEVAL
        assert set(part["difference"]["bm25"]["mrr@10"]) == {"value", "low", "high"}
    assert found["search"]["baseline"]["vectors"].items() <= found["metrics"].items()
    assert found["search"]["baseline"]["bm25"] == found["baseline"]["bm25"]
    assert [len(entry["found"]) for entry in found["searches"]] == [3, 3, 3]
    folder = here / "runs" / "demo"
    assert json.loads((folder / "results.json").read_text()) == found
    assert {path.name for path in folder.iterdir()} >= {"model", "report.html", "recipe.yaml", "index"}
    again = facts(nearfar("search", "runs/demo/index", QUERIES[0], "-k", "3", "--json"))
    assert [hit["id"] for hit in again] == [hit["id"] for hit in found["searches"][0]["found"]]


@pytest.mark.parametrize("wrong", ["training.epochs=few", "encoder.dim=0", "data.unseen=-1", "evaluate.0.split=held"])
def test_demo_refuses_a_wrong_setting_before_it_says_anything(wrong: str, small_demo: list[str], nearfar: Run) -> None:
    nearfar("demo", *small_demo, wrong).refused(wrong.partition("=")[2])
