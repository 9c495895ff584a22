"""An encoder with its head: built from a recipe, saved and loaded, with the abilities of the encoder and no others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nearfar import registry
from nearfar.abilities import HasMaxLength, HasPaddedForm, HasTowers, Tokenises, TwoSided, towers_of
from nearfar.audit.lengths import tokens
from nearfar.column import ListColumn
from nearfar.encoders.dual import Dual
from nearfar.encoders.frozen_projection import FrozenProjection
from nearfar.encoders.projected import Projected
from nearfar.encoders.static import Static
from nearfar.errors import InputError
from nearfar.heads.mlp import Mlp
from nearfar.model import Model
from tests.audit.test_checks import read
from tests.encoders.array_encoder import Tiny
from tests.encoders.tiny import TEXTS, tiny

SHORT, LONG = "query key pull push", "query key pull push anchor positive negative vector " * 4


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))


def static(**more: Any) -> Static:
    encoder = Static(dim=12, vocabulary=300, **more)
    encoder.prepare([ListColumn("text", [*TEXTS, SHORT, LONG])])
    return encoder


def build(**more: Any) -> Projected:
    """Build one from a recipe, whose encoder has 12 dimensions."""
    inner = {"name": "static", "dim": 12, "vocabulary": 300}
    spec = {"name": "projected", "of": inner, "head": {"name": "mlp", "sizes": [6, 4], "norm": "layer"}, **more}
    found: Projected = registry.build("encoders", spec, section="encoder")
    return found


def test_a_recipes_head_takes_the_vectors_of_the_encoder() -> None:
    encoder = build()
    assert [layer.in_features for layer in encoder.head.layers if isinstance(layer, nn.Linear)] == [12, 6]
    assert encoder.dim == 4
    encoder.prepare([ListColumn("text", TEXTS)])
    inputs = encoder.inputs(TEXTS)
    torch.testing.assert_close(encoder(inputs), encoder.head(encoder.of(inputs)))
    given = build(of=static(), head={"name": "mlp", "sizes": [5]})  # an encoder that is there already
    assert (given.head.layers[0].in_features, given.dim) == (12, 5)


def test_dropout_is_of_training_alone_and_keeps_the_expected_value() -> None:
    encoder = build(dropout=0.5, head={"name": "mlp", "sizes": [4], "norm": "none"})
    encoder.prepare([ListColumn("text", TEXTS)])
    inputs = encoder.inputs(TEXTS)
    plain = build(head={"name": "mlp", "sizes": [4], "norm": "none"})
    plain.prepare([ListColumn("text", TEXTS)])
    plain.load_state_dict(encoder.state_dict())
    torch.manual_seed(0)
    drawn = torch.stack([encoder.train()(inputs) for _ in range(4000)]).detach()
    assert float(drawn.std(0).min()) > 0
    expected = plain(inputs).detach()
    deviation = (drawn.mean(0) - expected) / (drawn.std(0) / 4000**0.5)  # of a standard normal number
    assert float(deviation.abs().max()) < 5
    torch.testing.assert_close(encoder.eval()(inputs).detach(), expected)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"dropout": 1.0}, r"encoder\.dropout is a share, 0 to below 1; it is 1"),
        ({"head": {"name": "mlp", "dim": 3}}, r"encoder\.head: no setting is called 'dim'"),
        ({"head": {"name": "mpl"}}, "no part is called 'mpl'; did you mean 'mlp'"),
        ({"head": {"name": "mlp", "sizes": ["wide"]}}, r"encoder\.head\.sizes: .* does not fit"),
        ({"head": nn.Linear(12, 4)}, r"encoder\.head .*Linear lacks `dim`"),
    ],
)
def test_a_head_that_does_not_fit_is_named(more: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(**more)
    with pytest.raises(InputError, match="head must be given"):
        registry.build("encoders", {"name": "projected", "of": {"name": "static"}})


@pytest.mark.parametrize("by_hand", [False, True])
def test_it_is_loaded_with_the_head_that_was_saved(tmp_path: Path, by_hand: bool) -> None:
    encoder = Projected(static(), Mlp(dim=12, sizes=(6, 4), norm="layer")) if by_hand else build()
    encoder.prepare([ListColumn("text", TEXTS)])
    model = Model(encoder)
    folder = model.save(tmp_path / "model")
    saved = json.loads((folder / "nearfar.json").read_text())["encoder"]
    assert saved["head"] == {"name": "mlp", "sizes": [6, 4], "norm": "layer", "last_norm": False}
    np.testing.assert_array_equal(Model.load(folder).embed(TEXTS), model.embed(TEXTS))


def test_a_head_of_a_size_that_nothing_has_is_named(tmp_path: Path) -> None:
    encoder = build()
    encoder.prepare([ListColumn("text", TEXTS)])
    described = Model(encoder).save(tmp_path / "model") / "nearfar.json"
    facts = json.loads(described.read_text())
    facts["encoder"]["head"]["sizes"] = [99999999999999999999]
    described.write_text(json.dumps(facts))
    with pytest.raises(InputError, match=r"nearfar.json: .*head"):
        Model.load(tmp_path / "model")


class Unkept(nn.Module):
    """A head that does not keep its setting."""

    def __init__(self, dim: int, width: int = 4) -> None:
        super().__init__()
        self.layer, self.dim = nn.Linear(dim, width), width

    def forward(self, vectors: Tensor) -> Tensor:
        result: Tensor = self.layer(vectors)
        return result


def test_a_head_whose_settings_are_lost_is_not_saved() -> None:
    with pytest.raises(InputError, match=r"Unkept: it does not keep width; keep each setting"):
        Projected(static(), Unkept(12)).settings()
    built = registry.build("heads", {"name": f"{__name__}:Unkept", "width": 5}, outside=True, dim=12)
    assert Projected(static(), built).settings()["head"] == {"name": f"{__name__}:Unkept", "width": 5}


def test_it_has_the_abilities_of_the_encoder_and_no_others() -> None:
    plain: Any = Projected(static(max_length=9), Mlp(12, [4]))
    assert isinstance(plain, HasMaxLength) and plain.max_length == 9
    assert (
        isinstance(plain, Tokenises) and plain.tokenise(["pull"])[1].tolist() == static().tokenise(["pull"])[1].tolist()
    )
    assert not isinstance(plain, TwoSided | HasTowers | HasPaddedForm)
    pictures: Any = Projected(Tiny(dim=8), Mlp(8, [4]))
    assert not isinstance(pictures, Tokenises) and pictures.max_length is None


def test_its_towers_have_the_head_too() -> None:
    dual: Any = Projected(Dual(static(), static(seed=1)), Mlp(12, [4], norm="none"))
    assert all(isinstance(dual, ability) for ability in (TwoSided, HasTowers))
    for role, tower in towers_of(dual).items():
        inputs = dual.side(role).inputs(TEXTS)
        torch.testing.assert_close(tower(tower.inputs(TEXTS)), dual(inputs))
        assert not isinstance(tower, HasPaddedForm)  # an export of the tower alone would lack the head
    assert [name for name, _ in dual.named_parameters()] == [
        *("of.query.embedding.weight", "of.key.embedding.weight"),
        *("head.layers.0.weight", "head.layers.0.bias"),
    ]


@pytest.mark.parametrize("inner", [lambda: static(max_length=16), lambda: tiny("bert", max_length=16)])
def test_an_audit_sees_the_tokens_and_the_maximum_length(inner: Any) -> None:
    material = read([SHORT, LONG, f"{SHORT} again", f"{LONG} again"])
    expected = tokens(material, Model(inner()))
    assert [example["row"] for example in expected.findings[0].examples] == [2, 4]
    of = inner()
    for encoder in (Projected(of, Mlp(of.dim, [4])), FrozenProjection(inner(), dim=4)):
        found = tokens(material, Model(encoder))
        assert found.profile == expected.profile
        assert found.findings == expected.findings


class Halved(nn.Module):
    """A head without parameters: the first half of a vector."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim // 2

    def forward(self, vectors: Tensor) -> Tensor:
        return vectors[:, : self.dim]


def test_a_head_without_parameters_is_a_head() -> None:
    encoder = Static(dim=8, vocabulary=300)
    encoder.prepare([ListColumn("text", ["pull near", "push far"])])
    whole = encoder(encoder.inputs(["near"]))[:, :4]
    found = Model(Projected(encoder, Halved(8))).embed(["near"])
    assert found[0] == pytest.approx(torch.nn.functional.normalize(whole, dim=1)[0].detach().numpy(), abs=1e-6)
