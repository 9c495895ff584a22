"""A picture model of transformers, from a folder: ViT, DINOv2, ConvNeXt, ResNet and others."""

from __future__ import annotations

import inspect
import itertools
import json
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from nearfar.compute.fp32_products import replace_linear_layers
from nearfar.contracts import ForeignForm
from nearfar.encoders.image_networks.few_patches import choose_in_transformers
from nearfar.encoders.image_networks.preprocessing import Made, Preprocessing, made_for
from nearfar.encoders.image_networks.transformers_processor import SETTINGS, processor_settings, read_processor
from nearfar.encoders.pretrained.backbone import VECTOR_SETTINGS, quiet
from nearfar.encoders.pretrained.module_rows import is_picture_model
from nearfar.encoders.pretrained.read import read_backbone
from nearfar.encoders.pretrained.two_towers import SIGLIP, family_of, is_projected, read_tower
from nearfar.errors import InputError
from nearfar.storage.folders import write_text
from nearfar.storage.model_files import read_settings
from nearfar.storage.places import explain_write_errors

EXAMPLE = """
import torch
from PIL import Image
from transformers import AutoImageProcessor, {kind}

model = {kind}.from_pretrained("path/to/this/folder").eval()
processor = AutoImageProcessor.from_pretrained("path/to/this/folder")
found = model(**processor(Image.open("picture.jpg").convert("RGB"), return_tensors="pt"))
vectors = torch.nn.functional.normalize({features}, dim=1)
"""
SPACE_SETTINGS = (  # settings of a config that change the vectors, and do not show in the weights
    *VECTOR_SETTINGS,
    *("image_size", "patch_size", "window_size", "layer_type", "downsample_in_first_stage", "downsample_in_bottleneck"),
)
POOLED, FIRST = "found.pooler_output.flatten(1)", "found.last_hidden_state[:, 0]"
PROJECTED = "found.image_embeds"  # of CLIP's picture tower


