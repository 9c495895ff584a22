"""Negatives mined again and again in a run: never stale, never lost, the same when the run is resumed."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from nearfar.abilities import Minable
from nearfar.column import Ids
from nearfar.compute.ranks import Ranks
from nearfar.contracts import Batch, MinedNegatives
from nearfar.encoders.pretrained.static_files import MODULE_FOLDER
from nearfar.encoders.static import Static
from nearfar.errors import InputError, Interrupted, RunError
from nearfar.losses.infonce import InfoNCE
from nearfar.model import Model
from nearfar.positives.columns import Columns
from nearfar.reports.console import show_estimate
from nearfar.training.dry_run import dry_run
from nearfar.training.fit import Run, fit
from nearfar.training.refresh import refresh_steps
from nearfar.training.settings import Settings
from tests.training.floats import Perceptron
from tests.training.runs import SETTINGS, Slow, exit_code, in_ranks, rows, slow_run, start_process, train, weights
from tests.training.test_fit import BrokenOffError, breaks, stop_at
from tests.training.test_log import lines
from tests.training.test_ranks import SGD, pictures
from tests.training.test_stopped import wait_for_step


@dataclass
class Nearest:
    """A plain miner: for each example, the nearest cells that are no known positives of its query."""

    negatives: int = 2
    drawing: bool = False  # whether it draws random numbers, which must not change those of training
    steps: list[int] = field(default_factory=list)

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"mining": {"negatives": self.negatives}}

    def __call__(self, model: Model, positives: Minable, step: int, steps: int) -> MinedNegatives:
        self.steps.append(step)
        if self.drawing:
            torch.rand(7)
        found = []
        for pairs in positives.mining_pairs():
            queries = pairs.query.read(0, len(pairs.query))
            keys = pairs.key.read(0, len(pairs.key))
            x = model.embed(queries, role="query").astype(np.float64)
            scores = x @ model.embed(keys, role="key").astype(np.float64).T
            positive = {(_plain(queries[q]), _plain(keys[k])) for q, k in pairs.examples.tolist()}
            for query, _ in pairs.examples.tolist():
                ranking, text = np.argsort(-scores[query], kind="stable").tolist(), _plain(queries[query])
                negatives = [k for k in ranking if (text, _plain(keys[k])) not in positive]
                found.append((negatives + [-1] * self.negatives)[: self.negatives])
        rows = np.array(found, np.int64).reshape(len(found), self.negatives)
        return MinedNegatives(rows, {"found": int((rows >= 0).sum()), "at": step / steps})

    def random_negatives(self, positives: Minable) -> Ids:
        return np.concatenate([np.tile(pairs.examples[:, 1:], self.negatives) for pairs in positives.mining_pairs()])


def _plain(cell: Any) -> Any:
    return cell.tobytes() if isinstance(cell, np.ndarray) else cell


class RecordingColumns(Columns):
    """Columns that record which mined negatives each batch was read with."""

    mined_of_batches: list[int | None]

    def batch(self, examples: Ids, queued: Ids | None = None) -> Batch:
        self.mined_of_batches.append(None if self.mined is None else int(self.mined[0, 0]))
        return super().batch(examples, queued)


@dataclass
class Marks(Nearest):
    """A miner whose negatives are the number of the step after which it was called."""

    def __call__(self, model: Model, positives: Minable, step: int, steps: int) -> MinedNegatives:
        self.steps.append(step)
        return MinedNegatives(np.full((len(positives), 1), step), {"found": len(positives)})


@pytest.mark.parametrize("first", [False, True])
def test_every_batch_is_read_with_the_negatives_mined_last(tmp_path: Path, first: bool) -> None:
    data, marks = RecordingColumns(rows()), Marks()
    data.mined_of_batches = []
    more: dict[str, Any] = {"out": tmp_path, "quiet": True, **SETTINGS, "refresh_every": 4, "refresh_first": first}
    fit(Static(dim=16, vocabulary=300), data, InfoNCE(), refresh=marks, **more)
    assert data.mined_of_batches == [0 if first else None] * 4 + [4] * 4 + [8] * 4
    assert marks.steps == [*([0] if first else []), 4, 8]  # not after the last step


def test_the_negatives_are_in_the_batch_and_the_events(tmp_path: Path) -> None:
    plain, mined = train(tmp_path / "a"), train(tmp_path / "b", refresh=Nearest(), refresh_every=5)
    events = [event for event in lines(tmp_path / "b") if event["event"] == "refresh"]
    assert [(event["step"], event["found"], event["at"]) for event in events] == [(5, 128, 5 / 12), (10, 128, 10 / 12)]
    steps = [[event["loss"] for event in lines(tmp_path / run) if event["event"] == "step"] for run in "ab"]
    assert steps[0][:5] == steps[1][:5]
    assert all(other > alone for alone, other in zip(steps[0][5:7], steps[1][5:7], strict=True))  # harder
    assert not np.array_equal(weights(plain), weights(mined))


@pytest.mark.parametrize(("every", "kept"), [(3, 3), (3, 4), (4, 3), (5, 2), (1, 3)])
@pytest.mark.filterwarnings("ignore:training.best")
def test_a_resumed_run_sees_the_same_negatives(tmp_path: Path, every: int, kept: int) -> None:
    more: dict[str, Any] = {"refresh_every": every, "refresh_first": True, "checkpoint_every": kept, "keep": 9}
    whole = train(tmp_path / "whole", refresh=Nearest(), **more)
    with pytest.raises(BrokenOffError):
        train(tmp_path / "run", refresh=Nearest(), evaluate=stop_at(8), evaluate_every=1, best="map", **more)
    miner = Nearest()
    run = train(tmp_path / "run", refresh=miner, resume=True, **more)
    last = 7 // kept * kept
    # what the checkpoint holds is not mined again
    assert miner.steps == [step for step in range(last + 1, 12) if step % every == 0]
    assert np.array_equal(weights(run), weights(whole))


def interrupting(at: int) -> Any:
    """An evaluation that sends SIGTERM to the run."""
    seen: list[int] = []

    def evaluate(model: Model) -> Mapping[str, float]:
        seen.append(1)
        if len(seen) == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"mrr@10": 0.5}

    return evaluate


@pytest.mark.usefixtures("default_signals")
def test_a_run_stopped_before_it_mines_does_so_when_it_goes_on(tmp_path: Path) -> None:
    more: dict[str, Any] = {"refresh_every": 3, "evaluate_every": 1}
    whole = train(tmp_path / "whole", refresh=Nearest(), evaluate=interrupting(99), **more)
    miner = Nearest()
    with pytest.raises(Interrupted, match="at step 6 of 12"):  # caught in the evaluation of step 5
        train(tmp_path / "run", refresh=miner, evaluate=interrupting(5), **more)
    assert miner.steps == [3]
    run = train(tmp_path / "run", refresh=miner, resume=True, evaluate=interrupting(99), **more)
    assert miner.steps == [3, 6, 9]
    assert np.array_equal(weights(run), weights(whole))


def test_killed_at_random_moments_it_ends_at_the_same_weights(tmp_path: Path, cache: Path) -> None:
    settings: dict[str, Any] = {"steps": 40, "checkpoint_every": 3, "refresh_every": 5, "keep": 1}
    expected = train(tmp_path / "whole", loss=Slow(), refresh=Nearest(), **settings)
    folder = tmp_path / "run"
    again = {**settings, "resume": True, "refresh": Nearest()}
    for step in (6, 12, 20, 31):
        process = start_process(slow_run, folder, cache, again)
        wait_for_step(folder, step, process)
        process.kill()
        process.join()
    assert exit_code(start_process(slow_run, folder, cache, again)) == 0
    found = load_file(folder / "model" / MODULE_FOLDER / "model.safetensors")["embedding.weight"].numpy()
    assert np.array_equal(found, weights(expected))


def test_random_numbers_go_on_as_without_mining(tmp_path: Path) -> None:
    """Mining changes neither dropout's random numbers nor the averages of batch normalisation."""

    def run(name: str, drawing: bool) -> list[torch.Tensor]:
        encoder = Perceptron(dropout=0.5, norm=True)
        miner = Nearest(drawing=drawing)
        more = {**SGD, "device": "cpu", "precision": "fp32", "quiet": True, "refresh_every": 1}
        fit(encoder, pictures(), InfoNCE(), out=tmp_path / name, refresh=miner, **more)
        assert encoder.training
        return [value.clone() for value in encoder.state_dict().values()]

    assert all(torch.equal(a, b) for a, b in zip(run("a", drawing=False), run("b", drawing=True), strict=True))


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "cached": {"micro_batch": 3},
    "queue": {"queue": 20, "keys": "momentum", "momentum": 0.5},
}


