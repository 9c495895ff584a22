"""The queue and the momentum keys: whose key lies where, what is compared, and that a stopped run goes on alike."""

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
from nearfar.training.train_module import Queue, build_train_module, queued
from tests.training.floats import CPU, Perceptron
from tests.training.runs import SETTINGS, rows, train, weights
from tests.training.test_fit import BrokenOffError, stop_at
from tests.training.test_ranks import pictures

SIZES = {"n": st.integers(1, 12), "batch": st.integers(1, 9), "size": st.integers(1, 30)}


@settings(deadline=None)
@given(**SIZES, steps=st.integers(1, 9))
def test_the_place_of_a_key_is_known_without_having_put_it_there(n: int, batch: int, size: int, steps: int) -> None:
    sampler, queue = Sampler(n, batch, 3, size), Queue(size, 1, torch.float32)
    past: list[int] = []
    for step in range(steps):
        waiting = queued(Sampler(n, batch, 3, size), step, size)
        assert queue.vectors[: len(waiting), 0].tolist() == waiting.tolist()
        assert sorted(waiting) == sorted(past[-size:])
        examples = sampler.batch(step)
        queue.put(step * sampler.batch_size, torch.from_numpy(examples).float()[:, None])
        past += examples.tolist()


class Seen(InfoNCE):
    """Keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(learnable=True)
        self.asked: list[tuple[Tensor, Tensor, Any]] = []

    def forward(self, queries: Tensor, keys: Tensor, pairs: Any) -> Tensor:
        self.asked.append((queries.detach().clone(), keys.detach().clone(), pairs))
        assert queries.requires_grad
        return super().forward(queries, keys, pairs)


@pytest.mark.parametrize("cut", [{}, {"micro_batch": 3}], ids=["plain", "cached"])
@pytest.mark.parametrize("momentum", [0.0, 0.75])
def test_keys_are_those_of_the_batch_then_those_of_earlier_ones(cut: dict[str, int], momentum: float) -> None:
    """GradientStep by step, as one would do it by hand, with mined negatives that do not enter the queue."""
    positives = pictures(20, negatives=True)
    chosen = Settings(batch_size=6, queue=9, momentum=momentum, optimizer="sgd", learning_rate=0.3, **cut)
    encoder, loss = Perceptron(), Seen()
    average = copy.deepcopy(encoder)
    train_state = TrainState.of(build_train_module(encoder, loss, chosen).train(), chosen)
    stores = {view: encoder.store(column) for view, column in positives.views.items()}
    read = BatchReader(positives, stores, Sampler(20, 6, 0, 9), chosen, Ranks(), encoder)
    step = GradientStep(train_state, positives, chosen, CPU, "fp32")
    past: dict[int, Tensor] = {}
    for number in range(4):
        prepared = read(number)
        rows = positives.batch(prepared.examples).rows
        by = average if momentum else encoder
        own = {v: normalize(by(stores[v][rows[v]]).detach(), dim=1) for v in ("key", "negative negative")}
        waiting = queued(read.sampler, number, 9)
        expected = [*own.values(), *(past[int(example)][None] for example in waiting)]
        outcome = step(prepared)
        torch.testing.assert_close(loss.asked[-1][1], torch.cat(expected))
        assert loss.asked[-1][2].shape == (6, sum(map(len, own.values())) + len(waiting))
        past |= {int(example): key for example, key in zip(prepared.examples, own["key"], strict=True)}
        train_state.step()
        step.moved(prepared, outcome)
        for mine, theirs in zip(average.parameters(), encoder.parameters(), strict=True):
            mine.data = 0.75 * mine.data + 0.25 * theirs.data
    assert len(past) > 9


def test_nothing_queued_answers_a_query_and_passes_for_a_negative() -> None:
    """With a queue as long as the data every key is there twice or more, and the loss is that of the whole table."""
    positives = Columns(rows(8))
    batch = positives.batch(np.arange(4), np.array([0, 1, 5, 0]))
    draw = torch.Generator().manual_seed(0)
    x, y = (normalize(torch.randn(8, 4, dtype=torch.float64, generator=draw), dim=1) for _ in range(2))
    loss = InfoNCE(symmetric=False)
    found = loss(x[:4], torch.cat([y[:4], y[[0, 1, 5, 0]]]), batch.pairs)
    own = positives.batch(np.array([0, 1, 2, 3, 5])).pairs
    scores = x[:4] @ y[[0, 1, 2, 3, 5]].T / 0.05
    assert found.item() == pytest.approx((scores.logsumexp(1) - scores.diagonal()).mean().item())
    assert own.shape == (5, 5)


def test_an_encoder_in_the_model_is_the_trained_one(tmp_path: Path) -> None:
    run = train(tmp_path / "run", queue=20, momentum=0.9)
    assert sorted(path.name for path in (tmp_path / "run" / "model").rglob("*.safetensors")) == ["model.safetensors"]
    assert np.array_equal(weights(run), Model.load(tmp_path / "run" / "model").encoder.embedding.weight.detach())
    assert not np.array_equal(weights(run), weights(train(tmp_path / "other")))


@pytest.mark.filterwarnings("ignore:training.best")
@pytest.mark.parametrize("more", [{"queue": 40, "momentum": 0.9}, {"queue": 200}, {"momentum": 0.5}], ids=str)
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
    for mine, theirs in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    with pytest.raises(InputError, match=r"cannot resume, training\.queue was"):
        run(tmp_path / "run", resume=True, queue=77)


class Deaf:
    """Positives that know nothing of a queue."""

    def __init__(self) -> None:
        self.inner = Columns(rows())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __len__(self) -> int:
        return len(self.inner)

    def batch(self, examples: Any) -> Any:
        return self.inner.batch(examples)


def test_positives_that_know_no_queue_are_refused(tmp_path: Path) -> None:
    positives: Any = Deaf()
    with pytest.raises(InputError, match=r"training.queue: positives.*Deaf does not say who is near a queued key"):
        fit(Perceptron(), positives, InfoNCE(), out=tmp_path / "run", queue=4)
    assert not (tmp_path / "run").exists()


class Itself(InfoNCE):
    same: bool | None = None

    def forward(self, queries: Tensor, keys: Tensor, pairs: Any) -> Tensor:
        self.same = keys is queries
        return super().forward(queries, keys, pairs)


@pytest.mark.parametrize(
    ("more", "same"), [({}, True), ({"micro_batch": 3}, True), ({"momentum": 0.5}, False), ({"queue": 3}, False)]
)
def test_one_side_for_both_is_one_tensor(more: dict[str, Any], same: bool) -> None:
    positives = pictures(12)
    positives.query_views = positives.key_views = ["key"]
    chosen, loss = Settings(batch_size=6, **more), Itself(symmetric=False)
    encoder = Perceptron()
    train_state = TrainState.of(build_train_module(encoder, loss, chosen).train(), chosen)
    stores = {view: encoder.store(column) for view, column in positives.views.items()}
    read = BatchReader(positives, stores, Sampler(12, 6, 0, 3), chosen, Ranks(), encoder)
    step = GradientStep(train_state, positives, chosen, CPU, "fp32")
    for number in range(2):
        prepared = read(number)
        step.moved(prepared, step(prepared))
    assert loss.same is same


def test_a_dry_run_makes_the_same_steps() -> None:
    found = dry_run(Perceptron(), pictures(), InfoNCE(), **{**SETTINGS, "queue": 8, "momentum": 0.9, "micro_batch": 4})
    assert found.facts["parameters"] == sum(p.numel() for p in Perceptron().parameters())
