"""The untrained network as a floor, and that judging leaves an encoder as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import nearfar as nf
from nearfar.abilities import untrained_of
from nearfar.column import ListColumn
from nearfar.encoders.dual import Dual
from nearfar.encoders.frozen_projection import FrozenProjection
from nearfar.encoders.projected import Projected
from nearfar.evaluation.baseline_values import START, UNTRAINED
from nearfar.evaluation.evaluate import judged_start
from nearfar.tasks import Labels, Retrieval


def classes_of_colour(n: int = 40) -> Labels:
    random = np.random.default_rng(0)
    labels, known = random.integers(0, 2, n), random.integers(0, 2, n)
    pictures = [
        [*(random.integers(0, 200, (n, 8, 8, 3)) + 50 * of[:, None, None, None]).astype(np.uint8)]
        for of in (labels, known)
    ]
    cells, train = (ListColumn("image", column) for column in pictures)
    return Labels("colours", cells, labels, train, known, ["dark", "light"], np.arange(n))


@pytest.fixture(scope="module")
def encoder() -> nf.encoders.Image:
    """A network whose batch norm has seen pictures, so that its buffers are not those of the beginning."""
    made = nf.encoders.Image(size=32, seed=1)
    made.train()
    made(made.inputs([np.full((32, 32, 3), value, np.uint8) for value in (10, 120, 250, 90)]))
    return made


def test_evaluation_leaves_every_buffer_and_every_mode_as_it_was(encoder: nf.encoders.Image) -> None:
    encoder.train()
    norms = [layer for layer in encoder.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert len(norms) > 3
    norms[0].eval()  # as a frozen layer is
    before = {name: tensor.clone() for name, tensor in [*encoder.named_buffers(), *encoder.named_parameters()]}
    modes = [layer.training for layer in encoder.modules()]
    report = nf.evaluate(nf.Model(encoder), classes_of_colour(), ["knn", "probe"], resamples=20)
    assert [layer.training for layer in encoder.modules()] == modes
    after = dict([*encoder.named_buffers(), *encoder.named_parameters()])
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]), name
    encoder.eval()  # and it was judged in this mode, not by the statistics of a batch
    assert report.metrics == nf.evaluate(nf.Model(encoder), classes_of_colour(), ["knn", "probe"], resamples=20).metrics


def test_a_vector_does_not_depend_on_the_pictures_beside_it(encoder: nf.encoders.Image) -> None:
    """Pictures are encoded in blocks; of 256 of 32 pixels the next block begins."""
    pictures = [*np.random.default_rng(1).integers(0, 255, (300, 32, 32, 3), dtype=np.uint8)]
    encoder.eval()
    together = nf.Model(encoder).embed(pictures)
    np.testing.assert_allclose(together[[0, 255, 256, 299]], nf.Model(encoder).embed(
        [pictures[row] for row in (0, 255, 256, 299)]), atol=1e-6)  # fmt: skip


def test_the_untrained_network_stands_beside_the_other_floors(encoder: nf.encoders.Image) -> None:
    task, model = classes_of_colour(), nf.Model(encoder)
    report = nf.evaluate(model, task, "knn", resamples=20)
    assert list(report.baseline) == [UNTRAINED, "majority", "pixels"]
    assert {"value", "low", "high"} == set(report.difference[UNTRAINED]["knn@20"])
    fresh = encoder.untrained()
    assert fresh is not None and fresh.picture_size() == 32
    assert nf.evaluate(nf.Model(fresh), task, "knn", baselines=[], resamples=2).metrics == report.baseline[UNTRAINED]
    own, new = encoder.state_dict(), fresh.state_dict()
    assert own.keys() == new.keys() and all(own[name].shape == new[name].shape for name in own)
    assert any(not torch.equal(own[name], new[name]) for name in own)


def test_what_was_judged_before_training_takes_its_place(encoder: nf.encoders.Image) -> None:
    task, model = classes_of_colour(), nf.Model(encoder)
    start = judged_start(model, task, "knn", name=None)
    report = nf.evaluate(model, task, "knn", start=start, resamples=20)
    assert list(report.baseline) == [UNTRAINED, "majority", "pixels"]
    gap = report.difference[UNTRAINED]["knn@20"]
    assert gap["value"] == 0 and gap["low"] <= 0 <= gap["high"]
    verdict = report.to_json()["verdict"]
    assert (verdict["against"], verdict["outcome"]) == (UNTRAINED, "undecided")
    assert "the untrained network" in verdict["sentence"]
    assert judged_start(model, task, "knn", name="lite0").name == START


def test_baselines_that_are_named_are_all_that_there_are(encoder: nf.encoders.Image) -> None:
    report = nf.evaluate(nf.Model(encoder), classes_of_colour(), "knn", baselines="majority", resamples=20)
    assert list(report.baseline) == ["majority"]


def of_two_kinds() -> tuple[nf.Model, Retrieval]:
    """Return frozen towers under layers that training has moved, and a task of finding colours by words."""
    words = ["dark red", "light red", "dark blue", "light blue", "dark green", "light green"]
    static = nf.encoders.Static(dim=16, vocabulary=300)
    static.prepare([ListColumn("text", words)])
    towers = (FrozenProjection(nf.encoders.Image(size=32), dim=8), FrozenProjection(static, dim=8))
    for tower in towers:
        torch.nn.init.normal_(tower.projection.linear.weight)
        torch.nn.init.normal_(tower.projection.linear.bias)
    pictures = [*np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3), dtype=np.uint8)]
    ids = [str(i) for i in range(6)]
    columns = ListColumn("text", words), ListColumn("image", pictures)
    return nf.Model(Dual(*towers)), Retrieval(
        "colours", *columns, ids, ids, {i: {i: 1} for i in range(6)}, np.arange(6)
    )


@pytest.mark.parametrize("with_head", [False, True])
def test_between_kinds_the_layers_as_they_began_are_a_floor(with_head: bool) -> None:
    model, task = of_two_kinds()
    if with_head:
        model = nf.Model(Projected(model.encoder, nf.heads.Mlp(dim=8, sizes=[4], norm="none")))
    fresh = untrained_of(model.encoder)
    assert fresh is not None and fresh.dim == model.dim
    dual: Any = fresh
    inner: Any = model.encoder
    if with_head:
        dual, inner = dual.of, inner.of
    for role, tower in dual.towers.items():
        layer = tower.projection.linear
        assert torch.equal(layer.weight, torch.eye(8, layer.in_features)) and not layer.bias.any()
        assert tower.of is inner.towers[role].of  # which training does not move
    report = nf.evaluate(model, task, "hit_rate", resamples=2)
    assert next(iter(report.baseline)) == UNTRAINED
    if not with_head:
        own = nf.evaluate(nf.Model(fresh), task, "hit_rate", baselines=[], resamples=2).metrics
        assert own == report.baseline[UNTRAINED]
    words = task.queries.read(0, 6)
    assert not np.allclose(nf.Model(fresh).embed(words, "key"), model.embed(words, "key"), atol=1e-3)


def test_a_tower_that_cannot_be_made_anew_leaves_no_floor() -> None:
    model, _ = of_two_kinds()
    static = nf.encoders.Static(dim=8, vocabulary=300)
    static.prepare([ListColumn("text", ["dark red"])])
    assert untrained_of(Dual(model.encoder.towers["query"], static)) is None
