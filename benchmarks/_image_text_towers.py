"""Two towers over pictures and captions: nearfar's, and the very same ones in open_clip's model.

`vit-s-32` is open_clip's ViT-S-32 at half its width and half the side of its pictures: 12 layers of width 192 on both
sides, 49 patches of a picture of 112 pixels. `resnet18` is timm's at 64 pixels, with four layers of text.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

VOCABULARY, OUT, TEMPERATURE, RATE = 8_000, 256, 0.07, 5e-4
LONGEST = 77  # tokens of a text that open_clip reads by default


@dataclass(frozen=True)
class Towers:
    """A picture tower of timm and the sizes of a text tower; dim: of both before their projections."""

    picture: str
    side: int
    dim: int
    width: int
    layers: int
    heads: int

    def text_config(self) -> dict[str, Any]:
        """Return the text tower as transformers' BERT; without dropout, as CLIP has none."""
        return {
            "model_type": "bert",
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": 4 * self.width,
            "max_position_embeddings": LONGEST,
            "type_vocab_size": 1,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        }


TOWERS = {
    "vit-s-32": Towers("vit_tiny_patch16_224", 112, 192, 192, 12, 3),
    "resnet18": Towers("resnet18", 64, 512, 256, 4, 4),
    "tiny": Towers("test_vit", 32, 64, 32, 1, 2),  # to see that everything runs
}


def ours(towers: Towers) -> Any:
    """Return nearfar's dual of a picture and a text encoder, each with a linear projection."""
    import nearfar as nf

    picture = nf.encoders.Image(towers.picture, size=towers.side)
    text = nf.encoders.Transformer(config=towers.text_config(), vocabulary=VOCABULARY)
    sides = (nf.encoders.Projected(tower, nf.heads.Mlp(dim=tower.dim, sizes=[OUT])) for tower in (picture, text))
    return nf.encoders.Dual(*sides)


class OpenClip(nn.Module):
    """open_clip's model of two towers, with its own projections.

    text: "the same" is transformers' BERT in its `HFTextEncoder`, "its own" its `TextTransformer` of the same sizes.
    context: the tokens to which it pads every text.
    """

    def __init__(self, towers: Towers, text: str, context: int, tokenizer: Any) -> None:
        super().__init__()
        from open_clip import CustomTextCLIP
        from open_clip.timm_model import TimmModel

        from nearfar.encoders.image import Image

        config = tokenizer.config_settings()
        own = {"context_length": context, "vocab_size": config["vocab_size"], "width": towers.width}
        own |= {
            "heads": towers.heads,
            "layers": towers.layers,
            "pool_type": "eos",
            "eos_id": tokenizer.tokenizer.sep_token_id,
        }
        self.model = CustomTextCLIP(OUT, {"image_size": 32, "layers": 1, "width": 64}, own, output_dict=True)
        self.model.visual = TimmModel("resnet18", OUT, proj_bias=True)  # its trunk is that of nearfar's encoder:
        network: Any = Image(towers.picture, size=towers.side).network
        self.model.visual.trunk = network.network
        self.model.visual.head.proj = nn.Linear(towers.dim, OUT)
        if text == "the same":
            self.model.text = _hugging_face({**towers.text_config(), **config})

    def forward(self, images: Tensor, texts: Tensor) -> Any:
        """Return what open_clip's loss takes."""
        return self.model(images, texts)

    @property
    def logit_scale(self) -> Tensor:
        """The scale, which its loop clamps."""
        scale: Tensor = self.model.logit_scale
        return scale


def _hugging_face(config: dict[str, Any]) -> nn.Module:
    """Return open_clip's wrapper of a new BERT, without the pooling layer that mean pooling has no use for."""
    from open_clip.hf_model import HFTextEncoder
    from transformers import AutoConfig

    with tempfile.TemporaryDirectory() as folder:
        AutoConfig.for_model(**config).save_pretrained(folder)
        text: nn.Module = HFTextEncoder(folder, OUT, pooler_type="mean_pooler", proj_type="linear", pretrained=False)
    return text


def parameters(module: nn.Module) -> int:
    """Return the number of a module's parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def text_tokens(tokenizer: Any, texts: list[str]) -> tuple[list[list[int]], int]:
    """Return the ids of each text, and the longest length."""
    ids, lengths = tokenizer(texts)
    ends = lengths.cumsum().tolist()
    rows = [ids[end - length : end].tolist() for end, length in zip(ends, lengths.tolist(), strict=True)]
    return rows, max(map(len, rows))


def padded(rows: list[list[int]], context: int, pad: int) -> Tensor:
    """Return token ids (n, context), filled up as open_clip does."""
    found = torch.full((len(rows), context), pad, dtype=torch.int64)
    for i, row in enumerate(rows):
        found[i, : min(context, len(row))] = torch.tensor(row[:context])
    return found
