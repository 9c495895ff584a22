"""Folders of CLIP and SigLIP that are damaged or hostile: each is one `InputError`, and no pickle is ever read."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import nearfar as nf
from nearfar.errors import InputError
from tests.encoders.tiny_towers import edited, image_processor, save_families


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    pytest.importorskip("timm")  # imported later, it would make a class of the unpickler that the test replaces
    return save_families(tmp_path_factory.mktemp("towers"))


def _weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        known = load_file(folder / "model.safetensors")
        change(known)
        save_file(known, folder / "model.safetensors", {"format": "pt"})

    return damage


def _sharded(to: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        names = list(load_file(folder / "model.safetensors"))
        (folder / "model.safetensors").rename(folder / "shard-1.safetensors")
        places = {**dict.fromkeys(names, "shard-1.safetensors"), names[0]: to}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))

    return damage


def _no_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()


def _no_end(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["post_processor"] = None
    (folder / "tokenizer.json").write_text(json.dumps(content))
    edited("tokenizer_config.json", tokenizer_class="TokenizersBackend")(folder)


def _code(folder: Path) -> None:
    edited("config.json", auto_map={"AutoModel": "evil.Evil"})(folder)


TEXT, VISION = "text_model.encoder.layers.1.mlp.fc1.weight", "vision_model.encoder.layers.0.mlp.fc1.weight"
HOSTILE: list[tuple[str, str, Callable[[Path], object], str]] = [
    ("clip", "code", _code, "asks to run code"),
    ("clip", "no processor", lambda f: (f / "processor_config.json").unlink(), r"no preprocessor_config\.json, nor a"),
    ("siglip", "no processor", lambda f: (f / "preprocessor_config.json").unlink(), "how its pictures are resized"),
    ("clip", "no tokenizer", _no_tokenizer, "its tokenizer"),
    ("siglip", "no tokenizer", _no_tokenizer, "its tokenizer cannot be read"),
    ("clip", "no end token", _no_end, "ends no text with the end token"),
    (
        "clip",
        "another end token",
        edited("config.json", text_config__eos_token_id=7),
        "ends no text with the end token",
    ),
    ("clip", "a list of end tokens", edited("config.json", text_config__eos_token_id=[1, 2]), "eos_token_id"),
    ("siglip", "no padding token", edited("tokenizer_config.json", pad_token=None), "has no pad_token"),
    ("clip", "no weights", lambda f: (f / "model.safetensors").unlink(), "no such file"),
    (
        "clip",
        "a pickle",
        lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
        r"pytorch_model\.bin is a pickle",
    ),
    ("clip", "a pickle for a shard", _sharded("weights.bin"), "'weights.bin'; a plain name inside the folder"),
    ("siglip", "a shard outside", _sharded("../shard-1.safetensors"), "a plain name inside the folder"),
    ("clip", "no shard", _sharded("shard-2.safetensors"), r"shard-2\.safetensors: no such file"),
    ("clip", "no text tensor", _weights(lambda t: t.pop(TEXT)), f"the weights lack {TEXT}"),
    ("clip", "no picture tensor", _weights(lambda t: t.pop(VISION)), f"the weights lack {VISION}"),
    ("clip", "no projection", _weights(lambda t: t.pop("visual_projection.weight")), "lack visual_projection.weight"),
    ("siglip", "no head", _weights(lambda t: t.pop("vision_model.head.probe")), "lack vision_model.head.probe"),
    ("siglip", "no bias", _weights(lambda t: t.pop("logit_bias")), "lack logit_bias"),
    ("clip", "a tensor more", _weights(lambda t: t.update(evil=torch.ones(2))), "hold evil, for which"),
    ("clip", "a turned tensor", _weights(lambda t: t.update({TEXT: t[TEXT].T.contiguous()})), f"{TEXT} is .32, 48."),
    ("siglip", "a turned tensor", _weights(lambda t: t.update({VISION: t[VISION].T.contiguous()})), "config.json asks"),
    ("clip", "infinite", _weights(lambda t: t[VISION].fill_(torch.inf)), "not finite"),
    ("clip", "a scale without end", _weights(lambda t: t["logit_scale"].fill_(1e9)), "logit_scale is 1e[+]09"),
    ("clip", "fewer layers", edited("config.json", text_config__num_hidden_layers=1), "the weights hold text_model"),
    ("clip", "layers without end", edited("config.json", vision_config__num_hidden_layers=10**8), "is 1e[+]08"),
    (
        "clip",
        "a vocabulary without end",
        edited("config.json", text_config__vocab_size=10**9),
        "vocab_size is 1e[+]09",
    ),
    ("clip", "another projection", edited("config.json", projection_dim=24), "config.json asks"),
    ("siglip", "another patch", edited("config.json", vision_config__patch_size=4), "config.json asks|asks for"),
    ("clip", "four channels", edited("config.json", vision_config__num_channels=4), "asks for|num_channels is 4"),
    (
        "siglip",
        "no pooling",
        edited("config.json", vision_config__vision_use_head=False),
        "vision_use_head|hold vision",
    ),
    ("clip", "no config of texts", edited("config.json", text_config=[1]), "transformers cannot read|config"),
    ("clip", "another family", edited("config.json", model_type="blip"), "reads clip and siglip alone"),
    (
        "clip",
        "another processor",
        image_processor(image_processor_type="EvilProcessor"),
        "image_processor_type 'EvilProcessor'",
    ),
    ("clip", "another size", image_processor(crop_size={"height": 24, "width": 24}), "gives pictures of 24 pixels"),
    ("clip", "no square", image_processor(crop_size={"height": 32, "width": 24}), "is no square"),
    ("clip", "a border", image_processor(size={"shortest_edge": 20}), "crop_size is 32 and size 20"),
    ("clip", "no cut", image_processor(do_center_crop=False), "do_center_crop is off"),
    ("clip", "no resizing", image_processor(do_resize=False), "do_resize is False"),
    ("clip", "another factor", image_processor(rescale_factor=1.0), "rescale_factor must be 1/255"),
    ("clip", "another resample", image_processor(resample=1), "resample must be 2"),
    ("clip", "a mean of two", image_processor(image_mean=[0.1, 0.2]), "image_mean must be three numbers"),
    ("clip", "no deviation", image_processor(image_std=[0, 1, 1]), "image_std must be three numbers above 0"),
    ("clip", "pixels without end", image_processor(size={"shortest_edge": 10**9}), "must be 1 to 4096 pixels"),
    ("clip", "a processor that is none", lambda f: (f / "processor_config.json").write_text("[1]"), "not an object"),
]


@pytest.mark.parametrize(
    ("family", "kind", "damage", "message"), HOSTILE, ids=[f"{family}: {kind}" for family, kind, *_ in HOSTILE]
)
def test_a_hostile_folder_is_one_error(
    family: str,
    kind: str,
    damage: Callable[[Path], object],
    message: str,
    folders: dict[str, Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(folders[family], tmp_path / "model")
    damage(tmp_path / "model")
    for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads"), (pickle, "Unpickler")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.exit("a pickle was read"))
    with pytest.raises(InputError, match=message) as caught:
        nf.Model.load(tmp_path / "model")
    assert str(tmp_path) in str(caught.value), kind
    assert capfd.readouterr().err == ""


def test_a_sharded_folder_is_read(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(folders["clip"], tmp_path / "model")
    _sharded("shard-1.safetensors")(tmp_path / "model")
    assert nf.Model.load(tmp_path / "model").fingerprint == nf.Model.load(folders["clip"]).fingerprint
