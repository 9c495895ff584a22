"""The benchmarks of searches and indexes run, at toy size: what they find here is right, how soon says nothing."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import nearfar as nf
from tests.cli.conftest import call
from tests.evaluation.models import retrieval
from tests.index.word_model import WordModel
from tests.test_benchmarks import BENCHMARKS, Run, run  # noqa: F401  the fixture is used by its name

PROJECT = {
    "README.md": "Training that was killed goes on: resume training after a crash\nby the same command as before.",
    "docs/vectors.md": "A vector of unit length is near another\nwhere the product of the two is close to one.",
    "src/losses.py": "def pull(queries, keys):\n    return similarity(queries, keys) / temperature",
    "benchmarks/documents.py": "QUERY = 'resume training after a crash'  # resume training after a crash",
}


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project of pages and code, which the benchmarks index in the place of this one."""
    for name, text in PROJECT.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "project"


def test_cold_search(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    script = importlib.import_module("cold_search")
    monkeypatch.setattr(script, "ROOT", project)
    kept = run("cold_search", "cold_search:child", ["--models", "static", "--rows", "5", "--dim", "8", "--rounds", "1"])
    assert kept["settings"] == {"rounds": 1, "rows": 5, "dim": 8}
    [(kind, found)] = kept["found"].items()
    assert kind == "static"
    assert {what: len(calls) for what, calls in found["calls"].items()} == {"pages": 1, "rows": 1}
    assert [bound["what"] for bound in kept["bounds"]] == [
        "static, pages: median seconds",
        "static, rows: median seconds",
    ]


@pytest.mark.parametrize("found", [[["a", 0.5]], [["b", 0.25]], [["a", 0.25], ["b", 0.125]], []])
def test_a_cold_search_with_other_hits_is_no_measurement(found: list[list[Any]]) -> None:
    compare = importlib.import_module("cold_search")._compare
    compare("static", [{"id": "a", "score": 0.25}], [["a", 0.25]])
    with pytest.raises(SystemExit, match=r"static: .* are not the hits of an open index"):
        compare("static", [{"id": "a", "score": 0.25}], found)


def test_documents(run: Run, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    script: ModuleType = importlib.import_module("documents")

    def in_this_process(*words: str) -> tuple[Any, dict[str, float]]:
        done = call(*words, "--json")
        assert done.code == 0, done.err
        return json.loads(done.out), {"seconds": 1.0}

    monkeypatch.setattr(script, "ROOT", project)
    monkeypatch.setattr(script, "nearfar", in_this_process)
    monkeypatch.setattr(script, "fresh", None, raising=False)
    encoder = nf.encoders.Static(dim=8, vocabulary=300)
    encoder.prepare([nf.column.ListColumn("text", list(PROJECT.values()))])
    nf.Model(encoder).save(tmp_path / "model")
    kept = run("documents", "documents:builds", ["--files", "20", "--model", str(tmp_path / "model")])
    assert kept["search"]["found"][0] == "README.md"  # the file that quotes the question is left out
    assert (kept["search"]["first_right"], kept["search"]["passages"]) == (1, 3)
    first, second = kept["builds"]["first"], kept["builds"]["second"]
    assert (first["read"], first["unchanged"], first["embedded"]) == (20, 0, 20)
    assert (second["read"], second["unchanged"], second["embedded"], second["deleted"]) == (10, 10, 10, 10)
    assert [bound["value"] for bound in kept["bounds"][:2]] == [1, 10]
    assert kept["settings"] == {"files": 20, "model": "given"}


def test_hybrid(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    texts = ["a red fox", "a grey goose", "", "a red hen", "the grey hare"]
    task = retrieval(["red fox", "grey", "unanswered", "hen"], texts, {0: {0: 1}, 1: {4: 1}, 3: {3: 1}})
    monkeypatch.setattr(importlib.import_module("_judged_sets"), "task_of", lambda *_: task)
    monkeypatch.setattr(importlib.import_module("hybrid"), "_Kept", lambda *_: WordModel())
    kept = run("hybrid", "hybrid:found_by", ["--sets", "cranfield", "cisi", "--fusions"])
    assert list(kept["means"])[:3] == ["words", "vectors", "hybrid"] and len(kept["means"]) == 8
    assert kept["sets"]["cisi"] == {"set": "cranfield", "documents": 4, "queries": 3, "language": None} | {
        "set": "cisi"
    }
    assert kept["means"]["words"]["mrr@10"]["cisi"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    gap = kept["differences"]["hybrid"]["mrr@10"]["words"]
    assert gap["value"] == pytest.approx(kept["means"]["hybrid"]["mrr@10"]["cisi"] - (1 + 1 / 2 + 1) / 3)
    assert [bound["limit"] for bound in kept["bounds"]] == [0, 0, 0, 0]


@pytest.mark.parametrize(("name", "queries", "documents"), [("nl2bash", 300, 10_624), ("trecqa", 250, 7_052)])
def test_sets_to_choose_a_fusion_on(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch, name: str, queries: int, documents: int
) -> None:
    task = importlib.import_module("_judged_sets").task_of(name, shared_data)
    assert (len(task.queries), len(task.documents)) == (queries, documents)
    assert set(task.relevance) == set(range(queries))