def train_all(folder: Path) -> dict[str, torch.Tensor]:
    """Train every variant with mined negatives, and on two data sets; return the weights."""
    found: dict[str, torch.Tensor] = {}
    for name, more in [*VARIANTS.items(), ("several", {})]:
        encoder, loss = Perceptron(), InfoNCE(learnable=True)
        data: Any = [pictures(), pictures(15, negatives=True)] if name == "several" else pictures()
        given = {**SGD, "steps": 5, "device": "cpu", "precision": "fp32", "quiet": True, "refresh_every": 2, **more}
        fit(encoder, data, loss, out=folder / name, refresh=Nearest(), **given)
        found |= {f"{name} {key}": value.detach().clone() for key, value in encoder.state_dict().items()}
    return found


def _train_all(ranks: Ranks, folder: Path) -> None:
    found = train_all(folder / f"ranks {ranks.world_size}")
    assert all(torch.equal(value, other) for value in found.values() for other in ranks.all_gather(value))
    if ranks.is_first:
        save_file(found, folder / "found.safetensors")


def test_one_process_or_two_learn_the_same(tmp_path: Path) -> None:
    expected = train_all(tmp_path / "alone")
    in_ranks(2, _train_all, tmp_path)
    found = load_file(tmp_path / "found.safetensors")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-6, msg=f"{name}: {{}}".format)
    events = [event for event in lines(tmp_path / "ranks 2" / "several") if event["event"] == "refresh"]
    assert [(event["step"], event["found"]) for event in events] == [(2, 110), (4, 110)]


