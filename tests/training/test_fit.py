from __future__ import annotations

import json
import math
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import nearfar as nf
from nearfar.encoders.static import Static
from nearfar.errors import InputError, Interrupted, RunError
from nearfar.losses.infonce import InfoNCE
from nearfar.model import Model
from nearfar.pairs import Pairs
from nearfar.positives.columns import Columns
from nearfar.reports.console import show_estimate
from nearfar.storage import fingerprint
from nearfar.training import checkpoint
from nearfar.training.checkpoint_files import checkpoint_folders, newest_checkpoint
from nearfar.training.dry_run import dry_run
from nearfar.training.order import Sampler
from tests.training.runs import SETTINGS, Rows, files_up_to, rows, train, weights
from tests.training.test_log import lines


class Breaks(InfoNCE):
    """Multiplies its value at one call by NaN, or by something huge."""

    at, value, calls = 0, math.nan, 0

    def forward(self, queries: Tensor, keys: Tensor, pairs: Pairs) -> Tensor:
        self.calls += 1
        loss = super().forward(queries, keys, pairs)
        return loss * self.value if self.calls == self.at else loss


def breaks(at: int, value: float = math.nan) -> Breaks:
    loss = Breaks()
    loss.at, loss.value = at, value
    return loss


class Scores:
    """An evaluation that returns the next of some values, and keeps the weights that it was called with."""

    def __init__(self, *values: float) -> None:
        self.values, self.weights = list(values), list[np.ndarray[Any, Any]]()

    def __call__(self, model: Model) -> Mapping[str, Any]:
        assert isinstance(model.encoder, Static)
        self.weights.append(model.encoder.embedding.weight.detach().numpy().copy())
        return {"mrr@10": np.float32(self.values[len(self.weights) - 1]), "map": 0.5}


def left(folder: Path) -> list[int]:
    return [int(place.name[5:]) for place in checkpoint_folders(folder / "checkpoints")]


def test_it_learns_and_writes_everything(tmp_path: Path) -> None:
    run = train(tmp_path / "run", steps=60, learning_rate=0.05, evaluate=Scores(0.7), notes={"recipe": {"a": 1}})
    events = lines(run.folder)
    losses = [event["loss"] for event in events if event["event"] == "step"]
    assert len(losses) == 60
    assert losses[-1] < losses[0] / 2
    assert [event["event"] for event in events if event["event"] != "step"] == [
        *("start", "monitor", "monitor", "monitor", "monitor", "evaluate", "end")
    ]
    assert (events[0]["steps"], events[0]["pairs"], events[0]["batch_size"]) == (60, 64, 16)
    assert run.metrics == {"mrr@10": pytest.approx(0.7), "map": 0.5}
    assert run.train_pairs_per_second > 0
    assert run.peak_memory_mb > 10
    assert left(run.folder) == [56, 60]
    again = Model.load(run.folder / "model")
    assert again.notes["recipe"] == {"a": 1}
    assert np.array_equal(again.embed(["topic3 of w1"]), run.model.embed(["topic3 of w1"]))


def test_the_logged_learning_rate_is_the_one_that_was_used(tmp_path: Path) -> None:
    train(tmp_path, steps=4, learning_rate=0.4)
    rates = [event["learning_rate"] for event in lines(tmp_path) if event["event"] == "step"]
    assert rates == pytest.approx([0.4, 0.3, 0.2, 0.1])


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    one, other = train(tmp_path / "a"), train(tmp_path / "b")
    assert np.array_equal(weights(one), weights(other))
    assert one.model.fingerprint == other.model.fingerprint
    assert not np.array_equal(weights(one), weights(train(tmp_path / "c", seed=1)))


def test_a_used_folder_is_refused_or_replaced(tmp_path: Path) -> None:
    first = train(tmp_path, steps=12)
    with pytest.raises(InputError, match="a run lies there already"):
        train(tmp_path)
    run = train(tmp_path, steps=4, overwrite=True)
    assert left(tmp_path) == [4]  # none of the run before, which a resumed run would take for its own
    assert [event["step"] for event in lines(tmp_path) if event["event"] == "step"] == [1, 2, 3, 4]
    assert Model.load(tmp_path / "model").fingerprint == run.model.fingerprint != first.model.fingerprint


class BrokenOffError(Exception):
    pass


def stop_at(step: int) -> Any:
    """Return an evaluation that raises an error when it is called the `step`-th time."""
    seen: list[int] = []

    def evaluate(model: Model) -> Mapping[str, float]:
        seen.append(1)
        if len(seen) == step:
            raise BrokenOffError
        return {"mrr@10": len(seen)}

    return evaluate


