"""Folders of CLIP and SigLIP: read as a dual, with transformers' own features, and saved as such again."""

from __future__ import annotations

import json
import math
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import nearfar as nf
from nearfar import registry
from nearfar.column import ListColumn
from nearfar.encoders.dual import Dual
from nearfar.encoders.image import Image
from nearfar.encoders.transformer import Transformer
from nearfar.errors import InputError
from tests.encoders.tiny_towers import (
    FAMILIES,
    LENGTH,
    TEXTS,
    edited,
    features,
    image_processor,
    pictures,
    save_clip,
    save_families,
)

WIDE: dict[str, Any] = {"atol": 1e-5, "rtol": 0}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return save_families(tmp_path_factory.mktemp("towers"))


@pytest.mark.parametrize("family", FAMILIES)
def test_its_vectors_are_the_features_of_transformers(family: str, folders: dict[str, Path]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no text is padded for want of packing
        model = nf.Model.load(folders[family])
    of_texts, of_pictures = features(folders[family], TEXTS)
    np.testing.assert_allclose(model.embed(TEXTS, role="query"), of_texts, **WIDE)
    np.testing.assert_allclose(model.embed(pictures(), role="key"), of_pictures, **WIDE)
    assert (
        np.abs(of_texts[0] - of_texts[1:]).max(1).min() > 0.01 < np.abs(of_pictures[0] - of_pictures[1:]).max(1).min()
    )
    store = model.encoder.side("key").store(ListColumn("image", pictures()))
    with torch.no_grad():
        raw = model.encoder(store[np.arange(len(pictures()))])
    np.testing.assert_allclose(torch.nn.functional.normalize(raw, dim=1), of_pictures, **WIDE)


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_again_all_tools_read_the_same(family: str, folders: dict[str, Path], tmp_path: Path) -> None:
    model = nf.Model.load(folders[family])
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.mul_(1.1)  # it was trained
    model = nf.Model(model.encoder)
    folder = model.save(tmp_path / "again")
    again = nf.Model.load(folder)
    assert again.fingerprint == model.fingerprint
    (folder / "nearfar.json").unlink()
    assert nf.Model.load(folder).fingerprint == model.fingerprint  # as a folder of another tool
    of_texts, of_pictures = features(folder, TEXTS)
    np.testing.assert_allclose(again.embed(TEXTS, role="query"), of_texts, **WIDE)
    np.testing.assert_allclose(again.embed(pictures()), of_pictures, **WIDE)


def test_what_is_learnt_is_kept_for_a_loss_to_go_on(folders: dict[str, Path], tmp_path: Path) -> None:
    clip, siglip = (Dual(model=str(folders[family])) for family in FAMILIES)
    tensors = {family: load_file(folders[family] / "model.safetensors") for family in FAMILIES}
    assert clip.learnt == {"temperature": pytest.approx(math.exp(-tensors["clip"]["logit_scale"]))}
    assert siglip.learnt["bias"] == float(tensors["siglip"]["logit_bias"])
    assert set(siglip.learnt) == {"temperature", "bias"}
    nf.losses.InfoNCE(**clip.learnt, learnable=True)
    nf.losses.Sigmoid(**siglip.learnt, learnable=True)
    siglip.learnt = {"temperature": 0.02, "bias": -9.5}
    folder = nf.Model(siglip).save(tmp_path / "again")
    assert nf.Model.load(folder).encoder.learnt == pytest.approx(siglip.learnt)
    assert float(load_file(folder / "model.safetensors")["logit_scale"]) == pytest.approx(math.log(50))


def test_queries_are_pictures_where_it_is_said(folders: dict[str, Path], tmp_path: Path) -> None:
    spec = {"name": "dual", "model": str(folders["clip"])}
    plain = nf.Model(registry.build("encoders", spec))
    turned = nf.Model(registry.build("encoders", {**spec, "query_kind": "image"}))
    np.testing.assert_array_equal(turned.embed(TEXTS, role="key"), plain.embed(TEXTS, role="query"))
    np.testing.assert_array_equal(turned.embed(pictures(), role="query"), plain.embed(pictures(), role="key"))
    again = nf.Model.load(turned.save(tmp_path / "turned"))
    assert again.fingerprint == turned.fingerprint != plain.fingerprint
    np.testing.assert_array_equal(again.embed(TEXTS, role="key"), plain.embed(TEXTS, role="query"))


def test_a_long_caption_keeps_its_end_token(folders: dict[str, Path]) -> None:
    for family in FAMILIES:
        tower = Transformer(str(folders[family]))
        assert tower.tokenizer is not None
        ids, lengths = tower.tokenise([" ".join(TEXTS * 9), "near"])
        end = tower.tokenizer.tokenizer.eos_token_id
        assert lengths[0] == LENGTH and ids[LENGTH - 1] == end
        assert lengths[1] == (LENGTH if family == "siglip" else 3 if ids[LENGTH + 1] == end else 6)


def test_a_text_ends_at_its_first_end_token(folders: dict[str, Path]) -> None:
    texts = ["near <|endoftext|> far", "near"]
    of_texts, _ = features(folders["clip"], texts)
    found = nf.Model.load(folders["clip"]).embed(texts, role="query")
    np.testing.assert_allclose(found, of_texts, **WIDE)
    np.testing.assert_allclose(found[0], found[1], **WIDE)


def test_an_old_config_names_another_end_token(tmp_path: Path) -> None:
    """With eos_token_id 2, transformers pools at the token of the highest id, which is the end token."""
    save_clip(tmp_path / "old", eos_token_id=2)
    of_texts, _ = features(tmp_path / "old", TEXTS)
    np.testing.assert_allclose(nf.Model.load(tmp_path / "old").embed(TEXTS, role="query"), of_texts, **WIDE)


def test_the_fingerprint_covers_tokenizer_and_preprocessing(folders: dict[str, Path], tmp_path: Path) -> None:
    known = {nf.Model.load(folders["clip"]).fingerprint}
    for change in (
        image_processor(resample=2),
        image_processor(size={"shortest_edge": 34}),
        image_processor(image_mean=[0.1, 0.2, 0.3]),
        _shorter,
    ):
        shutil.rmtree(tmp_path / "model", ignore_errors=True)
        shutil.copytree(folders["clip"], tmp_path / "model")
        change(tmp_path / "model")
        model = nf.Model.load(tmp_path / "model")
        assert model.fingerprint not in known
        known.add(model.fingerprint)
        of_texts, of_pictures = features(tmp_path / "model", TEXTS)
        np.testing.assert_allclose(model.embed(TEXTS, role="query"), of_texts, **WIDE)
        np.testing.assert_allclose(model.embed(pictures()), of_pictures, atol=1e-3)  # bilinear bytes may differ by one


def _shorter(folder: Path) -> None:
    edited("tokenizer_config.json", model_max_length=LENGTH - 3)(folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_tower_stands_alone(family: str, folders: dict[str, Path], tmp_path: Path) -> None:
    both = nf.Model.load(folders[family])
    for kind, cells, role in ((Transformer, TEXTS, "query"), (Image, pictures(), "key")):
        model = nf.Model(kind(str(folders[family])))
        expected = both.embed(cells, role=role)
        np.testing.assert_array_equal(model.embed(cells), expected)
        folder = model.save(tmp_path / kind.__name__)
        assert nf.Model.load(folder).fingerprint == model.fingerprint
        (folder / "nearfar.json").unlink()
        np.testing.assert_array_equal(nf.Model.load(folder).embed(cells), expected)
    other = Image("small", model_args={"widths": [16, both.dim]}, size=32)
    mixed = nf.Model(Dual(Transformer(str(folders[family])), other))
    assert mixed.encoder.learnt == {}
    folder = mixed.save(tmp_path / "mixed")
    assert nf.Model.load(folder).fingerprint == mixed.fingerprint
    assert json.loads((folder / "nearfar.json").read_text())["forms"] == []


CHANGED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("prompts", {"prompts": {"query": "a photo of "}}, {}),
    ("pooling", {"pooling": "mean"}, {}),
    ("order of channels", {}, {"channels": "bgr"}),
    ("size", {}, {"size": 40}),
    ("content", {}, {"fit": "content"}),
]


@pytest.mark.parametrize(("what", "text", "picture"), CHANGED, ids=[what for what, *_ in CHANGED])
def test_no_form_is_promised_where_there_is_none(
    what: str, text: dict[str, Any], picture: dict[str, Any], folders: dict[str, Path], tmp_path: Path
) -> None:
    clip = str(folders["clip"])
    model = nf.Model(Dual(Transformer(clip, **text), Image(clip, **picture)))
    folder = model.save(tmp_path / "model")
    assert json.loads((folder / "nearfar.json").read_text())["forms"] == [], what
    again = nf.Model.load(folder)
    assert again.fingerprint == model.fingerprint
    np.testing.assert_array_equal(again.embed(pictures()), model.embed(pictures()))


def test_sentence_transformers_reads_and_writes_the_same(folders: dict[str, Path], tmp_path: Path) -> None:
    from PIL import Image as Pillow
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules.clip_model import CLIPModel

    SentenceTransformer(str(folders["clip"]), device="cpu").save(str(tmp_path / "st"))
    modules: Any = [CLIPModel(str(folders["clip"]))]
    SentenceTransformer(modules=modules, device="cpu").save(str(tmp_path / "older"))
    shutil.copytree(tmp_path / "older", tmp_path / "oldest" / "0_CLIPModel")
    row = {"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}
    (tmp_path / "oldest" / "0_CLIPModel" / "modules.json").rename(tmp_path / "oldest" / "modules.json")
    (tmp_path / "oldest" / "modules.json").write_text(json.dumps([row]))
    nf.Model.load(folders["clip"]).save(tmp_path / "ours")
    cells = [Pillow.fromarray(one) for one in pictures()]
    for name in ("st", "older", "oldest", "ours"):
        model, other = nf.Model.load(tmp_path / name), SentenceTransformer(str(tmp_path / name), device="cpu")
        found = other.encode(TEXTS, normalize_embeddings=True)
        np.testing.assert_allclose(model.embed(TEXTS, role="query"), found, **WIDE)
        found = other.encode(cells, normalize_embeddings=True)
        np.testing.assert_allclose(model.embed(pictures(), role="key"), found, **WIDE)


def test_layers_are_frozen_with_all_that_lies_before_them(folders: dict[str, Path]) -> None:
    text, picture = Transformer(str(folders["clip"]), frozen=1), Image(str(folders["clip"]), frozen=1)
    for encoder in (text, picture):
        frozen = {name for name, p in encoder.named_parameters() if not p.requires_grad}
        assert any("embedding" in name for name in frozen) and any(".layers.0." in name for name in frozen)
        assert not any(".layers.1." in name or "projection" in name for name in frozen)
    assert any("pre_layrnorm" in name for name, p in picture.named_parameters() if not p.requires_grad)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_both_towers_are_exported(family: str, folders: dict[str, Path], tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from tokenizers import Tokenizer

    model = nf.Model.load(folders[family])
    folder = model.export_onnx(tmp_path / "onnx")
    tokenizer = Tokenizer.from_file(str(folder / "query" / "tokenizer.json"))
    for text in TEXTS:
        found = tokenizer.encode(text)
        session = onnxruntime.InferenceSession(folder / "query" / "model.onnx")
        (vectors,) = session.run(None, {"input_ids": [found.ids], "attention_mask": [found.attention_mask]})
        np.testing.assert_allclose(vectors, model.embed([text], role="query"), atol=1e-4)
    session = onnxruntime.InferenceSession(folder / "key" / "model.onnx")
    (vectors,) = session.run(None, {"pixels": pictures()[0][None]})
    fits = family == "siglip"  # CLIP's small folder resizes even pictures of its size, which is not in the graph
    if fits:
        np.testing.assert_allclose(vectors, model.embed(pictures()[:1]), atol=1e-4)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"key": {"name": "static", "dim": 8}}, "leave encoder.query and encoder.key out"),
    ({"query_kind": "sound"}, "query_kind"),
    ({"model": None, "query_kind": "image"}, "query_kind is of encoder.model"),
    ({"model": None}, "query, key must be given"),
]


