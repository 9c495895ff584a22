"""A layer over an encoder: the identity at first, cached, trained alone, and the same in sentence-transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import nearfar as nf
from nearfar.column import ListColumn
from nearfar.encoders.dual import Dual
from nearfar.encoders.frozen_projection import FrozenProjection
from nearfar.encoders.reading.vectors import VectorInputs
from nearfar.encoders.static import Static
from nearfar.errors import InputError
from nearfar.losses.infonce import InfoNCE
from nearfar.positives.columns import Columns
from nearfar.training.fit import fit
from tests.encoders.tiny import TEXTS, tiny
from tests.training.runs import SETTINGS, rows


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))


def projected(kind: str = "bert", **more: Any) -> FrozenProjection:
    """A layer that is not the identity any more."""
    encoder = FrozenProjection(tiny(kind), **more)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in encoder.projection.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    return encoder


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 12))
def test_it_begins_as_the_first_coordinates(dim: int) -> None:
    inner = Static(dim=12, vocabulary=300)
    encoder = FrozenProjection(inner, dim=dim)
    encoder.prepare([ListColumn("text", TEXTS)])
    expected = nf.Model(inner).embed(TEXTS, dim=dim)
    np.testing.assert_allclose(nf.Model(encoder).embed(TEXTS), expected, atol=1e-6)


def test_it_is_the_layer_of_the_inner_unit_vectors() -> None:
    encoder = projected()
    x = np.float64(nf.Model(encoder.of).embed(TEXTS))
    weight, bias = (p.detach().double().numpy() for p in encoder.projection.parameters())
    y = x @ weight.T + bias
    np.testing.assert_allclose(nf.Model(encoder).embed(TEXTS), y / np.linalg.norm(y, axis=1, keepdims=True), atol=1e-6)


def test_a_column_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, column = projected(), ListColumn("text", TEXTS)
    first = encoder.store(column)
    asked: list[Any] = []
    monkeypatch.setattr(encoder.of, "inputs", asked.append)
    again = encoder.store(column)
    every = np.arange(len(TEXTS))
    torch.testing.assert_close(again[every].vectors, first[every].vectors, atol=0, rtol=0)
    assert asked == []
    monkeypatch.undo()
    with torch.no_grad():
        next(encoder.of.parameters()).add_(1)  # another inner encoder: other vectors
    assert not torch.equal(encoder.store(column)[every].vectors, first[every].vectors)


def test_each_content_of_a_column_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, plain, asked = projected(), projected(), list[str]()
    inputs = encoder.of.inputs

    def counted(cell: str) -> str:
        asked.append(cell)
        return cell

    monkeypatch.setattr(encoder.of, "inputs", lambda cells: inputs([*map(counted, cells)]))
    cells = [TEXTS[i] for i in (3, 1, 3, 0, 1, 1)]
    store, rows = encoder.store(ListColumn("text", cells)), np.array([5, 2, 0, 3])
    assert asked == [TEXTS[3], TEXTS[1], TEXTS[0]]
    wanted = cast("VectorInputs", plain.inputs([cells[row] for row in rows])).vectors
    torch.testing.assert_close(store[rows].vectors, wanted, atol=5e-3, rtol=0)  # it may be made in bf16


def test_training_moves_the_layer_alone(tmp_path: Path) -> None:
    encoder = FrozenProjection(tiny("bert", dropout=0.5))
    before = {name: weight.clone() for name, weight in encoder.state_dict().items()}
    run = fit(encoder, Columns(rows()), InfoNCE(), out=tmp_path / "run", quiet=True, **{**SETTINGS, "steps": 5})
    trained: Any = run.model.encoder
    after = trained.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"projection.linear.weight", "projection.linear.bias"}


@pytest.mark.parametrize("inner", ["bert", "static"])
def test_sentence_transformers_gives_the_same_vectors(inner: str, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    if inner == "static":
        encoder = FrozenProjection(Static(dim=12, vocabulary=300), dim=8)
        encoder.prepare([ListColumn("text", TEXTS)])
    else:
        encoder = projected(dim=20)
    model = nf.Model(encoder, {"query": "near "})
    folder = model.save(tmp_path / "model")
    again = nf.Model.load(folder)
    assert again.fingerprint == model.fingerprint
    expected = model.embed(TEXTS, role="query")
    np.testing.assert_array_equal(again.embed(TEXTS, role="query"), expected)
    theirs = SentenceTransformer(str(folder), device="cpu").encode(TEXTS, prompt_name="query")
    np.testing.assert_allclose(theirs, expected, atol=1e-5)


def test_an_inner_encoder_keeps_its_own_layers(tmp_path: Path) -> None:
    plain = nf.Model(projected(dim=20)).save(tmp_path / "inner")
    (plain / "nearfar.json").unlink()  # now it is a folder of sentence-transformers
    assert nf.Model.load(plain).dim == 20
    layered = [nf.Model.load(plain).encoder for _ in range(3)]
    for outer in (FrozenProjection(layered[0]), Dual(*layered[1:])):
        folder = nf.Model(outer).save(tmp_path / f"outer-{type(outer).__name__}")
        np.testing.assert_array_equal(nf.Model.load(folder).embed(TEXTS), nf.Model(outer).embed(TEXTS))


def test_prompts_go_on_with_the_encoder(tmp_path: Path) -> None:
    inner = tiny("bert", prompts={"query": "near "})
    folder = nf.Model(FrozenProjection(inner, prompts={"key": "far "})).save(tmp_path / "model")
    again = nf.Model.load(folder)
    assert again.prompts == again.encoder.prompts == {"query": "near ", "key": "far "}
    with pytest.raises(InputError, match="no role 'querry'"):
        FrozenProjection(inner, prompts={"querry": "x"})


def test_what_the_inner_encoder_does_not_know_has_no_place(tmp_path: Path) -> None:
    inner = Static(dim=8, vocabulary=300)
    inner.prepare([ListColumn("text", ["pull near", "push far"])])
    encoder = FrozenProjection(inner)
    with torch.no_grad():
        encoder.projection.linear.bias.add_(1)
        for token in set(inner.inputs(["pull"]).tokens.tolist()) - set(inner.inputs(["near"]).tokens.tolist()):
            inner.embedding.weight[token] = 0
    with pytest.raises(InputError, match="row 2 has no vector"):
        nf.Model(encoder).embed(["near", "pull"])
    with pytest.raises(InputError, match="row 2"):
        encoder.store(ListColumn("text", ["near", "pull"]))


def test_a_model_is_read_from_the_hubs_cache_and_from_no_other_links(tmp_path: Path) -> None:
    saved = nf.Model(projected()).save(tmp_path / "model")
    snapshot, blobs = tmp_path / "cache" / "snapshots" / "abc", tmp_path / "cache" / "blobs"
    blobs.mkdir(parents=True)
    for i, path in enumerate(sorted(path for path in saved.rglob("*") if path.is_file())):
        (blobs / str(i)).write_bytes(path.read_bytes())
        link = snapshot / path.relative_to(saved)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blobs / str(i))
    assert nf.Model.load(snapshot).fingerprint == nf.Model.load(saved).fingerprint
    weights = saved / "projection" / "model.safetensors"
    outside = weights.rename(tmp_path / "outside.safetensors")
    weights.symlink_to(outside)
    with pytest.raises(InputError, match="a link that leaves the folder"):
        nf.Model.load(saved)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two towers"):
        FrozenProjection(Dual(Static(dim=4), Static(dim=4)))
    with pytest.raises(InputError, match=r"encoder\.dim: 9"):
        FrozenProjection(Static(dim=8), dim=9)
    folder = nf.Model(projected()).save(tmp_path / "model")
    path = folder / "projection" / "model.safetensors"
    weights = load_file(path)
    save_file({**weights, "linear.bias": torch.zeros(3)}, path)
    with pytest.raises(InputError, match="do not belong together"):
        nf.Model.load(folder)
    path.unlink()
    with pytest.raises(InputError, match="no such file"):
        nf.Model.load(folder)
    description = json.loads((folder / "nearfar.json").read_text())
    description["encoder"].pop("of")
    (folder / "nearfar.json").write_text(json.dumps(description))
    with pytest.raises(InputError, match="does not say which encoder this is"):
        nf.Model.load(folder)
