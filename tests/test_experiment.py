"""A recipe from Python: trained, judged, and written as the command line writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import nearfar as nf
from nearfar.errors import InputError
from tests.cli.conftest import pairs
from tests.reports.test_run import text

SMALL: dict[str, Any] = {
    "data.path": pairs(),
    "data.heldout": 0.3,
    "encoder.dim": 16,
    "encoder.vocabulary": 300,
    "training.batch_size": 16,
    "training.steps": 8,
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))


def test_a_recipe_is_trained_judged_and_reported(tmp_path: Path) -> None:
    done = nf.train("static", SMALL, out=tmp_path / "run", quiet=True)
    assert done is not None
    assert done.folder == tmp_path / "run"
    assert {path.name for path in done.folder.iterdir()} >= {
        *("recipe.yaml", "results.json", "report.html", "model", "checkpoints", "events.jsonl"),
    }
    results = json.loads((done.folder / "results.json").read_text())
    assert results["metrics"]["mrr@10"] == pytest.approx(done.metrics["mrr@10"])
    assert set(results["baseline"]) == {"bm25", "bm25-stems"}
    assert "mrr@10" in (done.folder / "model" / "README.md").read_text()
    assert nf.Model.load(done.folder / "model").fingerprint == done.model.fingerprint


def test_a_model_is_a_baseline_and_the_run_goes_on(tmp_path: Path) -> None:
    first = nf.train("static", SMALL, out=tmp_path / "run", baselines=[], quiet=True)
    assert first is not None and first.reports["heldout"].baseline == {}
    again = nf.train("static", SMALL, out=tmp_path / "run", baselines=[first.model], resume=True, quiet=True)
    assert again is not None
    assert again.model.fingerprint == first.model.fingerprint
    assert len(again.reports["heldout"].baseline) == 1


def test_a_used_folder_is_refused_before_data_is_read(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match="a run lies there already"):
        nf.train("static", {"data.path": "nowhere.jsonl"}, out=tmp_path)


CLASSED = '''"""Pairs whose queries have a class, too: the length of their text, even or odd."""

import numpy as np

from nearfar.positives.columns import Columns
from nearfar.tasks import Labels


class Classed(Columns):
    def tasks(self, split):
        retrieval = super().task(split)
        train = self.views["query"]
        labels, train_labels = (
            np.array([len(cell) % 2 for cell in column.read(0, len(column))]) for column in (retrieval.queries, train)
        )
        return [
            retrieval,
            Labels(split, retrieval.queries, labels, train, train_labels, ["even", "odd"], retrieval.clusters),
        ]
'''


def test_metrics_with_settings_over_both_tasks_of_a_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_positives.py").write_text(CLASSED)
    monkeypatch.syspath_prepend(tmp_path)
    recipe = tmp_path / "classed.yaml"
    recipe.write_text(
        """
data: {name: table}
positives: {name: "my_positives:Classed"}
encoder: {name: static}
loss: {name: infonce}
training: {batch_size: 16, epochs: 1, evaluate_every: 4}
evaluate: [{name: knn, k: 3, split: heldout}, {name: probe}, {name: retrieval, split: heldout}]
"""
    )
    done = nf.train(recipe, SMALL, out=tmp_path / "run", quiet=True)
    assert done is not None
    assert list(done.reports) == ["heldout", "heldout retrieval"]
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    task = done_task(tmp_path)
    cells, train = (done.model.embed(column.read(0, len(column))) for column in (task.cells, task.train))
    hits = []
    for cosines, label in zip(cells @ train.T, task.labels):
        near = np.argsort(-cosines, kind="stable")[:3]
        votes = np.bincount(task.train_labels[near], np.exp(cosines[near].astype(float) / 0.07), 2)
        hits.append(votes[label] > votes[1 - label])
    assert results["metrics"]["knn@3"] == pytest.approx(np.mean(hits))
    assert results["baseline"]["majority"]["probe"] == pytest.approx(
        np.mean(task.labels == np.bincount(task.train_labels).argmax())
    )
    assert set(results["heldout retrieval"]["baseline"]) == {"bm25", "bm25-stems"}
    assert results["heldout retrieval"]["metrics"]["mrr@10"] > 0
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    found = next(event["metrics"] for event in events if event["event"] == "evaluate")
    assert {"knn@3", "probe", "mrr@10", "uniformity"} <= set(found)  # all tasks of the main split
    written = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["evaluate"]
    assert written[0] == {"name": "knn", "k": 3, "temperature": 0.07, "split": "heldout"}
    assert written[1] == {"name": "probe", "strength": None, "iterations": 200, "seed": 0, "split": "heldout"}
    page = text((tmp_path / "run" / "report.html").read_text())
    for words in (
        "Training did not make it better, as far as can be told: kNN@3",
        "the most frequent class",
        "the 3 nearest training cells vote for",
        "MRR@10",
    ):
        assert words in page, words
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "## Evaluation: heldout retrieval" in card and "| knn@3 |" in card


def done_task(folder: Path) -> Any:
    from my_positives import Classed  # type: ignore[import-not-found]

    table = nf.data.Table(SMALL["data.path"], heldout=0.3)
    return Classed(table).tasks("heldout")[1]


def test_a_metric_without_a_task_is_an_error_before_training(tmp_path: Path) -> None:
    recipe = tmp_path / "wrong.yaml"
    shipped = yaml.safe_load(
        "{data: {name: table}, positives: {name: columns}, encoder: {name: static}, loss: {name: infonce}, "
        "training: {epochs: 1}, evaluate: [{name: probe, split: heldout}]}"
    )
    recipe.write_text(yaml.safe_dump(shipped))
    with pytest.raises(InputError, match=r"evaluate.0: split 'heldout': metric probe takes a task of labels"):
        nf.train(recipe, SMALL, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "events.jsonl").exists()


def test_a_metric_to_stop_by_that_there_is_not_is_refused_before_training(tmp_path: Path) -> None:
    more = {**SMALL, "training.evaluate_every": 4, "training.patience": 1, "training.best": "mrr@1"}
    with pytest.raises(InputError, match=r"training.best: no metric 'mrr@1'; did you mean 'mrr@10'"):
        nf.train("static", more, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "events.jsonl").exists()
    done = nf.train("static", {**more, "training.best": "heldout_loss"}, out=tmp_path / "run", quiet=True)
    assert done is not None
