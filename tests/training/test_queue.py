"""The queue and the momentum encoder: which key is where, what is compared, and resuming."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from nearfar.compute.ranks import Ranks
from nearfar.encoders.static import Static
from nearfar.errors import InputError
from nearfar.losses.infonce import InfoNCE
from nearfar.model import Model
from nearfar.positives.columns import Columns
from nearfar.training.batches import BatchReader
from nearfar.training.dry_run import dry_run
from nearfar.training.fit import fit
from nearfar.training.order import Sampler
from nearfar.training.settings import Settings
from nearfar.training.state import TrainState
from nearfar.training.step import GradientStep
from nearfar.training.train_module import Queue, Trained, queued_examples
from tests.training.floats import CPU, Perceptron
from tests.training.runs import SETTINGS, rows, train, weights
from tests.training.test_fit import BrokenOffError, stop_at
from tests.training.test_ranks import pictures

SIZES = {"n": st.integers(1, 12), "batch": st.integers(1, 9), "size": st.integers(1, 30)}


@settings(deadline=None)
@given(**SIZES, steps=st.integers(1, 9))
def test_the_place_of_a_key_is_known_without_the_queue(n: int, batch: int, size: int, steps: int) -> None:
    sampler, queue = Sampler(n, batch, 3, size), Queue(size, 1, torch.float32)
    past_keys: list[int] = []
    for step in range(steps):
        in_queue = queued_examples(Sampler(n, batch, 3, size), step, size)
        assert queue.vectors[: len(in_queue), 0].tolist() == in_queue.tolist()
        assert sorted(in_queue) == sorted(past_keys[-size:])
        examples = sampler.batch(step)
        queue.put(step * sampler.batch_size, torch.from_numpy(examples).float()[:, None])
        past_keys += examples.tolist()


class Recording(InfoNCE):
    """Keeps the arguments of its calls."""

    def __init__(self) -> None:
        super().__init__(learnable=True)
        self.calls: list[tuple[Tensor, Tensor, Any]] = []

    def forward(self, queries: Tensor, keys: Tensor, pairs: Any) -> Tensor:
        self.calls.append((queries.detach().clone(), keys.detach().clone(), pairs))
        assert queries.requires_grad
        return super().forward(queries, keys, pairs)


@pytest.mark.parametrize("cut", [{}, {"micro_batch": 3}], ids=["plain", "cached"])
@pytest.mark.parametrize("momentum", [0.0, 0.75])
def test_keys_are_those_of_the_batch_then_those_of_earlier_ones(cut: dict[str, Any], momentum: float) -> None:
    """Step by step, computed by hand, with a negative column whose keys do not enter the queue."""
    positives = pictures(20, negatives=True)
    run_settings = Settings(
        batch_size=6,
        queue=9,
        keys="momentum" if momentum else "same",
        momentum=momentum,
        optimizer="sgd",
        learning_rate=0.3,
        **cut,
    )
    encoder, loss = Perceptron(), Recording()
    average = copy.deepcopy(encoder)
    trained = Trained(encoder, loss)
    train_state = TrainState.of(trained.module(run_settings).train(), run_settings)
    stores = {view: encoder.store(column) for view, column in positives.views.items()}
    read = BatchReader(positives, stores, Sampler(20, 6, 0, 9), run_settings, Ranks(), encoder)
    step = GradientStep(train_state, trained, positives, run_settings, CPU, "fp32")
    past_keys: dict[int, Tensor] = {}
    for number in range(4):
        prepared = read(number)
        rows = positives.batch(prepared.examples).rows
        key_encoder = average if momentum else encoder
        keys = {v: normalize(key_encoder(stores[v][rows[v]]).detach(), dim=1) for v in ("key", "negative negative")}
        in_queue = queued_examples(read.sampler, number, 9)
        expected = [*keys.values(), *(past_keys[int(example)][None] for example in in_queue)]
        output = step(prepared)
        torch.testing.assert_close(loss.calls[-1][1], torch.cat(expected))
        assert loss.calls[-1][2].shape == (6, sum(map(len, keys.values())) + len(in_queue))
        past_keys |= {int(example): key for example, key in zip(prepared.examples, keys["key"], strict=True)}
        train_state.step()
        step.after_optimizer_step(prepared, output, momentum)
        for averaged, weight in zip(average.parameters(), encoder.parameters(), strict=True):
            averaged.data = 0.75 * averaged.data + 0.25 * weight.data
    assert len(past_keys) > 9


def test_a_queued_positive_is_no_negative() -> None:
    """Queued copies of the batch's keys count once, so the loss is that of the distinct keys."""
    positives = Columns(rows(8))
    batch = positives.batch(np.arange(4), np.array([0, 1, 5, 0]))
    draw = torch.Generator().manual_seed(0)
    x, y = (normalize(torch.randn(8, 4, dtype=torch.float64, generator=draw), dim=1) for _ in range(2))
    loss = InfoNCE(symmetric=False)
    found = loss(x[:4], torch.cat([y[:4], y[[0, 1, 5, 0]]]), batch.pairs)
    distinct = positives.batch(np.array([0, 1, 2, 3, 5])).pairs
    scores = x[:4] @ y[[0, 1, 2, 3, 5]].T / 0.05
    assert found.item() == pytest.approx((scores.logsumexp(1) - scores.diagonal()).mean().item())
    assert distinct.shape == (5, 5)