def _fails(ranks: Ranks, folder: Path) -> None:
    class Fails(Nearest):
        def __call__(self, model: Model, positives: Minable, step: int, steps: int) -> MinedNegatives:
            raise InputError("nothing to mine here")

    with pytest.raises(InputError, match="nothing to mine here"):
        more = {**SGD, "device": "cpu", "precision": "fp32", "quiet": True, "refresh_first": True}
        fit(Perceptron(), pictures(), InfoNCE(), out=folder, refresh=Fails(), **more)


def test_what_fails_on_the_first_rank_fails_on_all(tmp_path: Path) -> None:
    in_ranks(2, _fails, tmp_path)


def test_weights_that_are_not_finite_are_not_mined_with(tmp_path: Path) -> None:
    miner = Nearest()
    wild: dict[str, Any] = {"learning_rate": 3e38, "optimizer": "sgd", "clip": 0, "checkpoint_every": 50}
    with pytest.raises(RunError, match="step 1: the weights are no longer finite"):
        train(tmp_path, loss=breaks(1, 1e4), refresh=miner, refresh_every=1, **wild)
    assert miner.steps == []


def test_mining_that_finds_nothing_gives_a_warning(tmp_path: Path) -> None:
    class Finds(Nearest):
        def __call__(self, model: Model, positives: Minable, step: int, steps: int) -> MinedNegatives:
            return MinedNegatives(np.full((len(positives), 2), -1), {"found": 0, "negative": math.nan})

    run = train(tmp_path, refresh=Finds(), refresh_every=4)
    assert run.warnings == [
        "mining found no negative: its ranks, margins or scores leave none, or all keys have one vector"
    ]
    assert np.array_equal(weights(run), weights(train(tmp_path / "plain")))


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(tmp_path_factory.mktemp("mined") / "run", refresh=Nearest(), refresh_every=4)


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"refresh": Nearest(3), "refresh_every": 4}, "mining.negatives was 2 and is 3"),
        ({"refresh": Nearest(), "refresh_every": 5}, "training.refresh_every was 4 and is 5"),
        ({}, "mining.negatives was 2 and is None"),
    ],
)
def test_another_mining_is_another_run(mined: Run, more: dict[str, Any], name: str) -> None:
    with pytest.raises(InputError, match=f"cannot resume, .*{name}"):
        train(mined.folder, resume=True, **more)


