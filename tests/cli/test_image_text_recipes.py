"""The recipes of pictures with captions, from the command line; a folder of CLIP or SigLIP goes through and back."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import nearfar as nf
from nearfar import recipes
from nearfar.errors import InputError
from tests.cli.calling import Run
from tests.encoders.tiny_towers import FAMILIES, TEXTS, features, pictures, save_families
from tests.training.captioned_pictures import small_settings, write_captions
from tests.training.small_picture_recipes import state
from tests.training.test_log import lines

pytest.importorskip("PIL", reason="the extra images is not installed")
pytest.importorskip("timm", reason="the extra images is not installed")

NAMES = [name for name in recipes.catalogue() if recipes.load(name)["data"]["name"] == "image_text"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_captions(tmp_path_factory.mktemp("captions"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return save_families(tmp_path_factory.mktemp("towers"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))


def test_there_is_a_recipe_for_each_method() -> None:
    assert {"clip", "siglip", "clip_finetune", "locked"} <= set(NAMES)
    clip, siglip = recipes.load("clip"), recipes.load("siglip")
    assert {**clip, "loss": None} == {**siglip, "loss": None}  # they differ in the loss alone


def test_clip_is_trained_judged_and_searched(table: Path, tmp_path: Path, nearfar: Run) -> None:
    settings = [f"{key}={json.dumps(value)}" for key, value in small_settings(table).items()]
    done = nearfar("train", "clip", *settings, "--out", str(tmp_path / "run"), "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert {"hit_rate@1", "hit_rate@5", "hit_rate@10", "modality_gap", "mrr@10"} <= set(found["metrics"])
    assert found["heldout key-to-query"]["metrics"]["hit_rate@10"] >= 0
    held = [line for line in lines(tmp_path / "run") if line["event"] == "heldout"]
    assert [line["step"] for line in held][:: len(held) - 1] == [1, 8]
    assert all({"hit_rate@1", "hit_rate@5", "hit_rate@10", "heldout_loss"} <= set(line) for line in held)
    model, photographs = str(tmp_path / "run" / "model"), str(table.parent / "pictures")
    done = nearfar("search", model, photographs, "red on the left", "--json")
    assert done.code == 0, done.err
    assert len(json.loads(done.out)) == 10
    done = nearfar(
        "label", "zero-shot", model, photographs, "--classes", "red,blue", "--out", str(tmp_path / "labels.csv")
    )
    assert done.code == 0, done.err
    assert len((tmp_path / "labels.csv").read_text().splitlines()) == 41


def test_clip_begins_from_words_that_captions_have_taught(table: Path, tmp_path: Path, nearfar: Run) -> None:
    common = [f"data.path={table}", "encoder.dim=16", "encoder.vocabulary=300", "training.epochs=2"]
    words = str(tmp_path / "words")
    done = nearfar("train", "caption_words", *common, "training.batch_size=16", "--out", words, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["metrics"]["hit_rate@10"] > 0
    given = small_settings(table, epochs=1, learning_rate=1e-9)
    given |= {"encoder.key": {"name": "static", "model": f"{words}/model"}, "encoder.query.head.sizes": [16]}
    settings = [f"{key}={json.dumps(value)}" for key, value in given.items()]
    done = nearfar("train", "clip", *settings, "encoder.key_rate=0.2", "--out", str(tmp_path / "run"), "--json")
    assert done.code == 0, done.err
    after = nf.Model.load(tmp_path / "run" / "model").embed(["red on the left"], role="key")
    np.testing.assert_allclose(after, nf.Model.load(f"{words}/model").embed(["red on the left"]), atol=1e-5)


def test_siglip_is_trained_with_its_own_loss(table: Path, tmp_path: Path) -> None:
    run = nf.train("siglip", small_settings(table, learning_rate=0.01), out=tmp_path / "run", baselines=[], quiet=True)
    assert run is not None and all(math.isfinite(value) for value in run.metrics.values())
    tensors = state(tmp_path / "run")
    scale, bias = (tensors[f"module/loss.{name}"].item() for name in ("scale.log", "bias"))
    assert abs(scale - math.log(10)) > 1e-4 < abs(bias + 10)  # both are trained


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_of_two_towers_is_finetuned_and_goes_back(
    family: str, folders: dict[str, Path], table: Path, tmp_path: Path
) -> None:
    losses: dict[str, Any] = {"clip": {}, "siglip": {"loss.name": "sigmoid", "loss.bias": "learnt"}}
    settings = {"data.path": str(table), "data.heldout": 0.25, "encoder.model": str(folders[family])}
    settings |= {"loss.temperature": "learnt", **losses[family], "training.validation": 0, "training.precision": "fp32"}
    settings |= {"training.steps": 4, "training.batch_size": 16, "training.learning_rate": 0.003}
    run = nf.train("clip_finetune", settings, out=tmp_path / "run", baselines=[], quiet=True)
    assert run is not None
    folder = run.folder / "model"

    tensors, before = (load_file(place / "model.safetensors") for place in (folder, folders[family]))
    trained = {"logit_scale": "scale.log", "logit_bias": "bias"}
    for name, of_loss in trained.items():
        assert (name in tensors) == (name in before) == (name == "logit_scale" or family == "siglip")
        if name in tensors:
            learnt = state(run.folder)[f"module/loss.{of_loss}"]
            torch.testing.assert_close(tensors[name].reshape(()), learnt, atol=1e-5, rtol=0)
            assert abs(tensors[name].item() - before[name].item()) > 1e-3
    assert run.model.encoder.learnt["temperature"] == pytest.approx(math.exp(-tensors["logit_scale"].item()))

    again = nf.Model.load(folder)
    of_texts, of_pictures = features(folder, TEXTS)
    np.testing.assert_allclose(again.embed(TEXTS, role="key"), of_texts, atol=1e-5, rtol=0)
    np.testing.assert_allclose(again.embed(pictures(), role="query"), of_pictures, atol=1e-5, rtol=0)
    assert np.abs(of_pictures - features(folders[family], TEXTS)[1]).max() > 1e-3  # it was trained
    _reads_as_before(folder, folders[family])


def _reads_as_before(folder: Path, before: Path) -> None:
    """Assert that tokens and pixels are those of the folder that training began from."""
    import transformers
    from PIL import Image

    auto: Any = transformers
    tokens, pixels = [], []
    for place in (folder, before):
        tokenizer = auto.AutoTokenizer.from_pretrained(place)
        tokens.append(tokenizer(TEXTS, truncation=True)["input_ids"])
        processor = auto.AutoImageProcessor.from_pretrained(place)
        pixels.append(processor([Image.fromarray(one) for one in pictures()], return_tensors="pt")["pixel_values"])
    assert tokens[0] == tokens[1]
    torch.testing.assert_close(pixels[0], pixels[1], atol=1e-6, rtol=0)


def test_what_no_folder_brings_is_named(table: Path, tmp_path: Path) -> None:
    settings = small_settings(table) | {"loss.temperature": "learnt"}
    with pytest.raises(InputError, match=r"loss\.temperature=learnt: the encoder brings no temperature; .* a number"):
        nf.train("clip", settings, out=tmp_path / "run", quiet=True)
    for loss in (nf.losses.InfoNCE, nf.losses.Sigmoid):
        with pytest.raises(InputError, match="'learnt' is filled in where a recipe is trained"):
            loss(temperature="learnt")
    with pytest.raises(InputError, match=r"sigmoid\.bias: 'learnt' is filled in"):
        nf.losses.Sigmoid(bias="learnt")
