"""The benchmark of language models' steps runs, at toy size: both read the same tokens, and their losses are equal."""

from __future__ import annotations

import importlib
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("accelerate", reason="transformers' Trainer needs it: pip install 'nearfar[bench]'")

from tests.test_benchmarks import BENCHMARKS, Run, run  # noqa: F401  the fixture is used by its name


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the recipes' models and batches small."""
    texts = importlib.import_module("_language_texts")
    whole = texts.recipe_of

    def recipe_of(kind: str, changes: list[str]) -> dict[str, Any]:
        recipe: dict[str, Any] = whole(kind, changes)
        recipe["encoder"]["config"] |= {"hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 32}
        recipe["encoder"]["max_length"], recipe["training"]["batch_size"] = 48, 4
        return recipe

    monkeypatch.setattr(texts, "recipe_of", recipe_of)


@pytest.mark.slow
@pytest.mark.usefixtures("small")
@pytest.mark.filterwarnings("ignore")  # the peer's
@pytest.mark.parametrize("kind", ["masked", "causal"])
def test_steps_beside_the_trainer(run: Run, shared_data: Path, kind: str) -> None:  # noqa: F811
    options = ["--kinds", kind, "--rounds", "1", "--steps", "1", "--reviews", "60", "--vocabulary", "500"]
    options += ["--set", "training.learning_rate=2e-3"]
    kept = run("language_speed", "language_speed:child", [*options, "--data", str(shared_data)])
    for form in ("texts", "chunks"):
        both = kept["losses"][kind][form]
        assert abs(both["nearfar"] - both["Trainer's model"]) < 1e-4
        runs = kept["runs"][kind][form]
        assert [name.split(",")[0] for name in runs] == ["nearfar", "nearfar", "Trainer", "Trainer"]
        for [one] in runs.values():
            assert one["tokens_per_second"] > 0 and 5 < one["loss"] < 7
            assert one["tokens_a_step"] == 4 * 48 or form == "texts"
    assert len(kept["bounds"]) == 2 * (3 * 2 + 1)


def test_cells_of_numbers_are_read_as_the_tokens_that_they_stand_for() -> None:
    texts = importlib.import_module("_language_texts")
    ids, lengths = texts.ids_of_cells(None, texts.cells_of([[3, 14, 1], [59]]))
    assert ids.tolist() == [3, 14, 1, 59] and ids.dtype == np.int32
    assert lengths.tolist() == [3, 1]


def test_a_change_that_the_trainer_would_not_follow_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = importlib.import_module("language_speed")
    changes = ["--set", "objective.share=0.2", "--set", "training.optimizer=muon"]
    monkeypatch.setattr("sys.argv", ["language_speed.py", *changes])
    with pytest.raises(SystemExit):
        script.main()
    said = capsys.readouterr().err
    assert "--set training.optimizer=muon: the Trainer would not follow it" in said and "objective.share" in said


def test_other_changes_have_a_folder_of_their_own(tmp_path: Path) -> None:
    script = importlib.import_module("language_speed")
    changes: list[list[str]] = [[], ["objective.share=0.15"], ["objective.share=0.4"]]
    folders = {script._folder(Namespace(work=tmp_path, set=each), "masked") for each in changes}
    assert len(folders) == 3 and tmp_path / "masked" in folders