class TransformersNetwork(nn.Module):
    """A picture model of transformers: normalised pixels (n, 3, h, w) -> pooled features (n, d).

    The features are those that the model pools itself, and else the state of the first token (CLS). A pooler that is a
    dense layer over that token is left out: it belongs to the task of pretraining. The picture tower of CLIP or SigLIP
    has its projection, and gives the features that are compared with those of texts.
    """

    fixed = False
    stem = "own"

    def __init__(self, network: nn.Module, made: Made) -> None:
        super().__init__()
        self.network, self.made = network, made
        model: Any = network
        if isinstance(getattr(getattr(model, "pooler", None), "dense", None), nn.Linear):
            model.pooler = None
        more = "interpolate_pos_encoding" in inspect.signature(model.forward).parameters
        self.more: dict[str, Any] = {"interpolate_pos_encoding": True} if more else {}  # for pictures of any size
        patch = getattr(model.config, "patch_size", None)
        self.patch = patch if isinstance(patch, int) else 0
        self.pools, self.has_states = self._try()
        choose_in_transformers(model)
        replace_linear_layers(model)

    @torch.no_grad()
    def _try(self) -> tuple[bool, bool]:
        """Return whether the model pools its features, and whether it has a state for each patch."""
        found = self._outputs(torch.zeros(1, 3, self.made.size, self.made.size))
        states = found.last_hidden_state
        self.projects = getattr(found, "image_embeds", None) is not None
        pooled = self.projects or getattr(found, "pooler_output", None) is not None
        return pooled, bool(self.patch) and states.dim() == 3 and states.shape[1] >= self._patches(self.made.size)

    def _patches(self, side: int) -> int:
        return int((side // self.patch) ** 2)

    def _outputs(self, x: Tensor) -> Any:
        return self.network(pixel_values=x, **self.more)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (n, d)."""
        found = self._outputs(x)
        if self.projects:
            return cast("Tensor", found.image_embeds)
        features: Tensor = found.pooler_output.flatten(1) if self.pools else found.last_hidden_state[:, 0]
        return features

    def states(self, x: Tensor) -> Tensor:
        """Return the states of the patches (n, p, d), row by row of the picture, without those before them."""
        found: Tensor = self._outputs(x).last_hidden_state[:, -self._patches(x.shape[3]) :]
        return found

    def layers(self) -> list[list[nn.Parameter]]:
        """Return the parameters of the stem, then of each layer or stage."""
        model: Any = self.network.vision_model if self.projects else self.network
        stages = next((child for child in model.modules() if isinstance(child, nn.ModuleList)), nn.ModuleList())
        first, *others = model.children()
        before = itertools.takewhile(lambda child: all(part is not stages for part in child.modules()), others)
        stem = [parameter for child in (first, *before) for parameter in child.parameters()]
        return [stem, *(list(stage.parameters()) for stage in stages)]

    def untrained(self, size: int, seed: int) -> TransformersNetwork | None:  # noqa: ARG002
        """Return None: it is read with its weights alone."""
        return None

    def described(self) -> str:
        """Return what the vectors depend on and the weights do not show."""
        network: Any = self.network
        config = network.config.to_dict()
        known = {key: config[key] for key in SPACE_SETTINGS if key in config}
        return json.dumps([known, self.pools], sort_keys=True, default=str)

    def write(self, folder: Path, preprocessing: Preprocessing) -> list[ForeignForm]:
        """Write model and preprocessing as transformers reads them."""
        network: Any = self.network
        size = preprocessing.size or self.made.size
        with explain_write_errors(folder), quiet():
            network.save_pretrained(folder, safe_serialization=True)
        family = family_of({"model_type": network.config.model_type}, "vision")
        made = network.config.image_size if family else size
        settings = processor_settings(
            preprocessing, made, "SiglipImageProcessor" if family == SIGLIP else "ViTImageProcessor"
        )
        write_text(folder / SETTINGS, json.dumps(settings, indent=2) + "\n")
        known_size = getattr(network.config, "image_size", size) == size
        plain = preprocessing.channels == "rgb" and preprocessing.antialias and known_size
        features = PROJECTED if self.projects else POOLED if self.pools else FIRST
        example = EXAMPLE.format(features=features, kind=type(network).__name__ if self.projects else "AutoModel")
        return [ForeignForm("transformers", example=example)] * plain


def read_transformers(folder: Path) -> TransformersNetwork:
    """Read a folder of transformers. Errors: those of `read_backbone`; `InputError` for one that reads no pictures."""
    path = folder / "config.json"
    config = read_settings(path)
    if family_of(config, "vision") is None and not is_picture_model(config):
        raise InputError(
            f"{path}: model_type {config.get('model_type')!r:.60} reads no pictures; for texts take encoder.name="
            "transformer"
        )
    if family_of(config, "vision") and is_projected(folder, "vision"):
        tower = read_tower(folder, "vision").model
        return TransformersNetwork(tower, read_processor(folder, cast("Any", tower).config.image_size))
    if config.get("num_channels") != 3:
        raise InputError(
            f"{path}: num_channels is {config['num_channels']!r:.40}; nearfar reads pictures of 3 channels"
        )
    own = read_settings(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}
    crop, size = own.get("crop_size"), own.get("size")
    sides = [given.get("height") if isinstance(given, dict) else given for given in (crop, size)]
    side = config.get("image_size") or next((each for each in sides if each), None)
    named = {**own, "side": side}
    fit: Any = "squash" if isinstance(size, dict) and "height" in size and not own.get("do_center_crop") else "crop"
    made = made_for(str(folder / SETTINGS), named, size="side", mean="image_mean", std="image_std", fit=fit)
    network = read_backbone(folder)
    if cast("Any", network).main_input_name != "pixel_values":
        raise InputError(f"{path}: the model reads more than pictures; save its picture model by itself")
    return TransformersNetwork(network, made)
