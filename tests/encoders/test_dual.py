"""Two towers: each row by its own, through every part of the step; and sentence-transformers' Router agrees."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import nearfar as nf
from nearfar import config, registry
from nearfar.abilities import (
    KnowsLanguages,
    ReadsPictures,
    Tokenises,
    for_reader,
    picture_size,
    side,
)
from nearfar.augmentations.image import ImageAugmentation
from nearfar.augmentations.text_crop import TextCrop
from nearfar.cli.lab import _one_encoder
from nearfar.column import ListColumn
from nearfar.contracts import Role, StreamedAugmentation
from nearfar.encoders.dual import Dual
from nearfar.encoders.pretrained.static_files import MODULE_FOLDER
from nearfar.encoders.reading.nested import TowerSide, TwoSidedInputs
from nearfar.encoders.static import Static
from nearfar.errors import InputError
from nearfar.losses.infonce import InfoNCE
from nearfar.positives.columns import Columns
from nearfar.positives.relations.augmented import augmented_cells
from nearfar.positives.relations.view import ViewEntry
from nearfar.positives.views import Views
from nearfar.sides import ROLES, prepare_sides
from nearfar.text.alike import as_read
from nearfar.training.augment import augment
from nearfar.training.dry_run import dry_run
from nearfar.training.fit import fit
from nearfar.training.optimizers import build_optimizer
from nearfar.training.settings import Settings
from tests.encoders.tiny import TEXTS, tiny
from tests.training.runs import Rows, in_ranks, rows, train


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))


def towers(**more: Any) -> Dual:
    """Return two small static towers that begin apart."""
    return Dual(Static(dim=16, vocabulary=300), Static(dim=16, vocabulary=300, seed=1), **more)


def prepared(**more: Any) -> Dual:
    dual = towers(**more)
    dual.prepare([ListColumn("text", TEXTS)])
    return dual


@functools.cache
def fixed() -> Dual:
    return prepared()


def state(run: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in run.model.encoder.state_dict().items()}


def test_each_row_goes_through_its_own_tower() -> None:
    dual = prepared()
    for role, tower in (("query", dual.query), ("key", dual.key)):
        reads = side(dual, role)
        assert isinstance(reads, TowerSide)
        torch.testing.assert_close(dual(reads.inputs(TEXTS)), tower(tower.inputs(TEXTS)))  # type: ignore[operator]
    torch.testing.assert_close(dual(dual.inputs(TEXTS)), dual(dual.side("key").inputs(TEXTS)))
    assert dual.reads == ("text",)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ROLES), st.integers(0, 22)), max_size=12), st.data())
def test_rows_of_both_sides_in_any_order_and_any_slice(asked: list[tuple[Role, int]], data: st.DataObject) -> None:
    dual = fixed()
    found = dual.side("query").inputs([])
    found = found.join([dual.side(role).inputs([TEXTS[row]]) for role, row in asked])
    alone = {role: dual(dual.side(role).inputs(TEXTS)) for role in ROLES}
    expected = torch.stack([alone[role][row] for role, row in asked]) if asked else torch.zeros(0, 16)
    torch.testing.assert_close(dual(found), expected)
    assert found.costs().tolist() == [int(dual.side(role).inputs([TEXTS[row]]).costs()[0]) for role, row in asked]
    start, stop = (data.draw(st.integers(0, len(asked))) for _ in range(2))
    assert len(found[start:stop]) == len(expected[start:stop])
    torch.testing.assert_close(dual(found[start:stop]), expected[start:stop])


def test_towers_of_two_kinds_meet_in_one_batch_and_learn() -> None:
    dual = Dual(Static(dim=32, vocabulary=300), tiny("bert"))
    dual.prepare([ListColumn("text", TEXTS)])
    inputs = dual.side("query").inputs(TEXTS[:3]).join([dual.side("key").inputs(TEXTS[:3])])
    assert isinstance(inputs, TwoSidedInputs)
    with torch.autocast("cpu", torch.bfloat16):
        dual(inputs).square().sum().backward()
    assert all(tower.get_parameter(name).grad is not None for tower, name in (
        (dual.query, "embedding.weight"), (dual.key, "backbone.embeddings.word_embeddings.weight")
    ))  # fmt: skip


@pytest.mark.parametrize(
    "more", [{"micro_batch": 5}, {"micro_cost": 9}, {"queue": 32}, {"queue": 32, "micro_batch": 5}]
)
def test_cached_and_queued_it_ends_where_the_plain_run_does(tmp_path: Path, more: dict[str, Any]) -> None:
    plain = {key: value for key, value in more.items() if key == "queue"}
    first, second = (
        state(train(tmp_path / name, encoder=towers(), **kind)) for name, kind in (("a", plain), ("b", more))
    )
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=1e-4, atol=1e-5, msg=name)
    begun = towers()
    prepare_sides(begun, Columns(rows()))
    for name, tensor in begun.state_dict().items():  # both have learnt
        assert not torch.allclose(first[name], tensor)


def test_ranks_learn_what_one_process_does(tmp_path: Path) -> None:
    one = state(train(tmp_path / "one", encoder=towers(), steps=4))
    in_ranks(2, _train, tmp_path / "two")
    two = nf.Model.load(tmp_path / "two" / "model").encoder
    for name, tensor in two.state_dict().items():
        torch.testing.assert_close(one[name], tensor, rtol=1e-4, atol=1e-5, msg=name)


def _train(ranks: Any, folder: Path) -> None:
    train(folder, encoder=towers(), steps=4)


def test_momentum_would_leave_the_key_tower_idle(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"training\.keys=momentum: .* would itself learn nothing"):
        train(tmp_path / "run", encoder=towers(), keys="momentum", momentum=0.9, queue=32)
    frozen = prepared()
    frozen.key.requires_grad_(False)
    before = frozen.key.state_dict()["embedding.weight"].clone()
    run = train(tmp_path / "frozen", encoder=frozen, keys="momentum", momentum=0.9, queue=32)
    torch.testing.assert_close(state(run)["key.embedding.weight"], before)


def test_it_resumes_and_a_dry_run_counts_both(tmp_path: Path) -> None:
    whole = state(train(tmp_path / "whole", encoder=towers()))
    train(tmp_path / "part", encoder=towers(), steps=12)
    again = state(train(tmp_path / "part", encoder=towers(), resume=True))
    for name, tensor in whole.items():
        torch.testing.assert_close(again[name], tensor, rtol=0, atol=0)
    facts = dry_run(towers(), Columns(rows()), InfoNCE(), batch_size=8, device="cpu").facts
    assert facts["parameters"] == sum(tensor.numel() for tensor in whole.values())


def test_a_view_of_both_sides_has_no_tower(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is both query and key"):
        fit(towers(), SameView(), InfoNCE(), out=tmp_path / "run", quiet=True, steps=1, device="cpu")


class SameView(Columns):
    """Columns whose queries are their keys."""

    def __init__(self) -> None:
        super().__init__(rows())
        self.key_views = self.query_views


@pytest.mark.parametrize("make", [
    lambda: Dual(Static(dim=32, vocabulary=300), tiny("bert", max_length=20)),
    lambda: Dual(tiny("bert", pooling="cls"), tiny("distilbert")),
])  # fmt: skip
def test_sentence_transformers_router_gives_the_same_vectors(make: Callable[[], Dual], tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    dual = make()
    dual.prepare([ListColumn("text", TEXTS)])
    model = nf.Model(dual, {"query": "query near ", "key": "key "})
    theirs = SentenceTransformer(str(model.save(tmp_path / "model")), device="cpu")
    for role, encode in ((None, theirs.encode), ("query", theirs.encode_query), ("key", theirs.encode_document)):
        np.testing.assert_allclose(model.embed(TEXTS, role), encode(TEXTS), atol=2e-6)
    assert "encode_query" in (tmp_path / "model" / "README.md").read_text()
    again = nf.Model.load(tmp_path / "model")
    assert again.fingerprint == model.fingerprint
    for role in (None, "query", "key"):
        np.testing.assert_array_equal(again.embed(TEXTS, role), model.embed(TEXTS, role))


def test_identity_covers_both_towers() -> None:
    before = nf.Model(prepared()).fingerprint
    for role in ROLES:
        dual = prepared()
        with torch.no_grad():
            dual.towers[role].embedding.weight[0, 0] += 1
        assert nf.Model(dual).fingerprint != before


def test_a_tower_has_a_learning_rate_of_its_own(tmp_path: Path) -> None:
    moved = {}
    for name, more in (("alike", {}), ("apart", {"query_rate": 1e-3})):
        dual = prepared(**more)
        before = {key: weight.detach().clone() for key, weight in dual.named_parameters()}
        settings: dict[str, Any] = {"steps": 1, "batch_size": 16, "optimizer": "sgd", "clip": 0.0, "device": "cpu"}
        fit(dual, Columns(rows()), InfoNCE(), out=tmp_path / name, quiet=True, precision="fp32", **settings)
        moved[name] = {key: (weight.detach() - before[key]) for key, weight in dual.named_parameters()}
    for key, change in moved["alike"].items():
        factor = 1e-3 if key.startswith("query.") else 1.0
        assert change.abs().max() > 1e-4
        torch.testing.assert_close(moved["apart"][key], factor * change, atol=3e-8, rtol=1e-3)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_a_rate_that_trains_nothing_is_refused(rate: float) -> None:
    with pytest.raises(InputError, match=r"encoder\.key_rate is a factor of the learning rate"):
        towers(key_rate=rate)


def test_rates_are_the_towers_own() -> None:
    dual = Dual(Static(dim=32, vocabulary=300), tiny("bert", layer_decay=0.5))
    dual.prepare([ListColumn("text", TEXTS)])
    names = dict(dual.named_parameters())
    rates = dual.rates()
    assert rates["key.backbone.embeddings.word_embeddings.weight"] == 0.25
    assert set(rates) == {name for name in names if name.startswith("key.")}
    assert build_optimizer(names, Settings(), rates)


def test_a_recipe_names_the_towers() -> None:
    spec = {"name": "dual", "query": {"name": "static", "dim": "16"}, "key": {"name": "static", "dim": 16, "seed": 1}}
    recipe = {
        "data": {"name": "table", "path": "x.jsonl"},
        "positives": {"name": "columns"},
        "loss": {"name": "infonce"},
    }
    whole = config.resolved({**recipe, "encoder": spec})["encoder"]
    assert whole["query"]["vocabulary"] == 30_000
    assert registry.build("encoders", whole, section="encoder").dim == 16


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "query, key must be given"),
        (
            {"query": {"name": "static", "dim": 8}, "key": {"name": "static", "dims": 8}},
            r"encoder.key: .* called 'dims'",
        ),
        ({"query": {"name": "static", "dim": "x"}, "key": {"name": "static"}}, r"encoder.query.dim: 'x' does not fit"),
        ({"query": {"name": "static", "dim": 8}, "key": {"name": "static"}}, "8 dimensions, the key tower 512"),
        ({"query": "static", "key": {"name": "static"}}, "encoder.query: 'static' is no part"),
        ({"query": {"name": "statik"}, "key": {"name": "static"}}, "no part is called 'statik'"),
        ({"query": {"name": "static"}, "key": {"name": "static"}, "prompts": {"doc": "x"}}, "no role 'doc'"),
        (
            {"query": {"name": "static"}, "key": {"name": "static"}, "prompts": {"key": "\ud800"}},
            r"^encoder\.prompts\.key must be a text without lone surrogates",
        ),
    ],
)
def test_settings_that_do_not_fit_are_the_users_error(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        registry.build("encoders", {"name": "dual", **spec}, section="encoder")


def test_a_tower_has_no_towers() -> None:
    with pytest.raises(InputError, match=r"encoder.key: a tower cannot have two sides"):
        Dual(Static(dim=16), prepared())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f, known: (f / "key").rename(f / "kei"), "key: no such folder"),
        (lambda f, known: known["encoder"].pop("query"), "encoder.dual|does not say which encoder this is"),
        (lambda f, known: known["encoder"]["query"].update(name="os:path"), "would run code"),
        (
            lambda f, known: (f / "query" / MODULE_FOLDER / "model.safetensors").write_bytes(b"x"),
            "not whole safetensors",
        ),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(damage: Any, message: str, tmp_path: Path) -> None:
    folder = nf.Model(prepared()).save(tmp_path / "model")
    known = json.loads((folder / "nearfar.json").read_text())
    damage(folder, known)
    (folder / "nearfar.json").write_text(json.dumps(known))
    with pytest.raises(InputError, match=message):
        nf.Model.load(folder)


def test_augmented_cells_are_read_by_their_side() -> None:
    dual, texts = prepared(), Rows(text=TEXTS)
    positives = Views(texts, views=[ViewEntry(TextCrop(), side="query"), ViewEntry(TextCrop(), side="key")])
    draws = np.zeros((2, 3), np.int64)
    for role in ROLES:
        seen = augment(positives, dual, role, np.array([3, 5]), draws)
        assert isinstance(seen, TwoSidedInputs)
        assert set(seen.parts) == {role}


def test_a_side_tells_what_its_tower_does_and_nothing_else() -> None:
    """Sizes of pictures, tokens and languages: what is asked of a side is not lost between it and its tower."""
    pytest.importorskip("timm", reason="the extra images is not installed")
    image = nf.encoders.Image("small", size=64, model_args={"widths": [8, 16]})
    text = Static(dim=16, vocabulary=300)
    text.prepare([ListColumn("text", TEXTS)])
    dual = Dual(image, text)
    pictures, words = dual.side("query"), dual.side("key")
    assert (picture_size(pictures), picture_size(words)) == (64, None)
    assert (isinstance(pictures, Tokenises), isinstance(words, Tokenises)) == (False, True)
    assert isinstance(words, KnowsLanguages) == isinstance(text, KnowsLanguages)
    assert not isinstance(words, ReadsPictures)
    scaled = for_reader(StreamedAugmentation(ImageAugmentation("simclr"), 0), pictures, 0.5)
    picture = np.zeros((90, 120, 3), np.uint8)
    [view] = augmented_cells(scaled, [picture], np.zeros((1, 3), np.int64), "view", np.zeros(1, np.int64))
    assert view.shape == (32, 32, 3)


def test_keys_that_a_tower_reads_alike_are_one_key() -> None:
    positives = Columns(Rows(query=["near", "far", "push"], key=["pull near", "Pull  Near", "push far"]))
    dual = Dual(Static(dim=8, vocabulary=300), Static(dim=8, vocabulary=300, seed=1))
    prepare_sides(dual, positives)
    lower = [dual.towers["key"].tokenise([text])[0].tolist() for text in ("pull near", "Pull  Near")]
    batch = as_read(dual, positives).batch(np.arange(3)).pairs
    assert lower[0] == lower[1]  # nearfar's own tokenizer lowers case
    assert batch.key_item[0] == batch.key_item[1]


def test_the_laboratory_says_that_it_has_one_encoder(tmp_path: Path) -> None:
    folder = nf.Model(prepared()).save(tmp_path / "model")
    with pytest.raises(InputError, match="a model of two towers"):
        _one_encoder(str(folder))
