"""CLIP's and SigLIP's models of transformers: a text tower and a picture tower, in one folder or each in its own."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nearfar.encoders.pretrained.backbone import quiet
from nearfar.encoders.pretrained.module_rows import TWO_TOWERS
from nearfar.encoders.pretrained.numbers import Shapes, check_numbers
from nearfar.encoders.pretrained.read import (
    misfit,
    planned_model,
    read_backbone,
    refuse_other_tensors,
)
from nearfar.encoders.pretrained.shards import read_shards, shapes_of
from nearfar.encoders.reading.pooling import Dense
from nearfar.errors import InputError
from nearfar.storage.model_files import read_settings
from nearfar.text.tokenizer import library_errors

Part = Literal["text", "vision"]
CLIP, SIGLIP = TWO_TOWERS
WHOLE = {CLIP: "CLIPModel", SIGLIP: "SiglipModel"}  # classes of transformers
ALONE = {  # one tower with its projection; SigLIP has that in the tower
    (CLIP, "text"): "CLIPTextModelWithProjection",
    (CLIP, "vision"): "CLIPVisionModelWithProjection",
    (SIGLIP, "text"): "SiglipTextModel",
    (SIGLIP, "vision"): "SiglipVisionModel",
}
PROJECTIONS = {(CLIP, "text"): "text_projection.", (CLIP, "vision"): "visual_projection."}
CONSTANT = re.compile(r"(^|\.)position_ids$")  # tensors that older releases save, and no model needs
LEGACY_END = 2  # the end token in old configs of CLIP: the pooled token is that of the highest id instead


@dataclass(frozen=True)
class Tower:
    """A tower as it was read.

    model: of the hidden states; a picture tower's has its projection inside. projection: of a text's pooled state.
    learnt: the temperature that similarities are divided by, and SigLIP's bias, as the losses name them; {} where the
    folder has one tower.
    """

    model: nn.Module
    projection: list[nn.Module] = field(default_factory=list)
    learnt: dict[str, float] = field(default_factory=dict)


def family_of(config: Mapping[str, Any], part: Part) -> str | None:
    """Return the family of a config.json that describes this tower, alone or with the other; None for all else."""
    given = config.get("model_type")
    return next((family for family in WHOLE if given in (family, f"{family}_{part}_model")), None)


def text_config(folder: Path) -> Any:
    """Return the config of a folder's text tower as transformers completes it. Errors: `InputError` for none."""
    config = _part_config(_config(folder), "text")
    _refuse_config(folder / "config.json", config, "text")
    return config


def _config(folder: Path) -> Any:
    from transformers import AutoConfig

    with library_errors(f"{folder}: transformers cannot read its config.json", "copy the model folder again"), quiet():
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def _part_config(config: Any, part: Part) -> Any:
    if config.model_type not in WHOLE:
        return config
    found = config.text_config if part == "text" else config.vision_config
    if config.model_type == CLIP:
        found.projection_dim = config.projection_dim  # the whole model has its own, and passes over the towers'
    return found


def pools_one_token(folder: Path) -> bool:
    """Return whether a folder's texts are pooled at one token: the end token in CLIP, the last place in SigLIP."""
    path = folder / "config.json"
    return path.is_file() and family_of(read_settings(path), "text") is not None


def is_projected(folder: Path, part: Part) -> bool:
    """Return whether a folder holds this tower with its projection; without one, it is a plain transformer."""
    config = read_settings(folder / "config.json")
    family = family_of(config, part)
    if family is None or config["model_type"] == family or family == SIGLIP:
        return family is not None
    return any(name.startswith(PROJECTIONS[family, part]) for name in shapes_of(folder))


def read_text_model(folder: Path) -> Tower:
    """Read the model of texts in a folder: a text tower, or any other transformer. Errors: those of both."""
    plain = not (folder / "config.json").is_file() or not is_projected(folder, "text")
    return Tower(read_backbone(folder)) if plain else read_tower(folder, "text")


def read_tower(folder: Path, part: Part) -> Tower:
    """Read one tower with its projection, in float32, from a folder of both or of it alone.

    All tensors of the folder are compared with its config.json, name by name, before any is read.

    Errors: `InputError` for a folder that transformers cannot read safely and whole.
    """
    path = folder / "config.json"
    settings = read_settings(path)
    family = family_of(settings, part)
    if family is None:
        raise InputError(f"{path}: model_type {settings.get('model_type')!r:.60} is no {part} tower of CLIP or SigLIP")
    shapes = shapes_of(folder)
    check_numbers(path, settings, shapes)
    whole = settings["model_type"] == family
    with library_errors(f"{folder}: transformers cannot read it", "copy the model folder again"), quiet():
        config = _part_config(_config(folder), part)
        _refuse_config(path, config, part)
        kind = _class(ALONE[family, part])
        planned = planned_model(folder) if whole else planned_model(folder, kind)
        names = {name: _own_name(name, family, part, whole=whole) for name in shapes}
        _compare(folder, planned, shapes, names)
        tensors = read_shards(folder)
        model, info = kind.from_pretrained(
            None,
            config=config,
            state_dict={n: t for name, t in tensors.items() if (n := _of_part(names[name], family, part, whole=whole))},
            dtype=torch.float32,
            output_loading_info=True,
            local_files_only=True,
        )
    refuse_other_tensors(folder, info)
    learnt = _learnt(folder, tensors)
    model.eval()
    if part == "vision":
        return Tower(model, learnt=learnt)
    text = model.text_model if family == CLIP else model
    text.embeddings = _Embeddings(text.embeddings)
    if family == CLIP:
        return Tower(text, [_dense(model.text_projection)], learnt)
    projection, text.head = _dense(text.head), nn.Identity()  # it follows the pooling, which nearfar does itself
    return Tower(text, [projection], learnt)