def test_patience_mines_no_more_once_it_ran_out(tmp_path: Path) -> None:
    miner = Nearest()
    more: dict[str, Any] = {"refresh_every": 2, "evaluate_every": 2, "patience": 1}
    scores = iter([0.9, 0.5, 0.5])
    train(tmp_path, refresh=miner, evaluate=lambda _: {"mrr@10": next(scores)}, **more)
    assert miner.steps == [2]
    train(tmp_path, refresh=miner, evaluate=lambda _: {"mrr@10": next(scores)}, resume=True, **more)
    assert miner.steps == [2]


class Bare:
    """Positives that take no mined negatives."""

    def __init__(self, inner: Columns) -> None:
        self.batch, self.task, self.describe, self.views = inner.batch, inner.task, inner.describe, inner.views
        self.query_views, self.key_views, self.fingerprint = inner.query_views, inner.key_views, inner.fingerprint
        self.n = len(inner)

    def __len__(self) -> int:
        return self.n


@pytest.mark.parametrize(
    ("data", "more", "words"),
    [
        (Columns(rows()), {"refresh_every": 3}, "training.refresh_every: there is nothing to refresh with; add a sec"),
        (Columns(rows()), {"refresh_first": True}, "there is nothing to refresh with"),
        (Columns(rows()), {"refresh": Nearest()}, "say every how many steps to mine"),
        (Bare(Columns(rows())), {"refresh": Nearest(), "refresh_every": 3}, "Bare takes no mined negatives; leave"),
        ([Columns(rows()), Bare(Columns(rows()))], {"refresh": Nearest(), "refresh_every": 3}, "Bare takes no mined"),
        (
            Columns(rows(), all_keys=True),
            {"refresh": Nearest(), "refresh_every": 3},
            "mined negatives are of pairs; leav",
        ),
        (
            [Columns(rows()), Columns(rows(), all_keys=True)],
            {"refresh": Nearest(), "refresh_every": 3},
            "leave all_keys",
        ),
        (Columns(rows()), {"refresh": Nearest(), "refresh_every": -1}, "training.refresh_every must be zero or more"),
    ],
)
def test_what_cannot_be_refreshed_is_refused_before_anything_is_read(
    tmp_path: Path, data: Any, more: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        fit(Static(dim=16, vocabulary=300), data, InfoNCE(), out=tmp_path / "run", **{**SETTINGS, **more})
    with pytest.raises(InputError, match=words):
        dry_run(Static(dim=16, vocabulary=300), data, InfoNCE(), **{**SETTINGS, **more})
    assert not (tmp_path / "run").exists()


def test_a_dry_run_has_batches_of_the_size_to_come(capsys: pytest.CaptureFixture[str]) -> None:
    miner = Nearest()
    more: dict[str, Any] = {**SETTINGS, "refresh_every": 5, "refresh_first": True}
    found = dry_run(Static(dim=16, vocabulary=300), Columns(rows()), InfoNCE(), refresh=miner, **more)
    assert found.facts["refreshes"] == 3
    assert miner.steps == []
    show_estimate(found.facts)
    assert "mining 3 times comes on top" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("every", "first", "steps", "expected"),
    [(5, False, 12, [5, 10]), (5, True, 12, [0, 5, 10]), (4, False, 8, [4]), (0, True, 8, [0]), (9, False, 8, [])],
)
def test_when_negatives_are_mined(every: int, first: bool, steps: int, expected: list[int]) -> None:
    assert list(refresh_steps(Settings(refresh_every=every, refresh_first=first), steps)) == expected
