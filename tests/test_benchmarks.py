"""The benchmarks run, at toy size and in one process: what they measure here says nothing, that they measure does."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
Run = Callable[[str, str, list[str]], dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a script's `main` with options; return the JSON that it keeps. `child` is what a fresh process would call."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def call(name: str, child: str, options: list[str]) -> dict[str, Any]:
        script: ModuleType = importlib.import_module(name)
        module, function = child.split(":")
        measure = getattr(importlib.import_module(module), function)
        monkeypatch.setattr(script, "fresh", lambda _, task: json.loads(json.dumps(measure(**task))))
        monkeypatch.setattr(sys, "argv", [name, *options, "--out", str(tmp_path / "results")])
        script.main()
        (path,) = (tmp_path / "results").iterdir()
        assert path.name in capsys.readouterr().out.replace("\n", "")
        kept: dict[str, Any] = json.loads(path.read_text())
        assert str(tmp_path) not in path.read_text()
        return kept

    return call


def test_loss(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("loss"), "PROMISED_AT", 96)
    kept = run("loss", "loss:measure", ["--sizes", "96", "--repeats", "1", "--rounds", "1"])
    assert [row["precision"] for row in kept["rows"]] == ["fp32", "bf16"]
    for row in kept["rows"]:
        assert row["ours"]["value"] == pytest.approx(row["naive"]["value"], rel=5e-3)
        assert row["time_ratio"] > 0 and set(row["naive"]["tried"]) >= {"transposed", "contiguous", "logsumexp"}
    assert len(kept["bounds"]) == 4
    assert kept["machine"]["cores"] >= 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the peer's, of its own deprecated names
def test_static_training(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "sentence-transformers (with its trainer) is missing: pip install 'nearfar[bench]'"
    pytest.importorskip("sentence_transformers", reason=reason)
    pytest.importorskip("accelerate", reason=reason)
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    source = Path(json.__file__).parents[1]
    settings = {
        "data.paths": [str(source / "email"), str(source / "asyncio"), str(source / "logging")],
        "data.heldout": 20,
        "data.unseen": 0,
        "encoder.dim": 16,
        "encoder.vocabulary": 400,
        "training.batch_size": 64,
    }
    given = [part for path, value in settings.items() for part in ("--set", f"{path}={json.dumps(value)}")]
    options = ["--rounds", "1", "--epochs", "2", "--pairs", "200", *given]
    variants = {"advised": {}, "both ways": {"loss": "both ways", "start": "ours", "sampler": "batch_sampler"}}
    monkeypatch.setattr(importlib.import_module("static_training"), "VARIANTS", variants)
    kept = run("static_training", "_training:train", options)
    assert list(kept["contestants"]) == ["ours", *variants]
    for contestant in kept["contestants"].values():
        assert contestant["pairs_per_second"] > 0 and contestant["seconds"] > 0
        assert 0 <= contestant["mrr@10"] <= 1
    assert kept["contestants"]["both ways"]["runs"][0]["pairs_seen"] == 400
    assert len(kept["bounds"]) == 2