def _class(name: str) -> Any:
    import transformers

    return getattr(transformers, name)


def _refuse_config(path: Path, config: Any, part: Part) -> None:
    """Refuse settings of a tower that nearfar does not have. Errors: `InputError` naming the setting."""
    if part == "text":
        end = getattr(config, "eos_token_id", None)
        if not isinstance(end, int) or isinstance(end, bool):
            raise InputError(f"{path}: eos_token_id must be one whole number, it is {end!r:.60}; copy the folder again")
        return
    if config.num_channels != 3:
        raise InputError(f"{path}: num_channels is {config.num_channels!r:.40}; nearfar reads pictures of 3 channels")
    if getattr(config, "vision_use_head", True) is not True:
        raise InputError(
            f"{path}: vision_use_head is false, so that no vector of a picture is pooled; nearfar needs it"
        )
    for name in ("image_size", "patch_size"):
        if not isinstance(getattr(config, name), int):
            raise InputError(f"{path}: {name} must be one whole number of pixels, it is {getattr(config, name)!r:.40}")


def _own_name(name: str, family: str, part: Part, *, whole: bool) -> str:
    """Return a tensor's name in the class that reads the folder: SigLIP's towers alone may be saved with a prefix."""
    return name if whole or family == CLIP else name.removeprefix(f"{part}_model.")


def _of_part(name: str, family: str, part: Part, *, whole: bool) -> str | None:
    """Return a tensor's name in the class of one tower; None for a tensor of the other, and for constants."""
    if CONSTANT.search(name):
        return None
    if not whole:
        return name
    mine = name.startswith((f"{part}_model.", PROJECTIONS.get((family, part), f"{part}_model.")))
    return (name if family == CLIP else name.removeprefix(f"{part}_model.")) if mine else None


def _compare(folder: Path, planned: Any, shapes: Shapes, names: Mapping[str, str]) -> None:
    """Refuse tensors too few, too many, or of other shapes than config.json asks for. Errors: `InputError`."""
    expected = {name: tuple(tensor.shape) for name, tensor in planned.state_dict().items()}
    held = {names[name]: shape for name, shape in shapes.items()}
    for name, shape in expected.items():
        scalar = name in ("logit_scale", "logit_bias") and held.get(name) in ((), (1,))
        if name in held and held[name] != shape and not scalar:
            raise misfit(folder, name, held[name], shape)
    if missing := sorted(expected.keys() - held.keys()):
        raise InputError(f"{folder}: the weights lack {', '.join(missing[:3])}; copy the model folder again")
    left = sorted(name for name in held.keys() - expected.keys() if not CONSTANT.search(name))
    if left:
        raise InputError(
            f"{folder}: the weights hold {', '.join(left[:3])}, for which the model of config.json has no place; the "
            "folder's files do not belong together"
        )


def _learnt(folder: Path, tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """Return temperature and bias by the names of the losses' settings."""
    found: dict[str, float] = {}
    if "logit_scale" in tensors:
        scale = float(tensors["logit_scale"])
        if abs(scale) > 20:  # CLIP keeps it below log 100
            raise InputError(f"{folder}: logit_scale is {scale:.6g}, a logarithm that no training gives; copy it again")
        found["temperature"] = math.exp(-scale)
    if "logit_bias" in tensors:
        found["bias"] = float(tensors["logit_bias"])
    return found


class _Embeddings(nn.Module):
    """A text tower's embeddings, of the same tensors, for packed texts: they are longer than any text together."""

    def __init__(self, given: Any) -> None:
        super().__init__()
        self.token_embedding, self.position_embedding = given.token_embedding, given.position_embedding

    def forward(self, input_ids: Tensor, position_ids: Tensor | None = None, **_: Any) -> Tensor:
        """Return the first hidden states (n, l, d) of token ids (n, l)."""
        if position_ids is None:
            position_ids = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        embedded: Tensor = self.token_embedding(input_ids) + self.position_embedding(position_ids)
        return embedded


def _dense(linear: nn.Linear) -> Dense:
    """Return a projection as the layer that follows a pooling."""
    layer = Dense(linear.in_features, linear.out_features, linear.bias is not None, "Identity")
    layer.linear = linear
    return layer
