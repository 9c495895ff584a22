"""Objectives: alone and beside a loss, exact over micro-batches and ranks with unequal counts, kept and resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from nearfar.compute.draws import Draws
from nearfar.compute.ranks import Ranks
from nearfar.contracts import Terms
from nearfar.errors import InputError, Interrupted
from nearfar.losses.infonce import InfoNCE
from nearfar.pairs import Pairs
from nearfar.positives.unpaired import Unpaired
from nearfar.training.batches import HIDING, PreparedBatch, StackedInputs
from nearfar.training.encode import RowEncoder
from nearfar.training.fit import fit
from nearfar.training.interrupts import Interrupts
from nearfar.training.objective_terms import ObjectiveTerms
from nearfar.training.order import Sampler
from nearfar.training.settings import Settings
from tests.training.denoising import Denoising
from tests.training.floats import CPU, FEATURES, Floats, Perceptron
from tests.training.runs import Rows, in_ranks
from tests.training.test_heads import _stop_at
from tests.training.test_log import lines
from tests.training.test_ranks import pictures

SGD: dict[str, Any] = {
    **{"optimizer": "sgd", "learning_rate": 0.2, "clip": 0.0, "precision": "fp32", "device": "cpu"},
    **{"batch_size": 13, "steps": 6, "checkpoint_every": 2, "schedule": "constant"},
}


def unpaired(n: int = 40) -> Unpaired:
    """Return rows of floats without pairs."""
    draw = np.random.default_rng(3)
    return Unpaired(Rows(key=list(draw.normal(size=(n, FEATURES)).astype(np.float32))))


def train(folder: Path, *, loss: bool, weight: float = 1.0, share: float = 0.3, **more: Any) -> Any:
    """Train an objective alone, or beside InfoNCE; return the run and the objective."""
    encoder = Perceptron()
    objective = Denoising(encoder, share)
    part = InfoNCE() if loss else None
    data: Any = pictures() if loss else unpaired()
    given = {**SGD, **more}
    run = fit(encoder, data, part, objective=objective, objective_weight=weight, out=folder, quiet=True, **given)
    return run, objective


def weights(run: Any, objective: Denoising) -> dict[str, Tensor]:
    """Return copies of all trained weights."""
    found = {f"encoder.{name}": value for name, value in run.model.encoder.state_dict().items()}
    found |= {f"objective.{name}": value for name, value in objective.state_dict().items()}
    return {name: value.detach().clone() for name, value in found.items()}


def test_one_step_is_the_naive_mean_over_all_hidden_features(tmp_path: Path) -> None:
    run, objective = train(tmp_path, loss=False, steps=1)
    encoder, data = Perceptron(), unpaired()
    torch.manual_seed(0)  # as the run
    naive = Denoising(encoder)
    naive.prepare(encoder)
    rows = Sampler.of(data, Settings(batch_size=13)).batch(0)
    cells = Floats(torch.from_numpy(np.stack([data.cells.read(0, 40)[row] for row in rows])))
    draws = Draws.of(np.array([[0, 0, row] for row in rows]), HIDING)
    inputs, (hidden, features) = naive.hide(cells, draws)
    assert len(set(hidden.sum(1).tolist())) > 2, "the counts of rows should differ"
    assert naive.head is not None
    predicted = naive.head(encoder(inputs))
    value = sum((predicted[i, j] - features[i, j]) ** 2 for i, j in hidden.nonzero().tolist()) / int(hidden.sum())
    assert isinstance(value, Tensor)
    value.backward()
    (event,) = [line for line in lines(tmp_path) if line["event"] == "step"]
    assert event["loss"] == pytest.approx(value.item(), rel=1e-9)
    found = weights(run, objective)
    for name, parameter in [*encoder.named_parameters(prefix="encoder"), *naive.named_parameters(prefix="objective")]:
        assert parameter.grad is not None
        torch.testing.assert_close(found[name], parameter - 0.2 * parameter.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss", [False, True], ids=["alone", "beside a loss"])
def test_any_cut_gives_the_same_update(tmp_path: Path, loss: bool) -> None:
    whole = weights(*train(tmp_path / "whole", loss=loss, weight=0.7))
    for name, cut in {"four": {"micro_batch": 4}, "costs": {"micro_cost": 15}, "one": {"micro_batch": 1}}.items():
        found = weights(*train(tmp_path / name, loss=loss, weight=0.7, **cut))
        for key, value in whole.items():
            torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-12, msg=f"{name} {key}: {{}}".format)


def _in_ranks(ranks: Ranks, folder: Path) -> None:
    for loss in (False, True):
        found = weights(*train(folder / f"{loss} {ranks.world_size}", loss=loss, weight=0.7))
        if ranks.is_first:
            save_file(found, folder / f"{loss}-{ranks.world_size}.safetensors")


def test_one_rank_and_two_give_the_same_update(tmp_path: Path) -> None:
    _in_ranks(Ranks(), tmp_path)
    in_ranks(2, _in_ranks, tmp_path)
    for loss in (False, True):
        one, two = (load_file(tmp_path / f"{loss}-{size}.safetensors") for size in (1, 2))
        assert one.keys() == two.keys()
        for name, value in one.items():
            torch.testing.assert_close(two[name], value, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("loss", [False, True], ids=["alone", "beside a loss"])
def test_it_resumes_bit_equal(tmp_path: Path, loss: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = weights(*train(tmp_path / "whole", loss=loss))
    with monkeypatch.context() as stopped, pytest.raises(Interrupted):
        stopped.setattr(Interrupts, "on_any_rank", _stop_at(3))
        train(tmp_path / "cut", loss=loss)
    found = weights(*train(tmp_path / "cut", loss=loss, resume=True))
    assert all(torch.equal(value, found[name]) for name, value in whole.items())
    with pytest.raises(InputError, match=r"objective\.share was 0\.3 and is 0\.4"):
        train(tmp_path / "cut", loss=loss, share=0.4, resume=True)


def test_the_sum_is_loss_plus_weight_times_objective(tmp_path: Path) -> None:
    train(tmp_path / "both", loss=True, weight=0.25, steps=1)
    (event,) = [line for line in lines(tmp_path / "both") if line["event"] == "step"]
    fit(Perceptron(), pictures(), InfoNCE(), out=tmp_path / "loss", quiet=True, **{**SGD, "steps": 1})
    (alone,) = [line for line in lines(tmp_path / "loss") if line["event"] == "step"]
    train(tmp_path / "heavy", loss=True, weight=0.5, steps=1)
    (heavy,) = [line for line in lines(tmp_path / "heavy") if line["event"] == "step"]
    assert event["objective"] > 0
    assert event["loss"] == pytest.approx(alone["loss"] + event["objective"], rel=1e-6)
    assert heavy["objective"] == pytest.approx(2 * event["objective"], rel=1e-6)


def test_it_learns_and_is_measured_on_held_out_rows(tmp_path: Path) -> None:
    run, _ = train(tmp_path, loss=False, steps=60, learning_rate=0.03, heldout=unpaired(20), evaluate_every=20)
    measured = [line["metrics"]["heldout_loss"] for line in lines(tmp_path) if line["event"] == "evaluate"]
    assert len(measured) == 3
    assert measured[-1] < measured[0]
    assert run.metrics["heldout_loss"] == measured[-1]


def test_nothing_hidden_is_no_update_and_no_error(tmp_path: Path) -> None:
    run, _ = train(tmp_path, loss=False, share=0.0, steps=2)
    before = Perceptron().state_dict()
    assert all(torch.equal(value, before[name]) for name, value in run.model.encoder.state_dict().items())
    assert [line["loss"] for line in lines(tmp_path) if line["event"] == "step"] == [0.0, 0.0]


def test_what_cannot_be_is_refused_by_name(tmp_path: Path) -> None:
    encoder = Perceptron()
    more: dict[str, Any] = {"out": tmp_path / "run", "quiet": True}
    with pytest.raises(InputError, match="give a loss, an objective, or both"):
        fit(encoder, unpaired(), **more)
    with pytest.raises(InputError, match=r"it needs the view 'pixels'; there are key"):
        fit(encoder, unpaired(), objective=Denoising(encoder, needs=("pixels",)), **more)
    with pytest.raises(InputError, match=r"needs is a tuple of views, it is the text 'key'; write \('key',\)"):
        fit(encoder, unpaired(), objective=Denoising(encoder, needs="key"), **more)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="about the keys of a loss, and there is none"):
        fit(encoder, unpaired(), objective=Denoising(encoder), queue=4, **more)
    with pytest.raises(InputError, match="there are no pairs to judge by"):
        unpaired().task("heldout")
    assert not (tmp_path / "run").exists()


def test_it_reads_the_views_that_it_needs(tmp_path: Path) -> None:
    encoder = Perceptron()
    found: list[int] = []

    class Counts(Denoising):
        def hide(self, inputs: Floats, draws: Draws) -> Any:
            found.append(len(inputs))
            return super().hide(inputs, draws)

    given = {**SGD, "steps": 1}
    for needs in ((), ("key",), ("key", "query")):
        part = Counts(encoder, needs=needs)
        fit(encoder, pictures(), InfoNCE(), objective=part, out=tmp_path / str(needs), quiet=True, **given)
    assert found == [26, 13, 26]


def test_several_data_sets_are_trained_on_alone_and_beside_a_loss(tmp_path: Path) -> None:
    for loss in (False, True):
        encoder = Perceptron()
        parts: list[Any] = [pictures(20), pictures(30)] if loss else [unpaired(20), unpaired(30)]
        run = fit(
            *(encoder, parts, InfoNCE() if loss else None),
            **{**SGD, "learning_rate": 0.03},
            objective=Denoising(encoder),
            heldout=parts[0],  # of one data set, whose views have other names than the mixture's
            out=tmp_path / str(loss),
            quiet=True,
        )
        assert run.metrics["heldout_loss"] > 0


def test_what_was_computed_before_is_not_in_the_first_gradient(tmp_path: Path) -> None:
    clean, objective = train(tmp_path / "clean", loss=True, steps=1)
    encoder = Perceptron()
    for parameter in encoder.parameters():
        parameter.grad = torch.full_like(parameter, float("nan"))
    other = Denoising(encoder)
    run = fit(encoder, pictures(), InfoNCE(), objective=other, out=tmp_path / "b", quiet=True, **{**SGD, "steps": 1})
    found = weights(run, other)
    assert all(torch.equal(value, found[name]) for name, value in weights(clean, objective).items())


def test_a_sum_over_nothing_may_be_no_number(tmp_path: Path) -> None:
    class Means(Denoising):
        def forward(self, encoder: Any, inputs: Floats, targets: Any) -> Terms:
            assert self.head is not None
            hidden, features = targets
            errors = (self.head(encoder(inputs)) - features).square()[hidden]
            return Terms(errors.mean() * len(errors), len(errors))

    encoder = Perceptron()
    given = {**SGD, "steps": 3, "micro_batch": 1, "learning_rate": 0.01}
    fit(encoder, unpaired(), objective=Means(encoder, 0.1), out=tmp_path, quiet=True, **given)
    assert all(value.isfinite().all() for value in encoder.state_dict().values())


@pytest.mark.parametrize("synchronised", [True, False])
def test_a_rank_without_rows_is_asked_only_where_others_wait_for_its_statistics(synchronised: bool) -> None:
    asked: list[int] = []

    class Counts(Denoising):
        def forward(self, encoder: Any, inputs: Floats, targets: Any) -> Terms:
            asked.append(len(inputs))
            return super().forward(encoder, inputs, targets)

    encoder = Perceptron()
    objective = Counts(encoder)
    objective.prepare(encoder)
    terms = ObjectiveTerms(objective, RowEncoder(encoder, False, CPU, "fp32"), Settings(), Ranks(), 1.0, synchronised)
    nothing = StackedInputs(Floats(torch.zeros(0, FEATURES)), {"key": 0})
    none = torch.zeros(0, dtype=torch.int64)
    pairs = Pairs(query_group=none, query_item=none, key_group=none, key_item=none)
    batch = PreparedBatch(0, none.numpy(), None, None, {}, 0, pairs, None, nothing, Draws(none))
    assert terms.sums(batch, backward=True).tolist() == [0, 0]
    assert asked == ([0] if synchronised else [])
