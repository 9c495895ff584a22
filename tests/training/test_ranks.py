"""`fit` in several processes: the same parameters as in one; errors, stops and resumed runs are the same on all."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nearfar.compute import hardware
from nearfar.compute.ranks import Ranks
from nearfar.errors import InputError, Interrupted, NearfarError, RunError
from nearfar.losses.infonce import InfoNCE
from nearfar.model import Model
from nearfar.pairs import Pairs
from nearfar.positives.columns import Columns
from nearfar.storage.locks import alone, inside
from nearfar.training.fit import fit
from tests.contracts.samples import write_lines
from tests.training.floats import FEATURES, Perceptron
from tests.training.runs import Rows, in_ranks, rows, train
from tests.training.test_log import lines

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
SGD: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 0.5, "steps": 3, "batch_size": 13, "clip": 0.1}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "undivided": {},
    "cached": {"micro_batch": 3},
    "costly": {"micro_cost": 20},
    "queue": {"queue": 20, "keys": "momentum", "momentum": 0.5},
    "memory": {"queue": 7, "micro_batch": 2},
}


class Undivided(nn.Module):
    """A loss without `part`: every rank computes all of it."""

    unit, cacheable, needs_negatives = True, True, True

    def __init__(self) -> None:
        super().__init__()
        self.inner = InfoNCE(learnable=True)

    def forward(self, queries: Tensor, keys: Tensor, pairs: Pairs) -> Tensor:
        found: Tensor = self.inner(queries, keys, pairs)
        return found


def pictures(n: int = 40, negatives: bool = False) -> Columns:
    """Return aligned rows of floats: query i and key i are positives."""
    draw = np.random.default_rng(0)
    names = ["query", "key", *(["negative"] if negatives else [])]
    return Columns(Rows(**{name: list(draw.normal(size=(n, FEATURES)).astype(np.float32)) for name in names}))


def state(loss: Any, encoder: Any) -> dict[str, Tensor]:
    """Return copies of all trained weights."""
    learnt = {f"loss.{name}": value.detach().clone() for name, value in loss.named_parameters()}
    return learnt | {f"encoder.{name}": value.detach().clone() for name, value in encoder.state_dict().items()}


def train_all(folder: Path) -> dict[str, Tensor]:
    """Train every variant; return the weights of each."""
    found: dict[str, Tensor] = {}
    for name, more in VARIANTS.items():
        loss: Any = Undivided() if name == "undivided" else InfoNCE(learnable=True)
        run = train(folder / name, data=rows(40), loss=loss, **{**SGD, **more})
        found |= {f"{name} {key}": value for key, value in state(loss, run.model.encoder).items()}
    for name, positives in (("floats", pictures()), ("negatives", pictures(negatives=True))):
        encoder, loss = Perceptron(), InfoNCE(learnable=True)
        fit(encoder, positives, loss, out=folder / name, quiet=True, device="cpu", precision="fp32", **SGD)
        found |= {f"{name} {key}": value for key, value in state(loss, encoder).items()}
    return found


def _train_all(ranks: Ranks, folder: Path, cache: Path) -> None:
    os.environ["NEARFAR_CACHE"] = str(cache)
    found = train_all(folder / f"ranks {ranks.world_size}")
    for value in found.values():  # equal to the last bit, although the ranks exchange no weights
        assert all(torch.equal(value, other) for other in ranks.all_gather(value))
    if ranks.is_first:
        save_file(found, folder / f"{ranks.world_size}.safetensors")


def test_one_process_or_several_learn_the_same(tmp_path: Path, cache: Path) -> None:
    expected = train_all(tmp_path / "alone")
    for of in (2, 4):
        in_ranks(of, _train_all, tmp_path, cache)
        found = load_file(tmp_path / f"{of}.safetensors")
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-6, msg=f"{name}: {{}}".format)
    losses_of = [
        [event["loss"] for event in lines(tmp_path / folder / "plain") if event["event"] == "step"]
        for folder in ("alone", "ranks 2", "ranks 4")
    ]
    assert [len(losses) for losses in losses_of] == [3, 3, 3]
    assert losses_of[1] == pytest.approx(losses_of[0], abs=1e-6)
    assert losses_of[2] == pytest.approx(losses_of[0], abs=1e-6)
    first = next(iter(lines(tmp_path / "ranks 4" / "plain")))
    assert (first["event"], first["ranks"]) == ("start", 4)


class Stops(InfoNCE):
    """InfoNCE whose value is changed by `what` in one call on one rank."""

    calls = 0

    def __init__(self, at: int, rank: int, what: Callable[[Tensor], Tensor]) -> None:
        super().__init__(learnable=True)
        self.when, self.what = (at, rank), what

    def part(self, queries: Tensor, keys: Tensor, pairs: Pairs, rank: int, world_size: int) -> Tensor:
        self.calls += 1
        value = super().part(queries, keys, pairs, rank, world_size)
        return self.what(value) if (self.calls, rank) == self.when else value


def interrupt(value: Tensor) -> Tensor:
    os.kill(os.getpid(), signal.SIGTERM)
    return value


def no_number(value: Tensor) -> Tensor:
    return value * math.nan


def raised(kind: type[NearfarError], call: Callable[[], Any]) -> str:
    try:
        call()
    except kind as error:
        return str(error)
    raise AssertionError("nothing was raised")


def _stopped(ranks: Ranks, folder: Path) -> None:
    """Everything that ends a run ends it on all ranks, with the same message."""
    positives = pictures()
    more: dict[str, Any] = {"device": "cpu", "precision": "fp32", "quiet": True, "batch_size": 13, "steps": 6}

    def run(name: str, loss: InfoNCE, **other: Any) -> Perceptron:
        encoder = Perceptron(dropout=0.5)
        given = {**more, "queue": 9, "keys": "momentum", "momentum": 0.5, "checkpoint_every": 2, **other}
        fit(encoder, positives, loss, out=folder / name, **given)
        return encoder

    whole = run("whole", InfoNCE(learnable=True))
    message = raised(Interrupted, lambda: run("run", Stops(3, 1, interrupt)))
    assert message == "stopped by SIGTERM at step 3 of 6; go on with --resume"
    again = run("run", Stops(9, 9, interrupt), resume=True)
    for resumed, expected in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(resumed, expected)
    message = raised(RunError, lambda: run("broken", Stops(4, 1, no_number)))
    assert message.startswith("step 4: the loss is nan; the batch holds rows ")
    assert "the last good checkpoint is step 2" in message
    assert "a run lies there already" in raised(InputError, lambda: run("whole", InfoNCE()))
    assert "cannot resume" in raised(InputError, lambda: run("whole", InfoNCE(), resume=True, learning_rate=3))
    _patient(ranks, run)


def _patient(ranks: Ranks, run: Callable[..., Perceptron]) -> None:
    """Rank 0 alone evaluates; all stop where its patience ends, with the best weights."""
    seen: list[Tensor] = []

    def evaluate(model: Model) -> dict[str, float]:
        assert ranks.is_first
        seen.append(next(model.encoder.parameters()).detach().clone())  # type: ignore[attr-defined]
        return {"mrr@10": 1 / len(seen)}

    encoder = run("patient", InfoNCE(), evaluate=evaluate, evaluate_every=1, patience=2)
    best = next(encoder.parameters()).detach()
    assert all(torch.equal(best, other) for other in ranks.all_gather(best))
    assert not ranks.is_first or (len(seen) == 3 and torch.equal(best, seen[0]))
    assert "no metric 'map'" in raised(
        InputError,
        lambda: run("unknown", InfoNCE(), evaluate=evaluate, evaluate_every=1, patience=2, best="map"),
    )


def test_what_stops_one_stops_all(tmp_path: Path) -> None:
    in_ranks(2, _stopped, tmp_path)
    events = [event["event"] for event in lines(tmp_path / "run")]
    assert events.count("interrupted") == 1
    assert [place.name for place in sorted((tmp_path / "patient" / "checkpoints").iterdir())][-1] == "step-000003"
    more: dict[str, Any] = {"quiet": True, "device": "cpu", "precision": "fp32"}
    more |= {"batch_size": 13, "steps": 6, "queue": 9, "keys": "momentum", "momentum": 0.5}
    with pytest.warns(UserWarning, match="had ranks 2 and has 1 now: it goes on, but not to the same last digits"):
        fit(Perceptron(dropout=0.5), pictures(), InfoNCE(learnable=True), out=tmp_path / "whole", resume=True, **more)


def test_ranks_have_a_gpu_each() -> None:
    with pytest.raises(InputError, match="3 ranks cannot share 'cuda:1'; give cuda, for one each"):
        hardware.device("cuda:1", Ranks(1, 3, 1))
    assert hardware.device("cpu", Ranks(1, 3, 1)) == torch.device("cpu")


def test_a_batch_smaller_than_the_ranks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ranks, "from_environment", lambda: Ranks(0, 17))
    with pytest.raises(InputError, match="batch_size: 16 examples are too few for 17 ranks"):
        train(tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_torchrun_trains_by_a_recipe(tmp_path: Path) -> None:
    """The command line as a user types it, in two processes."""
    table, recipe = tmp_path / "pairs.jsonl", tmp_path / "recipe.yaml"
    data = rows(40)
    table.write_text("".join(f'{{"query": "{q}", "key": "{k}"}}\n' for q, k in zip(*data.cells.values(), strict=True)))
    recipe.write_text(f"""
        data: {{name: table, path: {table}}}
        positives: {{name: columns}}
        encoder: {{name: static, dim: 8, vocabulary: 300}}
        loss: {{name: infonce}}
        training: {{steps: 3, batch_size: 13, device: cpu}}
    """)
    words = ["train", str(recipe), "--baseline", "none", "--out", str(tmp_path / "run")]
    found = subprocess.run(
        [*TORCHRUN, "--no-python", str(Path(sys.executable).parent / "nearfar"), *words],
        env={**os.environ, "NEARFAR_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert next(iter(lines(tmp_path / "run")))["ranks"] == 2
    assert Model.load(tmp_path / "run" / "model").dim == 8


def refused(ranks: Ranks, folder: Path, cache: Path) -> None:
    os.environ["NEARFAR_CACHE"] = str(cache)
    with pytest.raises(InputError, match=r"run: process \d+ on .* has been writing here since"):
        train(folder)


def test_a_folder_that_another_run_writes_in_is_refused_on_every_rank(tmp_path: Path, cache: Path) -> None:
    with alone(tmp_path / "run", inside(tmp_path / "run")):
        in_ranks(2, refused, tmp_path / "run", cache)
        assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".lock"]


@pytest.mark.slow
def test_torchrun_ends_where_another_run_writes_in_the_folder(tmp_path: Path) -> None:
    table = write_lines(tmp_path / "pairs.jsonl", [{"query": f"question {i}", "key": f"answer {i}"} for i in range(20)])
    words = ["train", "static", f"data.path={table}", "training.batch_size=4", "--out", str(tmp_path / "run")]
    with alone(tmp_path / "run", inside(tmp_path / "run")):
        found = subprocess.run(
            [*TORCHRUN, "--no-python", str(Path(sys.executable).parent / "nearfar"), *words],
            env={**os.environ, "NEARFAR_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert found.returncode != 0
        assert f"nearfar: {tmp_path / 'run'}: process {os.getpid()} on" in found.stderr
        assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".lock"]
