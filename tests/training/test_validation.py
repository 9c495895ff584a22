"""The held-out loss: the loss on held-out rows, computed during training without changing it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nearfar import config, experiment
from nearfar.augmentations.text_crop import TextCrop
from nearfar.compute.ranks import Ranks
from nearfar.contracts import Positives
from nearfar.encoders.static import Static
from nearfar.errors import InputError
from nearfar.losses.infonce import InfoNCE
from nearfar.losses.matryoshka import Matryoshka
from nearfar.losses.sigmoid import Sigmoid
from nearfar.positives.columns import Columns
from nearfar.positives.relations.view import ViewEntry
from nearfar.positives.views import Views
from nearfar.training.fit import Run, fit
from nearfar.training.mixture import Mixture
from nearfar.training.pair_ranks import hit_rates
from nearfar.training.settings import Settings
from nearfar.training.state import TrainState
from nearfar.training.step import GradientStep
from nearfar.training.train_module import Trained
from nearfar.training.validation import HeldoutLoss
from tests.training.floats import CPU, Perceptron
from tests.training.runs import SETTINGS, Rows, in_ranks, rows, train, weights
from tests.training.test_log import lines
from tests.training.test_ranks import pictures


def events(folder: Path, event: str = "evaluate") -> list[dict[str, Any]]:
    return [line for line in lines(folder) if line["event"] == event]


def unlike(n: int = 20) -> Columns:
    """Held-out pairs that have nothing to do with the training pairs of `rows`."""
    return Columns(Rows(query=[f"w{i} topic{i + 7}" for i in range(n)], key=[f"w{39 - i} topic{i}" for i in range(n)]))


def gradient_step(encoder: Any, positives: Positives, loss: Any, settings: Settings) -> GradientStep:
    trained = Trained(encoder, loss)
    train_state = TrainState.of(trained.module(settings).train(), settings)
    return GradientStep(train_state, trained, positives, settings, CPU, "fp32")


def heldout(encoder: Any, positives: Positives, loss: Any, settings: Settings) -> HeldoutLoss:
    return HeldoutLoss(positives, gradient_step(encoder, positives, loss, settings))


@pytest.mark.parametrize("loss", [InfoNCE(), Matryoshka(InfoNCE(), dims=[8, 4])], ids=["plain", "nested"])
@pytest.mark.parametrize("more", [{}, {"micro_batch": 3}], ids=["whole", "cut"])
def test_it_is_the_mean_loss_of_fixed_batches(loss: Any, more: dict[str, Any]) -> None:
    encoder, positives = Perceptron(dropout=0.5, norm=True), pictures(20, negatives=True)
    settings = Settings(batch_size=6, heldout_examples=13, queue=5, **more)
    held = heldout(encoder, positives, loss, settings)
    encoder.train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    state = torch.get_rng_state()
    found = held.measured()[0]
    assert encoder.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())  # BatchNorm, too
    encoder.eval()
    expected = []
    for batch in held.batches:
        seen = positives.batch(batch.examples)
        x = {view: np.stack([positives.views[view].read(0, 20)[i] for i in seen.rows[view]]) for view in seen.rows}
        vectors = {
            view: torch.nn.functional.normalize(encoder.layers(torch.tensor(v).double()), dim=1)
            for view, v in x.items()
        }
        keys = torch.cat([vectors[view] for view in positives.key_views])
        expected.append(loss(vectors["query"], keys, seen.pairs).item())
    assert [len(batch.examples) for batch in held.batches] == [6, 6]
    assert found == pytest.approx(np.mean(expected), rel=1e-9)
    assert held.measured()[0] == found


def test_one_batch_at_least_and_as_large_as_training_s() -> None:
    def sizes(n: int, **more: Any) -> list[int]:
        settings = Settings(batch_size=8, **more)
        step = gradient_step(Perceptron(), pictures(n), InfoNCE(), settings)
        held = HeldoutLoss.of(pictures(n), step)
        return [] if held is None else [len(batch.examples) for batch in held.batches]

    assert sizes(40, heldout_examples=16) == [8, 8]
    assert sizes(40, heldout_examples=3) == [8]
    assert sizes(5) == [5]
    assert sizes(1) == []
    assert sizes(40, heldout_examples=0) == []


def test_it_is_written_beside_other_metrics_and_changes_nothing(tmp_path: Path) -> None:
    plain = weights(train(tmp_path / "plain"))
    both = train(tmp_path / "both", heldout=unlike(), evaluate=lambda model: {"map": 0.5}, evaluate_every=4)
    assert np.array_equal(weights(both), plain)
    assert [event["step"] for event in events(tmp_path / "both")] == [4, 8, 12]
    assert [sorted(event["metrics"]) for event in events(tmp_path / "both")] == [["heldout_loss", "map"]] * 3
    assert both.metrics["heldout_loss"] == events(tmp_path / "both")[-1]["metrics"]["heldout_loss"]
    alone = train(tmp_path / "alone", heldout=unlike())  # no evaluation: at the end
    assert [event["step"] for event in events(tmp_path / "alone")] == [12]
    assert alone.metrics == {"heldout_loss": pytest.approx(both.metrics["heldout_loss"])}


def test_its_curve_stands_between_evaluations_and_says_of_how_many_it_is(tmp_path: Path) -> None:
    run = train(tmp_path / "run", steps=60, heldout=unlike())
    points = events(tmp_path / "run", "heldout")
    assert [event["step"] for event in points] == [1, 25, 50, 60]  # 20 rows trained on for each of the 20 held-out ones
    assert all(event["of"] == {"examples": 16, "batch": 16} for event in points)
    assert points[0]["heldout_loss"] != points[1]["heldout_loss"] > 0
    assert np.array_equal(weights(run), weights(train(tmp_path / "without", steps=60)))
    long = train(tmp_path / "long", steps=60, heldout=unlike(2))
    assert [event["step"] for event in events(long.folder, "heldout")] == [1, *range(3, 61, 3)]  # 20 at most, evenly


def test_the_curve_has_a_point_at_each_evaluation(tmp_path: Path) -> None:
    train(tmp_path, steps=60, heldout=unlike(), evaluate=lambda model: {"map": 0.5}, evaluate_every=20)
    curve, judged = events(tmp_path, "heldout"), events(tmp_path)
    assert [event["step"] for event in curve] == [1, 20, 25, 40, 50, 60]
    assert [event["step"] for event in judged] == [20, 40, 60]
    of_step = {event["step"]: event["heldout_loss"] for event in curve}
    assert all(event["metrics"] == {"map": 0.5, "heldout_loss": of_step[event["step"]]} for event in judged)


@pytest.mark.parametrize("more", [{}, {"micro_batch": 3}], ids=["whole", "cut"])
def test_hit_rates_of_held_out_pairs_stand_beside_their_loss(more: dict[str, Any]) -> None:
    encoder, positives = Perceptron(), pictures(20, negatives=True)
    held = heldout(encoder, positives, InfoNCE(), Settings(batch_size=6, heldout_examples=13, **more))
    loss, rates = held.measured()
    assert loss == held.measured()[0]
    expected = []
    for batch in held.batches:
        seen = positives.batch(batch.examples)
        x = {view: np.stack([positives.views[view].read(0, 20)[i] for i in seen.rows[view]]) for view in seen.rows}
        vectors = {
            view: torch.nn.functional.normalize(encoder.layers(torch.tensor(v).double()), dim=1)
            for view, v in x.items()
        }
        keys = torch.cat([vectors[view] for view in positives.key_views])
        expected.append(hit_rates(vectors["query"] @ keys.T, seen.pairs))
    assert rates == {name: pytest.approx(np.mean([one[name] for one in expected])) for name in expected[0]}
    assert 0 < rates["hit_rate@1"] < rates["hit_rate@10"]


class Sinking(Static):
    """A static encoder all of whose vectors are one: what a loss with a bias may make of it while it falls."""

    def forward(self, inputs: Any) -> torch.Tensor:
        vectors: torch.Tensor = super().forward(inputs)
        return torch.ones_like(vectors) + 0 * vectors


def test_a_loss_that_falls_while_nothing_is_found_is_seen_in_the_events(tmp_path: Path) -> None:
    given: dict[str, Any] = {"loss": Sigmoid(bias=0.0), "learning_rate": 0.3, "heldout": unlike(), "steps": 60}
    train(tmp_path, encoder=Sinking(dim=16, vocabulary=300), **given)
    first, *_, last = events(tmp_path, "heldout")
    assert last["heldout_loss"] < 0.6 * first["heldout_loss"]
    assert [last[f"hit_rate@{k}"] for k in (1, 5, 10)] == [0, 0, 0]  # a tie counts against it


def overfitting(folder: Path, **more: Any) -> Run:
    given = {"steps": 40, "learning_rate": 0.5, "evaluate_every": 4, "best": "heldout_loss", **more}
    return train(folder, data=rows(32), heldout=unlike(32), **given)


def test_the_best_is_the_lowest_and_patience_stops_overfitting(tmp_path: Path) -> None:
    overfitting(tmp_path / "whole")
    losses = [event["metrics"]["heldout_loss"] for event in events(tmp_path / "whole")]
    assert losses[-1] > min(losses), "it should overfit"
    stopped = overfitting(tmp_path / "patient", patience=2)
    seen = [event["metrics"]["heldout_loss"] for event in events(tmp_path / "patient")]
    assert seen == losses[: len(seen)]
    assert len(seen) == int(np.argmin(losses)) + 3 or len(seen) == int(np.argmin(seen)) + 3
    assert stopped.metrics["heldout_loss"] == min(seen)
    loss = InfoNCE()
    held = heldout(stopped.model.encoder, unlike(32), loss, Settings(batch_size=16))
    assert held.measured()[0] == pytest.approx(min(seen), rel=1e-5)  # the weights are those of the best evaluation


def test_several_data_sets_and_views_have_one(tmp_path: Path) -> None:
    notes = Rows(text=[" ".join(f"n{i}w{j}" for j in range(20)) for i in range(30)])
    parts: list[Positives] = [
        Columns(rows(20)),
        Views(notes, views=[ViewEntry(TextCrop(), side="query"), ViewEntry(TextCrop(), side="key")]),
    ]
    given = {**SETTINGS, "mixing": "round_robin", "queue": 8, "keys": "momentum", "momentum": 0.5}
    run = fit(Static(dim=16, vocabulary=300), parts, InfoNCE(), out=tmp_path, heldout=parts, quiet=True, **given)
    assert run.metrics["heldout_loss"] > 0
    assert len(Mixture(parts)) == 50


def test_a_split_that_the_loss_refuses_gives_a_warning(tmp_path: Path) -> None:
    same = Columns(Rows(query=["a b", "c d"], key=["one", "one"]))
    run = train(tmp_path / "run", heldout=same, evaluate=lambda model: {"mrr@10": 1.0})
    assert run.metrics == {"mrr@10": 1.0}
    assert run.warnings[-1].startswith("no heldout_loss: ")
    with pytest.raises(InputError, match="no metric 'heldout_loss'"):
        train(tmp_path / "other", heldout=same, best="heldout_loss", evaluate_every=4, patience=1)


def test_examples_are_counted_from_zero() -> None:
    with pytest.raises(InputError, match=r"training\.heldout_examples must be zero or more"):
        Settings(heldout_examples=-1)


def _ranks(ranks: Ranks, folder: Path, cache: Path) -> None:
    os.environ["NEARFAR_CACHE"] = str(cache)
    run = overfitting(folder, patience=2)
    assert run.metrics["heldout_loss"] > 0
    assert all(torch.equal(value, torch.tensor(weights(run))) for value in ranks.all_gather(torch.tensor(weights(run))))


def test_one_rank_computes_it_and_all_stop(tmp_path: Path, cache: Path) -> None:
    overfitting(tmp_path / "alone", patience=2)
    in_ranks(2, _ranks, tmp_path / "ranks", cache)
    one, two = ([event["metrics"]["heldout_loss"] for event in events(tmp_path / name)] for name in ("alone", "ranks"))
    assert two == pytest.approx(one, rel=1e-3)


def test_the_held_out_loss_of_a_recipe_is_that_of_its_main_split(tmp_path: Path) -> None:
    table = [{"query": f"question {i} of w{i % 7}", "key": f"answer {i} with w{i % 7}"} for i in range(40)]
    recipe: dict[str, Any] = {
        "data": {"name": "table", "path": table, "heldout": 10, "heldout_by": ["query"]},
        "positives": {"name": "columns"},
        "encoder": {"name": "static", "dim": 8, "vocabulary": 300},
        "loss": {"name": "infonce"},
        "training": {"steps": 4, "batch_size": 8, "device": "cpu", "evaluate_every": 2, "best": "heldout_loss"},
        "evaluate": [{"name": "retrieval", "split": "heldout"}],
    }

    def metrics(name: str, **change: Any) -> list[Any]:
        whole = {**recipe, **change}
        out = tmp_path / name
        out.mkdir()
        done = experiment.run(whole, config.build(whole), out, [], resume=False, overwrite=False, quiet=True)
        assert done is not None
        assert "heldout_loss" not in done.facts["metrics"]  # its value depends on the batch size, so it is not reported
        return ["heldout_loss" in event["metrics"] for event in events(out)]

    assert metrics("run") == [True, True]
    assert metrics("without", training={**recipe["training"], "heldout_examples": 0, "best": "map"}) == [False, False]
    several = {
        "data": [recipe["data"], {**recipe["data"], "seed": 1}],
        "evaluate": [{"name": "retrieval", "split": "1/heldout"}],
    }
    assert metrics("several", **several) == [True, True]
    built = config.build({**recipe, **several})
    assert built.of_split is not None
    assert len(built.of_split("1/heldout")) == len(config.build(recipe).of_split("heldout"))  # type: ignore[misc]
