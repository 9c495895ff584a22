"""DATA as a task is named by its file and, of several, its split."""

from __future__ import annotations

from pathlib import Path

import pytest

import nearfar as nf
from nearfar.evaluation import sources
from nearfar.evaluation.verdict import TRAINED_ON
from tests.contracts.samples import beir, write_lines

PAIRS = [{"query": f"where is {i}", "key": f"{i} is here"} for i in range(20)]
GRADED = [{"sentence1": f"a {i}", "sentence2": f"b {i % 7}", "score": i % 5} for i in range(20)]
LABELLED = [{"sentence1": f"a {i}", "sentence2": f"b {i}", "label": i % 2} for i in range(20)]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("rows", [PAIRS, GRADED, LABELLED])
def test_a_table_of_all_rows_and_a_folder_of_splits(here: Path, rows: list[dict[str, object]]) -> None:
    write_lines(here / "data.jsonl", rows)
    assert sources.task("data.jsonl", None).name == "data.jsonl"  # never "train" alone
    assert sources.task(str(here / "data.jsonl"), None).name == "data.jsonl"
    (here / "faq").mkdir()
    for split in ("train", "test"):
        write_lines(here / "faq" / f"{split}.jsonl", rows)
    assert sources.task("faq", None).name == "faq, split test"
    assert sources.task("faq/", "train").name == "faq, split train"


def test_a_split_that_is_held_out_on_reading(here: Path) -> None:
    write_lines(here / "data.jsonl", PAIRS)
    held = sources.Reading({"heldout": 0.3})
    assert sources.task("data.jsonl", None, held).name == "data.jsonl, split heldout"


def test_a_beir_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = beir(here / "scifact")
    assert sources.task(str(folder), None).name == "scifact, split test"
    monkeypatch.chdir(folder)
    assert sources.task(".", None).name == "scifact, split test"


def test_a_model_is_told_from_the_file_it_was_trained_on(here: Path) -> None:
    write_lines(here / "data.jsonl", PAIRS)
    write_lines(here / "other.jsonl", PAIRS)
    done = nf.train(
        "static",
        {"data.path": "data.jsonl", "data.heldout": 4, "encoder.dim": 8, "training.steps": 12},
        out=here / "run",
        quiet=True,
    )
    assert done is not None
    model = nf.Model.load(here / "run" / "model")

    def warned(path: str, split: str | None = None, reading: sources.Reading = sources.AS_IT_IS) -> bool:
        return TRAINED_ON in sources.task(path, split, reading, model).notes

    assert all(map(warned, ("data.jsonl", str(here / "data.jsonl"), "./data.jsonl")))
    held = sources.Reading({"heldout": 4})
    assert warned("data.jsonl", "train", held) and not warned("data.jsonl", None, held)
    assert warned("data.jsonl", None, sources.Reading({"heldout": 5}))  # others than the run held out
    assert warned("data.jsonl", None, sources.Reading({"heldout": 4, "seed": 9}))
    write_lines(here / "a, split test.jsonl", PAIRS)  # a name that looks like a split's
    assert not warned("other.jsonl") and not warned("a, split test.jsonl")
    untrained = nf.Model(nf.encoders.Static(dim=8))
    assert TRAINED_ON not in sources.task("data.jsonl", None, model=untrained).notes
    task = sources.task("data.jsonl", None, model=model)
    sentence = nf.evaluate(model, task, baselines=["bm25"]).to_json()["verdict"]["sentence"]
    assert sentence.startswith("The model was trained on this data, but for the rows that its run held out")
