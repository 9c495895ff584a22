"""The two halves of a model of texts and pictures: an encoder of each whose towers belong together, saved as one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import nn

from nearfar.contracts import ForeignForm
from nearfar.encoders.image import Image
from nearfar.encoders.image_networks.transformers_network import TransformersNetwork
from nearfar.encoders.image_networks.transformers_processor import processor_settings
from nearfar.encoders.pretrained.backbone import merge_lora
from nearfar.encoders.pretrained.two_towers import CLIP, SIGLIP, family_of
from nearfar.encoders.pretrained.write_two_towers import TextTower, write_two_towers
from nearfar.encoders.reading.pooling import Dense
from nearfar.encoders.transformer import Transformer
from nearfar.storage.folders import write_text
from nearfar.storage.foreign import sentence_transformers

# Where a loss begins for towers that no whole model brought: CLIP's paper, section 2.5; SigLIP's, section 3.2.
FIRST_LEARNT = {CLIP: {"temperature": 0.07}, SIGLIP: {"temperature": 0.1, "bias": -10.0}}


@dataclass(frozen=True)
class Halves:
    """The encoder of texts and that of pictures, of one family."""

    family: str
    text: Transformer
    picture: Image

    @property
    def learnt(self) -> dict[str, float]:
        """Temperature and bias of the folder that they began from, and else where their family begins."""
        return dict(self.text.learnt or FIRST_LEARNT[self.family])

    def save(self, folder: Path, learnt: Mapping[str, float], *, prompted: bool) -> list[ForeignForm]:
        """Write both as the whole model of transformers; return the forms in which other tools give equal vectors.

        prompted: whether texts have prompts, which that model does not know.
        """
        picture, size = self.picture.preprocessing, cast("int", self.picture.picture_size())
        network: Any = self.picture.network.network
        tokenizer = self.text._required_tokenizer()
        tower = TextTower(merge_lora(self.text.backbone), tokenizer, cast("Dense", self.text.after[0]))
        squash_class = "SiglipImageProcessor" if self.family == SIGLIP else "ViTImageProcessor"
        processor = processor_settings(picture, network.config.image_size, squash_class)
        forms = write_two_towers(folder, tower, network, processor, learnt)
        if tokenizer.lower_case:
            write_text(folder / "sentence_bert_config.json", json.dumps({"do_lower_case": True}))
        plain_text = self.text.pooling == ["lasttoken"] and not tokenizer.lower_case and not prompted
        plain_picture = picture.channels == "rgb" and picture.antialias and picture.fit != "content"
        if not plain_text or not plain_picture or size != network.config.image_size:
            return []
        return [*forms, *sentence_transformers(("CLIPModel", ""))] if self.family == CLIP else forms


def two_halves(towers: Mapping[str, Any]) -> Halves | None:
    """Return the halves of a whole model that two towers are; None for any other two."""
    texts = [tower for tower in towers.values() if isinstance(tower, Transformer) and tower.tokenizer is not None]
    pictures = [tower for tower in towers.values() if isinstance(tower, Image)]
    if len(texts) != 1 or len(pictures) != 1 or not isinstance(pictures[0].network, TransformersNetwork):
        return None
    text, picture = texts[0], pictures[0]
    family = _family(text.backbone, "text")
    network: Any = picture.network
    projected = network.projects or (family == SIGLIP and network.pools)
    if family is None or family != _family(network.network, "vision") or not projected:
        return None
    return Halves(family, text, picture) if len(text.after) == 1 and isinstance(text.after[0], Dense) else None


def _family(model: nn.Module, part: Any) -> str | None:
    return family_of({"model_type": cast("Any", model).config.model_type}, part)
