"""Matryoshka beyond its reference: against cross-entropies, in recipes, and what it takes from its loss."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from nearfar import config, registry
from nearfar.abilities import AfterStep
from nearfar.encoders.static import Static
from nearfar.errors import InputError
from nearfar.losses.barlow_twins import BarlowTwins
from nearfar.losses.infonce import InfoNCE
from nearfar.losses.matryoshka import Matryoshka
from nearfar.losses.vicreg import VICReg
from nearfar.pairs import Pairs
from nearfar.positives.columns import Columns
from nearfar.training.identity import run_identity
from nearfar.training.settings import Settings
from nearfar.training.train_module import Trained
from tests.losses.batches import unit
from tests.training.runs import rows

N, D = 16, 8
PAIRS = Pairs.aligned(N)


def test_it_is_the_sum_of_cross_entropies_of_cut_vectors() -> None:
    raw_q, raw_k = torch.randn(N, D, dtype=torch.float64), torch.randn(N, D, dtype=torch.float64)
    expected = torch.zeros((), dtype=torch.float64)
    for size, weight in ((8, 1.0), (4, 0.5), (2, 0.25)):  # of raw vectors: the sphere comes last, and that is the same
        cosines = normalize(raw_q[:, :size], dim=1) @ normalize(raw_k[:, :size], dim=1).T / 0.1
        for scores in (cosines, cosines.T):
            expected += weight * torch.nn.functional.cross_entropy(scores, torch.arange(N)) / 2
    loss = Matryoshka(InfoNCE(0.1), [8, 4, 2], [1, 0.5, 0.25])
    found = loss(normalize(raw_q, dim=1), normalize(raw_k, dim=1), PAIRS)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_lengths_by_default_are_halves() -> None:
    q, k = unit(N, 130, 0), unit(N, 130, 1)
    torch.testing.assert_close(Matryoshka()(q, k, PAIRS), Matryoshka(dims=[130, 65, 32])(q, k, PAIRS))


def test_one_tensor_for_both_sides_stays_one() -> None:
    class Same(InfoNCE):
        def part(self, queries: Any, keys: Any, *more: Any) -> Any:
            assert keys is queries
            return super().part(queries, keys, *more)

    x = unit(N, D, 0)
    group, item = torch.arange(N) // 2, torch.arange(N)
    for vectors in (x, x.float(), x.bfloat16()):
        assert Matryoshka(Same(), [8, 3])(vectors, vectors, Pairs(group, item, group, item)).isfinite()


def test_class_attributes_are_those_of_its_loss() -> None:
    for inner in (InfoNCE(), VICReg(), BarlowTwins()):
        loss = Matryoshka(inner, [4])
        words = ("unit", "cacheable", "needs_negatives")
        assert [getattr(loss, word) for word in words] == [getattr(inner, word) for word in words]
        assert copy.deepcopy(loss).unit == inner.unit
    twins = Matryoshka(BarlowTwins(), [4])  # not on the sphere: cut, and no more
    q, k = 3 * unit(N, D, 0), 2 * unit(N, D, 1)
    torch.testing.assert_close(twins(q, k, PAIRS), BarlowTwins()(q[:, :4], k[:, :4], PAIRS))


def test_its_losses_learnt_temperature_is_trained_and_clamped() -> None:
    loss = Matryoshka(InfoNCE(learnable=True), [8, 4])
    (parameter,) = loss.parameters()
    loss(unit(N, D, 0), unit(N, D, 1), PAIRS).backward()
    assert parameter.grad is not None
    with torch.no_grad():
        parameter.fill_(99.0)
    for module in loss.modules():
        if isinstance(module, AfterStep):
            module.after_step(torch.empty(0), torch.empty(0))
    assert float(parameter.detach()) < 99


def test_run_identity_holds_all_of_it() -> None:
    def identity(**more: Any) -> Any:
        loss = registry.build("losses", {"name": "matryoshka", **more}, dim=8)
        encoder, data = Static(dim=8, vocabulary=300), Columns(rows(4))
        encoder.prepare(list(data.views.values()))
        return run_identity(Trained(encoder, loss), data, Settings())["loss"]

    kinds: list[dict[str, Any]] = [
        *({}, {"dims": [8]}, {"dims": [8, 4]}, {"dims": [8, 4], "weights": [1.0, 0.5]}),
        *({"of": {"name": "infonce", "temperature": 0.1}}, {"of": {"name": "triplet"}}),
    ]
    found = [identity(**kind) for kind in kinds]
    assert all(found.count(one) == 1 for one in found)
    assert found[4]["of"]["temperature"] == 0.1
    assert identity(of={"name": "infonce"}) == found[0]


RECIPE: dict[str, Any] = {
    "data": {"name": "table", "path": [{"query": "a", "key": "b"}]},
    "positives": {"name": "columns"},
    "encoder": {"name": "static", "dim": 64, "vocabulary": 300},
    "loss": {"name": "matryoshka", "of": {"name": "infonce", "temperature": "0.1"}, "dims": [64, "32"]},
}


def test_a_recipe_holds_the_inner_loss_whole() -> None:
    whole = config.resolved(RECIPE)["loss"]
    assert whole["of"]["temperature"] == 0.1
    assert whole["of"]["symmetric"] is True
    assert whole["dims"] == [64, 32]
    assert config.resolved({**RECIPE, "loss": whole})["loss"] == whole
    built: Any = config.build(RECIPE).loss
    assert (built.of.temperature, built.dims, built.dim) == (pytest.approx(0.1), [64, 32], 64)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"of": {"name": "infonce", "temprature": 1}}, "loss.of: no setting is called 'temprature'; did you mean"),
        ({"of": {"name": "infonce", "temperature": "hot"}}, "loss.of.temperature: 'hot' does not fit"),
        ({"of": {"name": "infonse"}}, "no part is called 'infonse'; did you mean 'infonce'"),
        ({"of": {"temperature": 1}}, "loss.of: which part"),
        ({"of": "infonce"}, "loss.of: 'infonce' is no part; write loss.of: {name: ..., setting: value}"),
        ({"of": {"name": "cluster_swap"}}, "cluster_swap has parameters of the whole dimension"),
        ({"of": {"name": "matryoshka"}}, "matryoshka has parameters of the whole dimension"),
        ({"dims": [128]}, "matryoshka.dims are distinct lengths of vectors, at least 1, at most the encoder's 64"),
        ({"dims": []}, "they are []"),
        ({"dims": [8, 8]}, "they are [8, 8]"),
        ({"dims": [0]}, "they are [0]"),
        ({"weights": [1.0]}, "matryoshka.weights: 1 for 2 dims"),
        ({"weights": [1.0, 0.0]}, "matryoshka.weights must be a finite number above 0"),
    ],
)
def test_a_mistake_is_named_by_its_place(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        config.build({**RECIPE, "loss": {**RECIPE["loss"], **change}})
    assert words in str(caught.value)
