"""nearfar compare: two runs that were trained, beside each other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.calling import Run
from tests.cli.conftest import SMALL, call


@pytest.fixture(scope="module")
def other(workshop: Path) -> Path:
    """A second run on the same pairs, judged as the first."""
    done = call("train", "static", "data.path=pairs.jsonl", *SMALL, "encoder.dim=4", "--out", "other")
    assert done.code == 0, done.err
    return workshop / "other"


def test_two_runs(run_here: Path, other: Path, nearfar: Run) -> None:
    done = nearfar("compare", "run", other, "--json", "--out", "compare.html")
    assert done.code == 0, done.err
    found = json.loads(done.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    (task,) = found["tasks"]
    judged = [json.loads((folder / "results.json").read_text()) for folder in (run_here / "run", other)]
    for name in ("mrr@10", "recall@1"):
        gap = task["difference"]["other"][name]
        assert gap["value"] == pytest.approx(judged[1]["metrics"][name] - judged[0]["metrics"][name], abs=1e-12)
        assert gap["low"] <= gap["value"] <= gap["high"]
    rows = task["rows"]["other"]
    assert rows["better"] + rows["worse"] + rows["equal"] == judged[1]["protocol"]["queries"]
    assert {one["setting"]: one["values"] for one in found["settings"]} == {"encoder.dim": {"run": 16, "other": 4}}
    assert "<h1" in (run_here / "compare.html").read_text()
    said = nearfar("compare", "run", other)
    assert said.code == 0, said.err
    assert "mrr@10" in said.out and "encoder.dim" in said.out


def test_a_run_before_rows_were_kept(run_here: Path, other: Path, nearfar: Run) -> None:
    (run_here / "run" / "rows.json").unlink()
    done = nearfar("compare", other, "run", "--out", "compare.html")
    assert done.code == 0, done.err
    assert "run keeps no values of single rows" in " ".join(done.out.split())


def test_what_is_no_run_or_another_task_is_refused(run_here: Path, nearfar: Run) -> None:
    nearfar("compare", "run").refused("one run alone")
    nearfar("compare", "run", "nothing").refused("nothing: no results.json", "nearfar train")
    nearfar("compare", "run", "pairs.jsonl").refused("pairs.jsonl: no results.json")
    shutil.copytree("run", "again")
    kept = json.loads(Path("again/rows.json").read_text())
    kept["tasks"][0]["parts"]["documents"] = "others"
    Path("again/rows.json").write_text(json.dumps(kept))
    nearfar("compare", "run", "again").refused("again: on heldout its documents differ", "of run")
    Path("again/rows.json").write_text("{")
    nearfar("compare", "run", "again", "--json").refused("again/rows.json: not a JSON object")
