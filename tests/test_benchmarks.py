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


@pytest.mark.parametrize("contest", ["both ways", "nt-xent", "supcon"])
@pytest.mark.filterwarnings("ignore")  # the peers', of names that torch has deprecated
def test_loss(run: Run, monkeypatch: pytest.MonkeyPatch, contest: str) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    script = importlib.import_module("loss")
    monkeypatch.setattr(script, "PROMISES", {(contest, 400): 0.0})
    monkeypatch.setattr(script, "TIMED_S", 0.01)
    kept = run("loss", "loss:child", ["--contests", contest, "--sizes", "400", "--repeats", "1", "--rounds", "1"])
    assert [(row["contest"], row["precision"]) for row in kept["rows"]] == [(contest, "fp32"), (contest, "bf16")]
    for row in kept["rows"]:
        assert row["time_ratio"] > 0 and len(row["found"]) >= 2
    assert kept["gradient_errors"]["ours"]["fp32"] < 1e-4
    assert kept["gradient_errors"]["ours"]["bf16"] < 0.03
    assert [met["met"] for met in kept["bounds"]] == [False, False]
    assert kept["machine"]["cores"] >= 1


def test_what_would_not_fit_is_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    script = importlib.import_module("loss")
    monkeypatch.setattr(script, "free_memory_mb", lambda: 20_000.0)
    before = {"n": 1_000, "extra_mb": 100.0, "seconds": [2.0, 1.0]}
    assert script._too_much("cross_entropy", before, 10_000) is None
    assert script._too_much("cross_entropy", before, 20_000) == "predicted 39 GB"
    assert script._too_much("cross_entropy", {**before, "extra_mb": 0.0}, 20_000) == "predicted 400 s"


def test_cached_step(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    script = importlib.import_module("cached_step")
    for name, value in {"MICRO": {"static": 8}, "PLAIN": {"static": [16, 32]}, "SMALL": 16, "LARGE": 24}.items():
        monkeypatch.setattr(script, name, value)
    kept = run("cached_step", "cached_step:measure", ["--encoders", "static", "--rounds", "1"])
    assert [(row["n"], row["micro"]) for row in kept["rows"]] == [(32, 0), (32, 8), (16, 8), (24, 8)]
    assert len(kept["bounds"]) == 2


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
