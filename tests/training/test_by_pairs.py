"""Settings by the number of pairs, and the warning of a run that is too short to say much."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from nearfar import config, experiment
from nearfar.encoders.static import Static
from nearfar.errors import InputError
from nearfar.losses.infonce import InfoNCE
from nearfar.positives.columns import Columns
from nearfar.training.by_pairs import auto_settings, too_short, without_auto
from nearfar.training.dry_run import dry_run
from nearfar.training.settings import Settings
from nearfar.training.state import TrainState
from tests.training.floats import Perceptron
from tests.training.runs import rows, train
from tests.training.test_log import lines

AUTO: dict[str, Any] = {"epochs": "auto", "learning_rate": "auto", "batch_size": 64}


@pytest.mark.parametrize(
    ("pairs", "more", "epochs", "rate"),
    [
        (300, {}, 2.0, 3e-5),
        (700, {}, 1.0, 3e-5),
        (1999, {}, 1.0, 3e-5),
        (2000, {}, 1.0, 5e-5),
        (1_000_000, {}, 1.0, 5e-5),
        (30, {}, 8.0, 3e-5),  # a step an epoch
        (300, {"validation": 0.5}, 4.0, 3e-5),
        (300, {"batch_size": 16}, 1.0, 3e-5),
        (300, {"learning_rate": 0.5}, 2.0, 0.5),
        (300, {"epochs": 3.0}, 3.0, 3e-5),
    ],
)
def test_the_numbers(pairs: int, more: dict[str, Any], epochs: float, rate: float) -> None:
    found = without_auto(Settings(**{**AUTO, **more}), pairs)
    assert (found.epochs, found.learning_rate) == (epochs, rate)


def test_numbers_that_are_given_stay() -> None:
    given = Settings(epochs=2.0, learning_rate=0.3)
    assert without_auto(given, 300) == given
    assert auto_settings(given, without_auto(given, 300), 300) is None


def test_what_is_said_of_them() -> None:
    auto = Settings(**AUTO)
    assert (
        auto_settings(auto, without_auto(auto, 1300), 1300)
        == "by 1,300 pairs: training.learning_rate=3e-05, training.epochs=1"
    )


def test_a_recipe_that_has_run_holds_the_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = [{"query": f"where is number {i}", "key": f"number {i} is here"} for i in range(120)]
    settings = {"data.path": pairs, "data.heldout": 0.2, "encoder.dim": 16, "encoder.vocabulary": 300}
    settings |= {"training.batch_size": 16, "training.epochs": "auto", "training.learning_rate": "auto"}
    done = experiment.train("static", settings, out=tmp_path / "run", quiet=True)
    assert done is not None
    training = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["training"]
    assert (training["learning_rate"], training["epochs"]) == (3e-05, 2.0)
    n = next(line["pairs"] for line in lines(tmp_path / "run") if line["event"] == "start")
    line = f"by {n} pairs: training.learning_rate=3e-05, training.epochs=2"
    assert [entry["message"] for entry in lines(tmp_path / "run") if entry["event"] == "said"] == [line]
    assert line in capsys.readouterr().err
    assert done.model.notes["recipe"]["training"]["epochs"] == 2.0
    (report,) = done.reports.values()  # whose verdict's advice names them
    assert (report.protocol["training"]["learning_rate"], report.protocol["training"]["epochs"]) == (3e-05, 2.0)


def test_the_recipe_finetune_leaves_them_to_the_data() -> None:
    found = config.resolved(config.load("finetune", ["data.path=pairs.jsonl"]))["training"]
    assert (found["epochs"], found["learning_rate"], found["validation"]) == ("auto", "auto", 0.15)
    given = config.resolved(config.load("finetune", ["data.path=x.jsonl", "training.learning_rate=2e-5"]))["training"]
    assert given["learning_rate"] == 2e-5


def test_a_dry_run_counts_the_steps_of_what_is_not_kept_back() -> None:
    given: dict[str, Any] = {"batch_size": 15, "epochs": 2, "validation": 0.2}
    facts = dry_run(Static(dim=16, vocabulary=300), Columns(rows(100)), InfoNCE(), **given).facts
    assert facts["steps"] == 10


@pytest.mark.parametrize("value", ["much", "", -1])
def test_another_word_is_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"training\.learning_rate"):
        train(tmp_path, learning_rate=value)


def test_an_optimiser_needs_the_number() -> None:
    with pytest.raises(InputError, match=r"training\.learning_rate is 'auto'"):
        TrainState.of(Perceptron(), Settings(learning_rate="auto"))


def test_a_run_of_few_steps_is_said_to_hardly_move(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(tmp_path, rows(64), steps=None, epochs=1)
    message = (
        "4 steps of training (64 pairs in batches of 16) will hardly move the weights, so the numbers say little of "
        "what training can do; for 50 steps give training.epochs=13"
    )
    assert message in run.warnings and message in capsys.readouterr().err
    assert not train(tmp_path, rows(64), steps=None, epochs=4, overwrite=True).warnings


@pytest.mark.parametrize(
    ("steps", "settings", "expected"),
    [
        (10, Settings(batch_size=64), (" (640 pairs in batches of 64)", "training.epochs=5")),
        (3, Settings(batch_size=1024), (" (640 pairs in batches of 640)", "training.epochs=50")),
        (1, Settings(steps=1), ("1 step of training will", "training.steps=50")),
        (11, Settings(steps=11), ("11 steps of training will", "training.steps=50")),
    ],
)
def test_the_warning_says_what_to_write(steps: int, settings: Settings, expected: tuple[str, str]) -> None:
    found = too_short(steps, settings, 640)
    assert found is not None and expected[0] in found and found.endswith(f"give {expected[1]}")
    assert too_short(12, settings, 640) is None


def test_what_auto_chose_is_few_on_purpose(tmp_path: Path) -> None:
    assert too_short(8, Settings(**AUTO), 300) is None
    assert too_short(8, Settings(**{**AUTO, "steps": 8}), 300) is not None
    assert not train(tmp_path, rows(64), steps=None, epochs="auto").warnings
