"""A network of timm by its architecture's name: new, or with the weights of a folder; written as timm reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nearfar.compute.fp32_products import replace_linear_layers
from nearfar.contracts import ForeignForm
from nearfar.encoders.image_networks.few_patches import choose_in_timm
from nearfar.encoders.image_networks.preprocessing import Made, Preprocessing, made_for
from nearfar.encoders.image_networks.timm_arguments import checked_args
from nearfar.encoders.pretrained.numbers import Shapes
from nearfar.encoders.pretrained.shards import read_shards, shapes_of
from nearfar.errors import InputError, nearest
from nearfar.storage.folders import write_text
from nearfar.storage.model_files import read_settings
from nearfar.storage.weights import write_weights
from nearfar.text.tokenizer import library_errors

Stem = Literal["auto", "small", "own"]
SMALL_STEM = 64  # pixels up to which a ResNet's stem keeps the size of the picture
EXAMPLE = """
import timm, torch
from PIL import Image

model = timm.create_model("local-dir:path/to/this/folder", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
pixels = transform(Image.open("picture.jpg").convert("RGB"))[None]
vectors = torch.nn.functional.normalize(model(pixels), dim=1)
"""


class TimmNetwork(nn.Module):
    """A timm network without classes: normalised pixels (n, 3, h, w) -> pooled features (n, d).

    size: the side of the pictures that it will read. stem: small makes a ResNet's first convolution 3 x 3 of stride 1
    and leaves out its pooling (Chen et al. 2020, arXiv:2002.05709, appendix B.9); auto does so up to 64 pixels.

    Errors: timm's own for arguments that it refuses; `InputError` for a small stem of what is no ResNet.
    """

    def __init__(self, architecture: str, args: Mapping[str, Any], size: int, stem: Stem, seed: int) -> None:
        super().__init__()
        config = _config(architecture)
        self.architecture = architecture
        self.fixed = bool(config.get("fixed_input_size")) and not args.get("dynamic_img_size")
        self.args = {name: value for name, value in args.items() if name != "img_size" or not self.fixed}
        given = {**self.args, **({"img_size": size} if self.fixed else {})}
        self.network = _create(architecture, given, seed)
        self.made: Made = made_for(architecture, config, size="input_size", mean="mean", std="std")
        self.stem: Stem = self._stem(stem, size, seed)
        choose_in_timm(self.network)
        replace_linear_layers(self.network)

    def _stem(self, stem: Stem, size: int, seed: int) -> Stem:
        from timm.models.resnet import ResNet

        network: Any = self.network
        is_resnet = isinstance(network, ResNet)
        if stem == "small" and not is_resnet:
            raise InputError(f"encoder.stem: small is for timm's ResNets, {self.architecture} is none; leave stem out")
        if not is_resnet or stem == "own" or (stem == "auto" and size > SMALL_STEM):
            return "own"
        first: Any = network.conv1[0] if isinstance(network.conv1, nn.Sequential) else network.conv1
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            conv = nn.Conv2d(3, first.out_channels, 3, 1, 1, bias=first.bias is not None)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")  # as timm does
        if isinstance(network.conv1, nn.Sequential):
            network.conv1[0] = conv
        else:
            network.conv1 = conv
        network.maxpool = nn.Identity()
        return "small"

    def forward(self, x: Tensor) -> Tensor:
        """Return features (n, d)."""
        found: Tensor = self.network(x)
        return found

    @property
    def has_states(self) -> bool:
        """Whether it has states of patches: a vision transformer."""
        return hasattr(self.network, "num_prefix_tokens")

    def states(self, x: Tensor) -> Tensor:
        """Return the states of the patches (n, p, d), row by row of the picture, without those before them."""
        network: Any = self.network
        states: Tensor = network.forward_features(x)  # (n, p, d), or in some (n, height, width, d)
        return states.flatten(1, -2)[:, network.num_prefix_tokens :]

    def layers(self) -> list[list[nn.Parameter]]:
        """Return the parameters of the stem, then of each block or stage, and of what follows them."""
        from timm.models import group_parameters

        network: Any = self.network
        groups = group_parameters(network, network.group_matcher(coarse=True), return_values=True)
        return [groups[number] for number in sorted(groups)]

    def described(self) -> str:
        """Return what the vectors depend on and the weights do not show."""
        args = {name: value for name, value in self.args.items() if "drop" not in name}  # those are of training
        return json.dumps([self.architecture, args, self.stem], sort_keys=True)

    def untrained(self, size: int, seed: int) -> TimmNetwork:
        """Return it with random weights, for pictures of this size."""
        return TimmNetwork(self.architecture, self.args, size, self.stem, seed)

    def refuse_other_shapes(self, folder: Path, shapes: Shapes) -> None:
        """Refuse a folder with tensors too few, too many, or of other shapes. Errors: `InputError` naming one."""
        expected = {name: tuple(tensor.shape) for name, tensor in self.network.state_dict().items()}
        found = {name: shape for name, shape in shapes.items() if name in expected or not self._is_of_classes(name)}
        for name in sorted(expected.keys() | found.keys()):
            if (has := found.get(name)) != (asked := expected.get(name)):
                raise InputError(
                    f"{folder}: {name} is {has or 'nothing'}, the network of config.json asks for "
                    f"{asked or 'nothing'}; the folder's files do not belong together, or an old timm wrote them"
                )

    def _is_of_classes(self, name: str) -> bool:
        """Return whether a tensor is of the layer of classes, which is left out."""
        network: Any = self.network
        layers = network.pretrained_cfg.get("classifier") or ()
        return name.startswith(tuple(f"{layer}." for layer in ([layers] if isinstance(layers, str) else layers)))

    def load(self, folder: Path) -> None:
        """Read the weights of a folder whose shapes fit."""
        own = self.network.state_dict()
        self.network.load_state_dict({name: tensor for name, tensor in read_shards(folder).items() if name in own})

    def write(self, folder: Path, preprocessing: Preprocessing) -> list[ForeignForm]:
        """Write config.json and model.safetensors as timm reads them; no form where timm has no such stem or order."""
        network: Any = self.network
        own, size = network.pretrained_cfg, preprocessing.size or self.made.size
        args = {**self.args, **({"img_size": size} if self.fixed else {})}
        config = {
            "architecture": self.architecture,
            "num_classes": 0,
            **({"model_args": args} if args else {}),
            "pretrained_cfg": {
                "custom_load": False,
                "input_size": [3, size, size],
                "fixed_input_size": self.fixed,
                "interpolation": "bilinear",
                "crop_pct": 1.0,
                "crop_mode": "center" if preprocessing.fit == "crop" else "squash",
                "mean": list(preprocessing.mean),
                "std": list(preprocessing.std),
                "num_classes": 0,
                "first_conv": own.get("first_conv"),
                "classifier": own.get("classifier"),
            },
        }
        write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")
        write_weights(folder / "model.safetensors", dict(network.state_dict()))
        plain = self.stem == "own" and preprocessing.channels == "rgb" and preprocessing.antialias
        return [ForeignForm("timm", example=EXAMPLE)] if plain else []


def read_timm(folder: Path, args: Mapping[str, Any], size: int | None, stem: Stem) -> TimmNetwork:
    """Read a folder of timm: config.json names an architecture, its weights are safetensors. size: None is its own.

    args: stand in the place of those of the folder. No other file of the folder is opened, and nothing takes memory
    before the weights' shapes are compared. Errors: `InputError` naming what does not fit.
    """
    path = folder / "config.json"
    config = read_settings(path)
    architecture, own = str(config.get("architecture")), config.get("pretrained_cfg") or config
    kept = config.get("model_args") or {}
    if not isinstance(own, dict) or not isinstance(kept, dict):
        raise InputError(f"{path}: pretrained_cfg and model_args must be objects; save the model with timm again")
    shapes = shapes_of(folder)
    known = {name: value for name, value in kept.items() if name != "num_classes"}
    if known.get("in_chans") == 3:
        known.pop("in_chans")
    known = checked_args(f"{path}: model_args", {**known, **args}, len(shapes))
    fit: Literal["crop", "squash"] = "squash" if own.get("crop_mode") == "squash" else "crop"
    made = made_for(str(path), own, size="input_size", mean="mean", std="std", fit=fit)
    refuse_unknown(architecture, f"{path}: architecture")
    size = size or made.size
    stem = "own" if stem == "auto" else stem
    with library_errors(f"{path}: timm cannot build it", "copy the model folder again"):
        with torch.device("meta"):  # whatever sizes it names, they take no memory
            planned = TimmNetwork(architecture, known, size, stem, seed=0)
        planned.refuse_other_shapes(folder, shapes)
        network = TimmNetwork(architecture, known, size, stem, seed=0)
    network.load(folder)
    network.made = made
    return network


def is_architecture(name: str) -> bool:
    """Return whether timm has an architecture of this name, which may name weights, too, after a dot."""
    models = timm_models()
    return bool(models.is_model(name.split(".")[0]))


def refuse_unknown(name: str, where: str) -> None:
    """Refuse a name that is no architecture of timm. Errors: `InputError` with the nearest."""
    if not is_architecture(name):
        raise InputError(
            f"{where}: timm has no architecture {name!r:.60}; {nearest(name, timm_models().list_models())}"
        )


def timm_models() -> Any:
    """Return timm's module of models. Errors: `InputError` where timm is not installed, with the line to type."""
    try:
        from timm import models
    except ImportError as error:
        raise InputError("encoders.image needs timm: pip install 'nearfar[images]'") from error
    return models


def _config(architecture: str) -> dict[str, Any]:
    """Return what timm knows of an architecture's input; {} where it knows nothing."""
    known = timm_models().get_pretrained_cfg(architecture)
    return {} if known is None else dict(known.to_dict())


def _create(architecture: str, args: Mapping[str, Any], seed: int) -> nn.Module:
    """Return a new network without classes. Errors: timm's own for arguments that it refuses."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        network: nn.Module = timm_models().create_model(architecture, pretrained=False, num_classes=0, **args)
    return network