@pytest.mark.parametrize(("more", "message"), WRONG)
def test_settings_that_do_not_fit_are_the_users_error(
    more: dict[str, Any], message: str, folders: dict[str, Path]
) -> None:
    with pytest.raises(InputError, match=message):
        registry.build("encoders", {"name": "dual", "model": str(folders["clip"]), **more})


def test_a_folder_of_one_encoder_is_no_dual(tmp_path: Path, folders: dict[str, Path]) -> None:
    folder = nf.Model(Transformer(str(folders["clip"]))).save(tmp_path / "text")
    with pytest.raises(InputError, match="has one encoder, transformer"):
        Dual(model=str(folder))


def test_resizing_settings_that_do_not_fit_are_the_users_error(folders: dict[str, Path]) -> None:
    clip = str(folders["clip"])
    assert Image(clip, size=64).preprocessing.short_side == 72  # as 36 is to 32
    assert Image(clip, fit="squash").preprocessing.short_side is None
    for settings in ({"short_side": 20}, {"short_side": 40, "fit": "squash"}, {"short_side": 0}):
        with pytest.raises(InputError, match=r"encoder\.short_side"):
            Image(clip, **settings)
    with pytest.raises(InputError, match=r"encoder\.resample must be bilinear or bicubic"):
        Image(clip, resample="nearest")  # type: ignore[arg-type]