def test_the_model_has_the_trained_encoder(tmp_path: Path) -> None:
    run = train(tmp_path / "run", queue=20, keys="momentum", momentum=0.9)
    assert sorted(path.name for path in (tmp_path / "run" / "model").rglob("*.safetensors")) == ["model.safetensors"]
    saved = Model.load(tmp_path / "run" / "model").encoder
    assert isinstance(saved, Static)
    assert np.array_equal(weights(run), saved.embedding.weight.detach())
    assert not np.array_equal(weights(run), weights(train(tmp_path / "other")))


@pytest.mark.filterwarnings("ignore:training.best")
@pytest.mark.parametrize(
    "more",
    [{"queue": 40, "keys": "momentum", "momentum": 0.9}, {"queue": 200}, {"keys": "momentum", "momentum": 0.5}],
    ids=str,
)
def test_a_stopped_run_goes_on_with_the_same_queue_and_average(tmp_path: Path, more: dict[str, Any]) -> None:
    def run(folder: Path, **other: Any) -> Perceptron:
        encoder = Perceptron(dropout=0.3)
        given = {**SETTINGS, "checkpoint_every": 3, "best": "map", **more, **other}
        fit(encoder, pictures(), InfoNCE(learnable=True), out=folder, quiet=True, **given)
        return encoder

    whole = run(tmp_path / "whole")
    with pytest.raises(BrokenOffError):
        run(tmp_path / "run", evaluate=stop_at(7), evaluate_every=1)
    again = run(tmp_path / "run", resume=True)
    for resumed, expected in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(resumed, expected)
    with pytest.raises(InputError, match=r"cannot resume, training\.queue was"):
        run(tmp_path / "run", resume=True, queue=77)


class WithoutQueue:
    """Positives whose `batch` takes no queued keys."""

    takes_queue = False

    def __init__(self) -> None:
        self.inner = Columns(rows())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __len__(self) -> int:
        return len(self.inner)

    def batch(self, examples: Any) -> Any:
        return self.inner.batch(examples)


def test_positives_that_take_no_queued_keys_are_refused(tmp_path: Path) -> None:
    positives: Any = WithoutQueue()
    with pytest.raises(InputError, match=r"training.queue: positives.*WithoutQueue does not take queued keys"):
        fit(Static(dim=8), positives, InfoNCE(), out=tmp_path / "run", queue=4)
    assert not (tmp_path / "run").exists()


class Compares(InfoNCE):
    same: bool | None = None

    def forward(self, queries: Tensor, keys: Tensor, pairs: Any) -> Tensor:
        self.same = keys is queries
        return super().forward(queries, keys, pairs)


@pytest.mark.parametrize(
    ("more", "same"),
    [({}, True), ({"micro_batch": 3}, True), ({"keys": "momentum", "momentum": 0.5}, False), ({"queue": 3}, False)],
)
def test_equal_query_and_key_views_are_one_tensor(more: dict[str, Any], same: bool) -> None:
    positives = pictures(12)
    positives.query_views = positives.key_views = ["key"]
    run_settings, loss = Settings(batch_size=6, **more), Compares(symmetric=False)
    encoder = Perceptron()
    trained = Trained(encoder, loss)
    train_state = TrainState.of(trained.module(run_settings).train(), run_settings)
    stores = {view: encoder.store(column) for view, column in positives.views.items()}
    read = BatchReader(positives, stores, Sampler(12, 6, 0, 3), run_settings, Ranks(), encoder)
    step = GradientStep(train_state, trained, positives, run_settings, CPU, "fp32")
    for number in range(2):
        prepared = read(number)
        step.after_optimizer_step(prepared, step(prepared), 0.0)
    assert loss.same is same


def test_a_dry_run_makes_the_same_steps() -> None:
    given: dict[str, Any] = {"queue": 8, "keys": "momentum", "momentum": 0.9, "micro_batch": 4}
    found = dry_run(Perceptron(), pictures(), InfoNCE(), **SETTINGS, **given)
    assert found.facts["parameters"] == sum(p.numel() for p in Perceptron().parameters())
