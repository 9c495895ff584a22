"""ONNX: the graph and its tokenizer alone give the model's vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nearfar as nf
from nearfar.cli import run
from nearfar.column import ListColumn
from nearfar.encoders.frozen_projection import FrozenProjection
from nearfar.encoders.image import Image
from nearfar.encoders.reading.pooling import MODES, Dense, PaddedEncoder
from nearfar.encoders.static import Static
from nearfar.errors import InputError, RunError
from nearfar.model import Model
from nearfar.storage import onnx as export
from tests.encoders.tiny import TEXTS, tiny
from tests.training.floats import Perceptron

INPUTS = [*TEXTS, "  padded\tout \n", "größe ☃ 東京", "near and far " * 200, "x"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def onnx() -> Any:
    for name in export.REQUIRED_PACKAGES:
        pytest.importorskip(name, reason="the extra onnx is not installed")
    return pytest.importorskip("onnxruntime")


def static(dim: int = 16) -> Static:
    encoder = Static(dim=dim, vocabulary=300, max_length=40)
    encoder.prepare([ListColumn("text", TEXTS)])
    return encoder


def vectors(runtime: Any, folder: Path, texts: list[str]) -> np.ndarray[Any, Any]:
    """Return the vectors (n, dim) that tokenizers and ONNX Runtime alone give."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding()
    encodings = tokenizer.encode_batch(texts)
    ids, mask = (np.array([getattr(e, name) for e in encodings], np.int64) for name in ("ids", "attention_mask"))
    session = runtime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    found: np.ndarray[Any, Any] = session.run(["sentence_embedding"], {"input_ids": ids, "attention_mask": mask})[0]
    return found


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_a_graph_of_pictures_takes_bytes_and_gives_the_models_vectors(onnx: Any, tmp_path: Path, channels: Any) -> None:
    pytest.importorskip("timm", reason="the extra images is not installed")
    args = {"patch_size": 2, "embed_dim": 8, "depths": [1, 1], "feature_dim": 16}
    model = Model(Image("fasternet_t0", model_args=args, size=24, channels=channels, mean=[0.3, 0.4, 0.5]))
    folder = model.export_onnx(tmp_path / "onnx")
    assert sorted(path.name for path in folder.iterdir()) == ["model.onnx", "onnx.json"]
    pixels = np.random.default_rng(0).integers(0, 256, (7, 24, 24, 3), np.uint8)
    session = onnx.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(["picture_embedding"], {"pixels": pixels})
    np.testing.assert_allclose(found, model.embed(list(pixels)), atol=1e-5)


@pytest.mark.parametrize(("kind", "pooling"), [("bert", "mean"), ("bert", ["cls", "max"]), ("qwen3", "lasttoken")])
def test_a_transformers_graph_gives_the_models_vectors(onnx: Any, tmp_path: Path, kind: str, pooling: Any) -> None:
    encoder = tiny(kind, pooling=pooling, max_length=30)
    if pooling == "mean":
        encoder.after.append(Dense(encoder.dim, 12, True, "Tanh"))
        encoder.dim = 12
    model = Model(encoder, {"query": "query near "})
    folder = model.export_onnx(tmp_path / "onnx")
    description = json.loads((folder / "onnx.json").read_text())
    assert description["fingerprint"] == model.fingerprint
    prompt = description["prompts"]["query"]
    for texts in (INPUTS, INPUTS[:1], INPUTS[3:5]):
        np.testing.assert_allclose(vectors(onnx, folder, texts), model.embed(texts), atol=1e-5)
    np.testing.assert_allclose(
        vectors(onnx, folder, [prompt + text for text in INPUTS]), model.embed(INPUTS, "query"), atol=1e-5
    )


def test_two_towers_have_a_graph_each(onnx: Any, tmp_path: Path) -> None:
    model = Model(nf.encoders.Dual(static(32), tiny("distilbert")))
    folder = model.export_onnx(tmp_path / "onnx")
    for role in ("query", "key"):
        found = vectors(onnx, folder / role, INPUTS)
        np.testing.assert_allclose(found, model.embed(INPUTS, role), atol=1e-5)


def test_the_command_prints_the_files(onnx: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = Model(static())
    folder = model.save(tmp_path / "model")
    for _ in range(2):  # the second replaces the first
        assert run(["export", str(folder), "--onnx", str(tmp_path / "out"), "--json"]) == 0
        printed = json.loads(capsys.readouterr().out)
        assert printed["files"] == ["model.onnx", "onnx.json", "tokenizer.json"]
        assert printed["fingerprint"] == model.fingerprint
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("notes")
    assert run(["export", str(folder), "--onnx", str(tmp_path / "full")]) == 2
    assert "holds other things" in capsys.readouterr().err
    assert run(["export", str(folder), "--onnx", str(tmp_path / "full" / "notes.txt")]) == 2
    assert "a file stands" in capsys.readouterr().err


@pytest.mark.parametrize("mode", MODES)
def test_padded_pooling_is_the_packed_one(mode: str) -> None:
    encoder = tiny("bert", pooling=mode).double()
    padded, _, _ = encoder.padded_encoder()
    inputs = encoder.inputs(TEXTS)
    size = torch.from_numpy(inputs.costs())
    mask = torch.arange(int(size.max())) < size[:, None]  # (n, l)
    ids = torch.zeros(mask.shape, dtype=torch.int64).masked_scatter(mask, inputs.ids)
    assert isinstance(padded, PaddedEncoder)
    torch.testing.assert_close(padded(ids, mask.long()).double(), encoder(inputs), rtol=1e-6, atol=1e-6)


def test_an_encoder_that_cannot_be_exported_is_named(onnx: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Perceptron has no form in ONNX; known: static, transformer"):
        export.export_onnx(Perceptron(), tmp_path / "onnx", {})


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "REQUIRED_PACKAGES", ("no_such_package",))
    with pytest.raises(InputError, match=r"no_such_package is not installed; pip install 'nearfar\[onnx\]'"):
        Model(static()).export_onnx(tmp_path / "onnx")


def test_a_graph_that_gives_other_vectors_is_not_kept(
    onnx: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(RunError, match="vectors differ from the model's"):
        Model(static()).export_onnx(tmp_path / "onnx")
    assert list(tmp_path.glob("*onnx*")) == []


def test_a_layer_over_an_encoder_is_in_the_graph(onnx: Any, tmp_path: Path) -> None:
    encoder = FrozenProjection(tiny("bert", max_length=40), dim=20)
    with torch.no_grad():
        encoder.projection.linear.weight += 0.1 * torch.randn(20, 32, generator=torch.Generator().manual_seed(0))
    model = Model(encoder)
    np.testing.assert_allclose(
        vectors(onnx, model.export_onnx(tmp_path / "onnx"), INPUTS), model.embed(INPUTS), atol=1e-5
    )
