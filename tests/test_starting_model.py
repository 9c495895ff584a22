"""The model that training began from is judged before it, by what is judged after, and stands in every table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import nearfar as nf
from nearfar import config
from nearfar.abilities import start_of
from nearfar.encoders.dual import Dual
from nearfar.encoders.frozen_projection import FrozenProjection
from nearfar.encoders.projected import Projected
from nearfar.encoders.static import Static
from nearfar.encoders.transformer import Transformer
from nearfar.evaluation.report import Report
from nearfar.evaluation.splits import judgements
from nearfar.heads.mlp import Mlp
from nearfar.model import Model
from tests.encoders.tiny import WORDS, tiny

ROWS = [{"query": f"{a} {b}", "key": f"{b} {a} {a}"} for a in WORDS for b in WORDS[:5] if a != b]
RECIPE = """
data: {name: table, heldout: 0.4}
positives: {name: columns}
encoder: {name: transformer}
loss: {name: infonce}
training: {batch_size: 8, steps: 6, warmup: 0.0}
evaluate: [{name: retrieval, split: heldout}, {name: retrieval, split: train}]
"""
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of so small a run: that its space collapses


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))


def finetuned(folder: Path, rate: float = 10.0, **more: Any) -> Any:
    """Train the small model in `folder` further, by default so that it comes to nothing."""
    (folder / "recipe.yaml").write_text(RECIPE)
    settings = {"data.path": ROWS, "encoder.model": str(folder / "small"), "training.learning_rate": rate}
    return nf.train(folder / "recipe.yaml", settings, out=folder / "run", quiet=True, **more)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return Model(tiny("bert")).save(tmp_path / "small")


def test_training_that_made_it_worse_is_the_first_sentence(tmp_path: Path, small: Path) -> None:
    done = finetuned(tmp_path)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert list(results["baseline"]) == ["start", "bm25"]
    # Exactly what the untrained model comes to, on each split.
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    recipe = config.load(tmp_path / "recipe.yaml", {"data.path": ROWS, "encoder.model": str(small)})
    parts = config.build(recipe)
    for judgement in judgements(parts.evaluate, parts.positives, "none"):
        untrained = judgement.report(Model.load(small))
        found: Report = done.reports[judgement.name]
        assert found.baseline["start"] == untrained.metrics
        assert found.metrics["mrr@10"] < found.baseline["start"]["mrr@10"]
    about = results["protocol"]["baselines"]["start"]
    assert (about["name"], about["label"]) == (str(small), f"{small} before training")
    assert about["fingerprint"] == Model.load(small).fingerprint
    assert results["protocol"]["training"]["learning_rate"] == 10.0
    verdict = results["verdict"]
    assert verdict["sentence"].startswith(f"Training made it worse: MRR@10 {results['metrics']['mrr@10']:.3f} ")
    assert f"below the model it began from ({small})" in verdict["sentence"]
    assert (verdict["outcome"], verdict["against"]) == ("worse", "start")
    assert verdict["value"] == pytest.approx(results["metrics"]["mrr@10"] - results["baseline"]["start"]["mrr@10"])
    assert "(it was 10), fewer training.steps (there were 6), more pairs" in verdict["advice"]
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert verdict["sentence"] in card and f"| {small} before training | BM25 |" in card


def test_without_floors_and_on_resume_it_stays_and_training_is_the_same(tmp_path: Path, small: Path) -> None:
    first = finetuned(tmp_path, 1e-3, baselines="none")
    assert list(first.reports["heldout"].baseline) == list(first.reports["train"].baseline) == ["start"]
    again = finetuned(tmp_path, 1e-3, baselines="none", resume=True)  # nothing is left to train
    assert again.model.fingerprint == first.model.fingerprint
    assert again.reports["heldout"].baseline == first.reports["heldout"].baseline
    assert "fusion" not in again.reports["heldout"].protocol  # with itself of before, it would say nothing
    plain = nf.fit(
        Transformer(str(small)),
        nf.positives.Columns(nf.data.Table(ROWS, heldout=0.4)),
        nf.losses.InfoNCE(),
        out=tmp_path / "plain",
        quiet=True,
        batch_size=8,
        steps=6,
        learning_rate=1e-3,
    )
    assert plain.model.fingerprint == first.model.fingerprint  # to be judged first changed no random number


def test_a_model_from_nothing_has_no_start(tmp_path: Path) -> None:
    settings = {"data.path": ROWS, "encoder.dim": 8, "encoder.vocabulary": 300, "training.steps": 2}
    done = nf.train("static", {**settings, "data.heldout": 0.3}, out=tmp_path / "run", quiet=True)
    assert done is not None and list(done.reports["heldout"].baseline) == ["bm25"]


def test_who_began_from_weights(small: Path) -> None:
    pretrained, new, static = Transformer(str(small)), tiny("bert"), Static(dim=32, vocabulary=300)
    name = str(small)
    assert start_of(pretrained) == name
    assert start_of(new) is None and start_of(static) is None
    assert start_of(Model.load(small).encoder) == name
    assert start_of(FrozenProjection(pretrained)) == name
    assert start_of(FrozenProjection(new)) is None
    assert start_of(Dual(pretrained, Transformer(str(small)))) == name
    assert start_of(Dual(pretrained, static)) is None  # half of it is random
    assert start_of(Projected(pretrained, Mlp(dim=32, sizes=[8]))) == name


def test_a_baseline_in_a_folder_called_start_is_another(
    tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small.rename("start")
    task = nf.positives.Columns(nf.data.Table(ROWS, heldout=0.4)).task("heldout")
    report = nf.evaluate(Model.load("start"), task, baselines=["start"], resamples=2)
    assert list(report.baseline) == ["start 2"]
