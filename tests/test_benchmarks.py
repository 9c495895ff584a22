"""The benchmarks run, at toy size and in one process: what they measure here says nothing, that they measure does."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import nearfar as nf

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


def test_token_loss(run: Run) -> None:
    sizes = ["--tokens", "300", "--vocabulary", "500", "--repeats", "1", "--rounds", "1"]
    kept = run("token_loss", "token_loss:child", sizes)
    assert [row["precision"] for row in kept["rows"]] == ["fp32", "bf16"]
    for row in kept["rows"]:
        assert {"ours", "ours with hits", "F.cross_entropy"} <= set(row["found"])
        assert all(one["seconds"] > 0 for one in row["found"].values())
    assert kept["gradient_errors"]["ours"]["fp32"] < 1e-6
    assert kept["gradient_errors"]["ours"]["bf16"] < 0.01
    assert [met["limit"] for met in kept["bounds"]] == [1.0, 0.5, 1.0, 0.5]


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


@pytest.mark.filterwarnings("ignore")  # the peer's
def test_mining(run: Run) -> None:
    pytest.importorskip("sentence_transformers", reason="the peer is missing: pip install 'nearfar[bench]'")
    kept = run("mining", "mining:measure", ["--pairs", "300", "--rounds", "1"])
    assert [row["wrong"] for row in kept["rows"]] == [0] * len(kept["rows"])
    assert len(kept["rows"]) >= 3 and len(kept["bounds"]) == 3


def test_many_rows(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    script = importlib.import_module("many_rows")
    script.write_table(tmp_path / "rows.parquet", 250, seed=0)
    rows = nf.data.Table(tmp_path / "rows.parquet")
    pairs = list(zip(*(rows.text(name).read(0, 250) for name in ("query", "key")), strict=True))
    assert len({text for pair in pairs for text in pair}) == 500
    assert all(query.split()[4:] == key.split()[:4] and len(key.split()) == 8 for query, key in pairs)
    found = {"seconds to the first step": 1.0, "steady_mb": 3.0}
    monkeypatch.setattr(script, "train", lambda *_: found)
    monkeypatch.setattr(script, "fresh", None, raising=False)
    kept = run("many_rows", "many_rows:train", ["--rows", "250"])
    assert kept["runs"] == {"first": found, "second": found}
    assert [bound["met"] for bound in kept["bounds"]] == [True, True]


def test_texts_on_disk(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    script = importlib.import_module("texts_on_disk")
    lines = list(script.documents(["One.", "Two words."], 5_000))
    assert 5_000 <= sum(map(len, lines)) < 5_200
    assert {len(json.loads(line)["text"].split(".")) for line in lines} == {script.OF_DOCUMENT + 1}
    sizes = iter([100, 1_100])

    def train(*_: Any) -> dict[str, float]:
        return {"pairs": (n := next(sizes)), "own_peak_mb": n / 2**20 * 150, "steady_own_mb": n / 2**20 * 250}

    monkeypatch.setattr(script, "train", train)
    monkeypatch.setattr(script, "SENTENCES", 100)
    monkeypatch.setattr(script, "fresh", None, raising=False)
    kept = run("texts_on_disk", "texts_on_disk:train", ["--megabytes", "1", "2"])
    assert [bound["value"] for bound in kept["bounds"]] == [150, 250]
    assert [bound["met"] for bound in kept["bounds"]] == [True, False]


def test_the_way_through_the_plane_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    way = [{"step": i, "uniformity": -i / 2, "alignment": 1 / (i + 1), "spearman": 0.1 * i} for i in range(4)]
    picture = ElementTree.fromstring(importlib.import_module("_path").drawn({"a < b": way, "other": way[:2]}))
    space = "{http://www.w3.org/2000/svg}"
    assert len(picture.findall(f"{space}circle")) == 6
    assert {text.text for text in picture.findall(f"{space}text")} >= {
        "a < b",
        "other",
        "STS-B 0.00 to 0.30",
    }


def test_few_pairs_are_parted_by_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    rows = [(f"question {i // 3}", f"answer {i}") for i in range(150)]
    train, task = importlib.import_module("_small_sets").split(rows, 60, 1, 10, 100)
    queries, documents = task.queries.read(0, 10), task.documents.read(0, 100)
    assert len(train) == 60 and len(task.queries) == 10
    assert not {query for query, _ in train} & set(queries)
    judged = {(queries[q], documents[d]) for q, found in task.relevance.items() for d in found}
    assert judged == {(query, key) for query, key in rows if query in queries}
    assert len(set(task.clusters.tolist())) == 10


def test_fine_tuning_on_few_pairs(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    found: dict[str, Any] = {"set": "a", "before": [0.5, 1.0], "after": [0.75, 1.0], "groups": [0, 1], "said": "[]"}
    found |= {"documents": 9, "trained": 3, "steps": 8, "step": 0}

    def study(name: str, **_: Any) -> dict[str, Any]:
        return {"absent": "it is not here"} if name == "faq" else found

    monkeypatch.setattr(importlib.import_module("_small_sets"), "study", study)
    options = ["--sets", "trecqa", "faq", "--pairs", "300", "--seeds", "2", "--data", "none"]
    kept = run("finetune_small", "_small_sets:study", options)
    assert kept["absent"] == {"faq": "it is not here"}
    (row,) = kept["rows"]
    assert (row["start"], row["difference"]["value"]) == (0.75, 0.125)
    assert (row["difference"]["low"], row["difference"]["high"]) == (0.0, 0.25)
    assert [bound["met"] for bound in kept["bounds"]] == [True]


@pytest.mark.slow
def test_from_scratch(run: Run, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    script = importlib.import_module("_scratch")

    def few(rows: Any, data: Path) -> tuple[list[dict[str, Any]], dict[str, int]]:
        found, counts = rows(data)
        return found[:400], counts  # a toy of the same form

    studies = {name: (recipe, partial(few, rows), own) for name, (recipe, rows, own) in script.STUDIES.items()}
    monkeypatch.setattr(script, "STUDIES", studies)
    monkeypatch.setattr(script, "PAIRS", 40)
    small = "encoder.config={model_type: bert, hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2}"
    options = ["--steps", "4", "--looks", "2", "--set", small, "--set", "training.batch_size=16"]
    kept = run("from_scratch", "from_scratch:child", [*options, "--data", str(shared_data)])
    for told in kept["studies"].values():
        assert [point["step"] for point in told["path"]] == [0, 2, 4]
        assert all(-1 <= point["spearman"] <= 1 and point["alignment"] >= 0 for point in told["path"])
    assert kept["studies"]["paraphrases"]["data"]["left out, in STS-B"] > 400
    assert kept["baselines"]["spearman"] > 0.5


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


def test_augmentation_draws(run: Run) -> None:
    options = ["--sizes", "3", "1024", "--rounds", "1", "--repeats", "2"]
    kept = run("augmentation_draws", "augmentation_draws:child", options)
    assert [row["examples"] for row in kept["rows"]] == [3, 1024]
    assert all(row["draws"] > 0 and row["generators"] > 0 for row in kept["rows"])
    assert len(kept["bounds"]) == 1


def test_command_line(run: Run) -> None:
    kept = run("command_line", "command_line:answer", ["--rounds", "2"])
    assert len(kept["runs"]) == 2
    assert min(kept["runs"]) > 0


def test_coverage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    made = importlib.import_module("_populations")
    # Under another name: a well-known package is called coverage, too.
    spec = spec_from_file_location("coverage_of_intervals", BENCHMARKS / "coverage.py")
    assert spec is not None and spec.loader is not None
    script = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, script)
    spec.loader.exec_module(script)
    random = np.random.default_rng(0)
    clusters = {"even": np.arange(200), "uneven": np.sort(random.integers(0, 40, 200))}
    judged = [
        made.Judged(data, system, (random.random(200) < 0.95).astype(float), of_row)
        for data, of_row in clusters.items()
        for system in ("a", "b")
    ]
    graded = made.Graded("pairs", "a", np.arange(200.0), np.arange(200.0) % 6)
    monkeypatch.setattr(script, "retrieval", lambda _: judged)
    monkeypatch.setattr(script, "similarity", lambda _: [graded])
    options = ["--clusters", "15", "--draws", "40", "--statistic-draws", "5", "--resamples", "50", "--jobs", "1"]
    monkeypatch.setattr(sys, "argv", ["coverage", *options, "--out", str(tmp_path)])
    script.main()
    (path,) = tmp_path.iterdir()
    kept = json.loads(path.read_text())
    rows = {row["population"]: row for row in kept["rows"]}
    assert len(rows) == 4 + 2 + 3
    assert {row["kind"] for row in kept["rows"]} == {"mean", "difference", "statistic"}
    for name in ("even: a", "uneven: b", "even: a - b"):
        assert rows[name]["ours"][0] >= 0.85
    assert rows["even: a"]["ours"][0] > rows["even: a"]["percentile"][0]
    assert rows["even: a"]["narrowest"] > 0.05  # fifteen hits still say no more than that


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_finetuning_that_is_killed_and_resumed_ends_the_same() -> None:
    pytest.importorskip("peft", reason="the extra lora is not installed")
    words = [sys.executable, str(BENCHMARKS / "kill_resume.py"), "--of", "finetune", "--kills", "2"]
    found = subprocess.run(words, capture_output=True, text=True, timeout=800, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.count("\nkill ") == 2
    assert "2 kills over" in found.stdout and "EQUAL to the last bit" in found.stdout
