"""CLIP's and SigLIP's towers written as transformers reads them: both in one folder, or the text tower alone."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nearfar.contracts import ForeignForm
from nearfar.encoders.pretrained.backbone import quiet
from nearfar.encoders.pretrained.tokenizer import PretrainedTokenizer
from nearfar.encoders.pretrained.two_towers import ALONE, CLIP, WHOLE, family_of
from nearfar.encoders.reading.pooling import Dense
from nearfar.storage.folders import write_text
from nearfar.storage.weights import system_errors, write_weights

CONFIGS = {"clip": "CLIPConfig", "siglip": "SiglipConfig"}
PT = {"format": "pt"}
EXAMPLE = """
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, {kind}

model = {kind}.from_pretrained("path/to/this/folder").eval()
processor = AutoImageProcessor.from_pretrained("path/to/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
pictures = processor(Image.open("picture.jpg").convert("RGB"), return_tensors="pt")
texts = tokenizer(["a text"], padding={padding}, truncation=True, return_tensors="pt")
of_pictures = torch.nn.functional.normalize(model.get_image_features(**pictures).pooler_output, dim=1)
of_texts = torch.nn.functional.normalize(model.get_text_features(**texts).pooler_output, dim=1)
"""


@dataclass(frozen=True)
class TextTower:
    """A text tower as it is written. projection: of the pooled state."""

    model: Any
    tokenizer: PretrainedTokenizer
    projection: Dense

    @property
    def family(self) -> str | None:
        """The family of the model; None for any other transformer."""
        return family_of({"model_type": self.model.config.model_type}, "text")

    def tensors(self, *, alone: bool) -> dict[str, Tensor]:
        """Return the tensors by their names in a folder of both towers, or of this one alone."""
        own = self.model.state_dict()
        projection = self.projection.linear.state_dict()
        if self.family == CLIP:
            named = {f"text_projection.{name}": tensor for name, tensor in projection.items()}
            return {**{f"text_model.{name}": tensor for name, tensor in own.items()}, **named}
        whole = {**own, **{f"head.{name}": tensor for name, tensor in projection.items()}}
        return whole if alone else {f"text_model.{name}": tensor for name, tensor in whole.items()}


def write_text_tower(folder: Path, model: Any, tokenizer: PretrainedTokenizer, projection: Any) -> None:
    """Write a text tower with its projection alone."""
    tower = TextTower(model, tokenizer, projection)
    config = copy.deepcopy(model.config)
    if tower.family == CLIP:
        config.projection_dim = projection.linear.out_features
    config.architectures = [ALONE[str(tower.family), "text"]]
    with system_errors(), quiet():
        config.save_pretrained(folder)
    write_weights(folder / "model.safetensors", tower.tensors(alone=True), PT)
    _write_tokenizer(folder, tokenizer)
    lengths = {"max_seq_length": tokenizer.max_length, "do_lower_case": tokenizer.lower_case}
    write_text(folder / "sentence_bert_config.json", json.dumps(lengths, indent=2))


def write_two_towers(
    folder: Path, text: TextTower, picture: Any, processor: Mapping[str, Any], learnt: Mapping[str, float]
) -> list[ForeignForm]:
    """Write a text tower and a picture tower of one family as their whole model; return the forms that it has.

    picture: the model of pictures with its projection. processor: the settings of preprocessor_config.json. learnt:
    temperature and bias.
    """
    import transformers

    family = str(text.family)
    kind = WHOLE[family]
    parts = {"text_config": text.model.config.to_dict(), "vision_config": picture.config.to_dict()}
    dim = {"projection_dim": text.projection.linear.out_features} if family == CLIP else {}
    config = getattr(transformers, CONFIGS[family])(**parts, **dim, architectures=[kind])
    prefix = "" if family == CLIP else "vision_model."
    tensors = {**text.tensors(alone=False), **{f"{prefix}{n}": t for n, t in picture.state_dict().items()}}
    shape = () if family == CLIP else (1,)
    tensors["logit_scale"] = torch.full(shape, -math.log(learnt["temperature"]))
    if family != CLIP:
        tensors["logit_bias"] = torch.full(shape, learnt["bias"])
    with system_errors(), quiet():
        config.save_pretrained(folder)
    write_weights(folder / "model.safetensors", tensors, PT)
    _write_tokenizer(folder, text.tokenizer)
    write_text(folder / "preprocessor_config.json", json.dumps(processor, indent=2) + "\n")
    padding = '"max_length"' if text.tokenizer.filled else "True"
    return [ForeignForm("transformers", example=EXAMPLE.format(kind=kind, padding=padding))]


def _write_tokenizer(folder: Path, tokenizer: PretrainedTokenizer) -> None:
    """Write a text tower's tokenizer, so that other tools read as many tokens of a text."""
    given = copy.deepcopy(tokenizer.tokenizer)
    given.model_max_length = tokenizer.max_length
    if tokenizer.filled:
        given.model_input_names = ["input_ids"]  # without a mask: the padding counts, as it did in training
    with system_errors(), quiet():
        given.save_pretrained(folder)
