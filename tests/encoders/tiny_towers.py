"""Tiny random models of CLIP and SigLIP, whole folders as transformers saves them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch.nn.functional import normalize

SIZE, LENGTH = 32, 16
TEXTS = ["a dog", "two cats sit on a mat of red silk in the sun and sleep all day", "near", "Far, far away: the sea!"]
_SMALL = {"num_hidden_layers": 2, "num_attention_heads": 4}
_TEXT = {**_SMALL, "hidden_size": 32, "intermediate_size": 48, "max_position_embeddings": LENGTH}
_VISION = {**_SMALL, "hidden_size": 32, "intermediate_size": 40, "image_size": SIZE, "patch_size": 8}


def pictures() -> list[npt.NDArray[np.uint8]]:
    """Return pictures of the model's size, larger and smaller, wide and tall."""
    rng = np.random.default_rng(0)
    sizes = [(SIZE, SIZE), (36, 36), (50, 70), (101, 37), (20, 31), (200, 333)]
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def clip_tokenizer() -> Any:
    """Return CLIP's tokenizer of the letters and two merges: start and end tokens have the last ids."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(f"{one}</w>" for one in alphabet), "th", "the</w>", "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    kind: Any = transformers.CLIPTokenizer
    return kind(vocab=vocabulary, merges=[("t", "h"), ("th", "e</w>")], model_max_length=LENGTH)


def siglip_tokenizer() -> Any:
    """Return a tokenizer as SigLIP's tokenizer.json: unigrams, without punctuation, an end token that pads, too."""
    pieces = [("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((one, -3.0) for one in "abcdefghijklmnopqrstuvwxyz")]
    tokenizer = Tokenizer(models.Unigram([*pieces, ("▁a", -2.5), ("the", -2.0)], unk_id=1))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(Regex(r"[!-/:-@\[-`{-~]"), ""), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 0)])
    special = {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}
    kind: Any = transformers.PreTrainedTokenizerFast
    more = {"model_max_length": LENGTH, "model_input_names": ["input_ids"]}
    return kind(tokenizer_object=tokenizer, **special, **more)


def save_clip(folder: Path, **text: Any) -> Any:
    """Save a CLIPModel with its processor, whose pictures are resized to 36 pixels before 32 are cut; return it."""
    tokenizer = clip_tokenizer()
    ids = {name: getattr(tokenizer, name) for name in ("eos_token_id", "bos_token_id", "pad_token_id")}
    torch.manual_seed(0)
    config = transformers.CLIPConfig(
        text_config={**_TEXT, "vocab_size": len(tokenizer), **ids, **text}, vision_config=_VISION, projection_dim=20
    )
    model = randomised(transformers.CLIPModel(config))
    model.save_pretrained(folder)
    kind: Any = transformers.CLIPImageProcessor
    processor: Any = transformers.CLIPProcessor
    processor(kind(size={"shortest_edge": 36}, crop_size={"height": SIZE, "width": SIZE}), tokenizer).save_pretrained(
        folder
    )
    return model


def save_siglip(folder: Path) -> Any:
    """Save a SiglipModel with preprocessor_config.json, as releases before 5 have it; return it."""
    tokenizer = siglip_tokenizer()
    ids = dict.fromkeys(("eos_token_id", "bos_token_id", "pad_token_id"), 0)
    torch.manual_seed(1)
    text = {**_TEXT, "vocab_size": len(tokenizer), **ids}
    model = randomised(transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=_VISION)))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    kind: Any = transformers.SiglipImageProcessor
    kind(size={"height": SIZE, "width": SIZE}).save_pretrained(folder)
    return model


def randomised(model: Any) -> Any:
    """Return the model with weights that are far from their initial values, which hide mistakes."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


FAMILIES = ("clip", "siglip")


def save_families(root: Path) -> dict[str, Path]:
    """Save a model of each family; return their folders."""
    save_clip(root / "clip")
    save_siglip(root / "siglip")
    return {family: root / family for family in FAMILIES}


def image_processor(**more: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / "processor_config.json").read_text())
        content["image_processor"] |= more
        (folder / "processor_config.json").write_text(json.dumps(content))

    return change


def edited(name: str, **more: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        for key, value in more.items():
            inner, _, last = key.rpartition("__")
            (content[inner] if inner else content)[last] = value
        (folder / name).write_text(json.dumps(content))

    return change


@torch.no_grad()
def features(folder: Path, texts: list[str]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return transformers' own unit features of texts and of `pictures`, all read from a folder."""
    from PIL import Image

    auto: Any = transformers
    model = auto.AutoModel.from_pretrained(folder).eval()
    kind = model.config.model_type
    tokenizer, processor = auto.AutoTokenizer.from_pretrained(folder), auto.AutoImageProcessor.from_pretrained(folder)
    padding = "max_length" if kind == "siglip" else True
    tokens = tokenizer(texts, padding=padding, truncation=True, return_tensors="pt")
    pixels = processor([Image.fromarray(one) for one in pictures()], return_tensors="pt")
    found = model.get_text_features(**tokens), model.get_image_features(**pixels)
    first, second = (normalize(one.pooler_output, dim=1).numpy() for one in found)
    return first, second
