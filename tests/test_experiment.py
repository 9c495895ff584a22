"""A recipe from Python: trained, judged, and written as the command line writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import nearfar as nf
from nearfar.errors import InputError
from tests.cli.conftest import pairs

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
    assert set(results["baseline"]) == {"bm25"}
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