def broken_off(folder: Path, **more: Any) -> None:
    """Train a run that ends with an error after step 7 of 12, with checkpoints 3 and 6."""
    with pytest.raises(BrokenOffError):
        train(folder, evaluate=stop_at(7), evaluate_every=1, keep=9, **{"checkpoint_every": 3, "best": "map", **more})


@pytest.mark.filterwarnings("ignore:training.best")
def test_a_resumed_run_ends_at_the_same_weights(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole")
    broken_off(tmp_path / "run")
    assert left(tmp_path / "run") == [3, 6]
    run = train(tmp_path / "run", resume=True)
    assert np.array_equal(weights(run), weights(whole))
    assert run.model.fingerprint == whole.model.fingerprint
    assert [event["first"] for event in lines(tmp_path / "run") if event["event"] == "start"] == [0, 6]
    again = train(tmp_path / "run", resume=True)  # nothing is left to do
    assert np.array_equal(weights(again), weights(whole))


def test_resuming_passes_over_a_broken_checkpoint_and_replaces_it(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole")
    broken_off(tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "step-000006" / "state.safetensors").write_bytes(b"half")
    with pytest.warns(UserWarning, match="step-000006 is not whole"):
        run = train(tmp_path / "run", resume=True, keep=1, checkpoint_every=5)
    assert np.array_equal(weights(run), weights(whole))
    assert left(tmp_path / "run") == [12]


def test_resuming_without_a_checkpoint_starts_anew(tmp_path: Path) -> None:
    assert np.array_equal(weights(train(tmp_path / "a", resume=True)), weights(train(tmp_path / "b")))


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"batch_size": 8}, "training.batch_size was 16 and is 8"),
        ({"learning_rate": 0.5}, "training.learning_rate was 0.01 and is 0.5"),
        ({"steps": 20}, "training.steps was 12 and is 20"),
        ({"loss": InfoNCE(temperature=0.1)}, "loss.temperature was 0.05 and is 0.1"),
        ({"loss": InfoNCE(symmetric=False)}, "loss.symmetric was True and is False"),
        ({"loss": Breaks()}, "loss.name was 'infonce' and is 'tests.training.test_fit:Breaks'"),
        ({"encoder": Static(dim=8, vocabulary=300)}, "encoder.dim was 16 and is 8"),
        ({"encoder": Static(dim=16, vocabulary=290)}, "encoder.vocabulary was 300 and is 290"),
        ({"encoder": Static(dim=16, vocabulary=300, max_length=9)}, "encoder.max_length was 512 and is 9"),
        ({"data": rows(seed=1)}, "positives.data was '[0-9a-f]{32}' and is"),
    ],
)
def test_another_run_is_refused_by_name(tmp_path: Path, ended: Path, more: dict[str, Any], name: str) -> None:
    folder = tmp_path / "run"
    shutil.copytree(ended, folder)
    with pytest.raises(InputError, match=f"cannot resume, .*{name}"):
        train(folder, resume=True, **more)
    assert left(folder) == left(ended)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has ended."""
    return train(tmp_path_factory.mktemp("ended") / "run").folder


def test_what_does_not_change_the_weights_may_change(tmp_path: Path, ended: Path) -> None:
    shutil.copytree(ended, tmp_path / "run")
    train(tmp_path / "run", resume=True, keep=5, monitor_every=3, checkpoint_every=2, evaluate_every=1)


def test_another_number_of_threads_gives_a_warning(tmp_path: Path, ended: Path) -> None:
    shutil.copytree(ended, tmp_path / "run")
    torch.set_num_threads(2)
    try:
        with pytest.warns(
            UserWarning, match="had threads 1 and has 2 now: it goes on, but not to the same last digits"
        ):
            train(tmp_path / "run", resume=True)
    finally:
        torch.set_num_threads(1)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    data = rows()
    with pytest.raises(RunError) as caught:
        train(tmp_path, data=data, loss=breaks(at=6))
    message = str(caught.value)
    assert message.startswith("step 6: the loss is nan; the batch holds rows ")
    assert "the last good checkpoint is step 4" in message
    failure = next(event for event in lines(tmp_path) if event["event"] == "failure")
    assert failure["rows"] == [int(example) + 1 for example in Sampler(64, 16, 0).batch(5)]
    assert all(str(row) in message for row in failure["rows"][:8])
    assert [e["loss"] for e in lines(tmp_path) if e["event"] == "step"][-1] is None
    assert left(tmp_path) == [4]
    assert not (tmp_path / "model").exists()
    good = newest_checkpoint(tmp_path / "checkpoints")
    assert good is not None
    assert all(tensor.isfinite().all() for tensor in good.tensors.values())
    assert np.array_equal(weights(train(tmp_path, resume=True, loss=Breaks())), weights(train(tmp_path / "b")))


def test_an_infinite_gradient_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"step 2: the gradient's norm is (inf|nan); .* no checkpoint was written yet"):
        train(tmp_path, loss=breaks(at=2, value=1e38), learning_rate=1e-3)


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="step 1: the weights are no longer finite"):
        train(tmp_path, loss=breaks(at=1, value=1e4), learning_rate=3e38, optimizer="sgd", clip=0, checkpoint_every=1)
    assert left(tmp_path) == []


def test_the_best_is_kept_and_the_last_is_the_model(tmp_path: Path) -> None:
    scores = Scores(0.1, 0.9, math.nan, 0.3, 0.2, 0.4)
    run = train(tmp_path, evaluate=scores, evaluate_every=2, keep=1)
    assert left(tmp_path) == [4, 12]
    assert run.metrics["mrr@10"] == pytest.approx(0.4)
    assert np.array_equal(weights(run), scores.weights[-1])
    assert [event["step"] for event in lines(tmp_path) if event["event"] == "evaluate"] == [2, 4, 6, 8, 10, 12]


def test_patience_stops_the_run_at_the_best(tmp_path: Path) -> None:
    more: dict[str, Any] = {"evaluate_every": 2, "patience": 2, "keep": 1}
    scores = Scores(0.1, 0.9, 0.3, 0.2)
    run = train(tmp_path, evaluate=scores, **more)
    assert [event["step"] for event in lines(tmp_path) if event["event"] == "evaluate"] == [2, 4, 6, 8]
    assert run.metrics["mrr@10"] == pytest.approx(0.9)
    assert np.array_equal(weights(run), scores.weights[1])
    assert left(tmp_path) == [4, 8]
    again = train(tmp_path, evaluate=Scores(), resume=True, **more)  # its patience had run out, so it does not go on
    assert np.array_equal(weights(again), scores.weights[1])


@pytest.mark.usefixtures("default_signals")
def test_a_signal_during_an_evaluation_stops_after_the_next_step(tmp_path: Path) -> None:
    def evaluate(model: Model) -> Mapping[str, float]:
        os.kill(os.getpid(), signal.SIGINT)
        return {"mrr@10": 0.5}

    with pytest.raises(Interrupted, match="stopped by SIGINT at step 6 of 12") as caught:
        train(tmp_path, evaluate=evaluate, evaluate_every=5, best="map", checkpoint_every=100)
    assert caught.value.exit_code == 130
    assert left(tmp_path) == [6]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert np.array_equal(weights(train(tmp_path, resume=True, checkpoint_every=100)), weights(train(tmp_path / "b")))


def test_a_best_that_is_no_metric(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"training.best: no metric 'mrr@1'; did you mean 'mrr@10'\? known: map"):
        train(tmp_path / "a", evaluate=Scores(1, 1), evaluate_every=6, patience=1, best="mrr@1")
    run = train(tmp_path / "b", evaluate=Scores(1, 1), evaluate_every=6, best="mrr@1")
    assert len(run.warnings) == 1
    assert "no checkpoint is kept as the best" in run.warnings[0]
    assert train(tmp_path / "c", evaluate=Scores(1), best="mrr@1").warnings == []


def test_a_disk_that_fills_ends_the_run_and_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    def fill(model: Model) -> Mapping[str, float]:
        context.__enter__()
        return {"mrr@10": 1.0}

    context = files_up_to(10_000)
    try:
        with pytest.raises(RunError, match=r"step-000008.*cannot be written .*File too large") as caught:
            train(tmp_path, evaluate=fill, evaluate_every=8)
    finally:
        context.__exit__(None, None, None)
    assert caught.value.exit_code == 1
    assert left(tmp_path) == [4]
    assert np.array_equal(weights(train(tmp_path, resume=True)), weights(train(tmp_path / "b")))


def test_an_error_in_the_data_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Columns.batch

    def fail(self: Columns, examples: Any) -> Any:
        if 0 in examples:
            raise InputError("row 1 is bad")
        return read(self, examples)

    monkeypatch.setattr(Columns, "batch", fail)
    with pytest.raises(InputError, match="row 1 is bad"):
        train(tmp_path)


def test_a_learnt_temperature_is_resumed(tmp_path: Path) -> None:
    whole = InfoNCE(learnable=True)
    train(tmp_path / "whole", loss=whole)
    with pytest.raises(BrokenOffError):
        train(tmp_path / "run", loss=InfoNCE(learnable=True), evaluate=stop_at(2), evaluate_every=5, best="map")
    loss = InfoNCE(learnable=True)
    train(tmp_path / "run", loss=loss, resume=True)
    assert loss.temperature == whole.temperature != 0.05


def test_settings_that_are_unknown(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no setting is called 'batchsize'; did you mean 'batch_size'"):
        train(tmp_path, batchsize=3)
    with pytest.raises(InputError, match=r"training\.device: 'warp' is not there"):
        train(tmp_path, device="warp")


def test_a_dry_run_leaves_encoder_and_folder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    encoder, positives, loss = Static(dim=16, vocabulary=300), Columns(rows()), InfoNCE(learnable=True)
    found = dry_run(encoder, positives, loss, **SETTINGS)
    assert encoder.tokenizer is None
    assert list(encoder.parameters()) == []
    encoder.prepare(list(positives.views.values()))
    before = fingerprint.fingerprint(*encoder.identity()), loss.temperature
    found = dry_run(encoder, positives, loss, **SETTINGS)
    assert (fingerprint.fingerprint(*encoder.identity()), loss.temperature) == before
    assert list(tmp_path.iterdir()) == []
    facts = found.facts
    assert (facts["pairs"], facts["steps"], facts["batch_size"]) == (64, 12, 16)
    assert facts["parameters"] == encoder.embedding.weight.numel() + 1
    assert min(facts["seconds"], facts["pairs_per_second"], facts["memory_mb"], facts["reading_seconds"]) > 0
    assert [set(example) for example in facts["batch"]] == [{"row", "query", "key"}] * 3


def test_a_dry_run_shows_a_batch(capsys: pytest.CaptureFixture[str]) -> None:
    show_estimate(dry_run(Static(dim=16, vocabulary=300), Columns(rows()), InfoNCE(), **SETTINGS).facts)
    message = capsys.readouterr().out
    assert json.loads(message.splitlines()[0])["query"].startswith("topic")
    assert "64 pairs, 12 steps of 16" in message


def test_best_that_is_not_whole_leaves_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(place: Path) -> Any:
        raise ValueError("state.json does not match its sum")

    monkeypatch.setattr(checkpoint, "read_checkpoint", broken)
    scores = Scores(0.9, 0.1)
    with pytest.warns(UserWarning, match="step-000006, the best, is not whole"):
        run = train(tmp_path, evaluate=scores, evaluate_every=6, patience=5)
    assert np.array_equal(weights(run), scores.weights[1])


def test_data_of_one_pair_has_no_negatives(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no query has a negative"):
        train(tmp_path, data=Rows(query=["near"], key=["far"]))


def test_the_best_by_one_metric_is_not_compared_with_another(tmp_path: Path) -> None:
    no_state: Any = None  # nothing is saved
    kept = checkpoint.Checkpointer(tmp_path, no_state, {}, {}, 2)
    assert kept.record_evaluation(1, {"recall@100": 0.9}, "recall@100")
    assert kept.record_evaluation(2, {"mrr@10": 0.5}, "mrr@10")
    assert not kept.record_evaluation(3, {"mrr@10": 0.4}, "mrr@10")


class WithoutUnit(torch.nn.Module):
    """A loss that does not say what it takes."""

    cacheable = needs_negatives = True

    def forward(self, queries: torch.Tensor, keys: torch.Tensor, pairs: Any) -> torch.Tensor:
        return (queries * keys).sum()


class WithoutInputs(torch.nn.Module):
    """An encoder that makes no inputs of cells."""

    dim = 4

    def forward(self, inputs: Any) -> Any:
        return inputs


def test_parts_made_by_hand_are_told_what_they_lack(tmp_path: Path) -> None:
    broken: Any = WithoutUnit()
    with pytest.raises(InputError, match=r"losses .*:WithoutUnit lacks `unit` \(bool: it takes vectors of unit"):
        nf.fit(Static(dim=8, vocabulary=300), Columns(rows()), broken, out=tmp_path / "run")
    encoder: Any = WithoutInputs()
    with pytest.raises(InputError, match=r"test_fit:WithoutInputs lacks .*`prepare\(columns\)`, `inputs\(cells\)`"):
        nf.fit(encoder, Columns(rows()), InfoNCE(), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
