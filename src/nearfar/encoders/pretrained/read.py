"""Reading a transformers model safely and whole: its tensors are compared with its config before it is built."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nearfar.encoders.pretrained.backbone import prepared, quiet
from nearfar.encoders.pretrained.numbers import Shapes, check_numbers
from nearfar.encoders.pretrained.shards import read_shards, shapes_of
from nearfar.errors import InputError
from nearfar.storage.model_files import read_settings
from nearfar.text.tokenizer import library_errors

# Tensors that a folder may hold, and the model of its hidden states need not have.
HARMLESS = re.compile(
    r"(^|\.)(position_ids|inv_freq|masked_bias|attn\.bias|attention\.bias|embeddings\.token_type_ids)$"  # constants
    r"|^(\w+\.)?pooler\."  # over the first token, for the prediction of the next sentence
    r"|^(cls|lm_head|mlm_head|generator_lm_head|embed_out)\.|^lm_head_bias$"  # of language models
    r"|^(head|vocab_(transform|layer_norm|projector)|pred_layer|predictions)\."  # of masked language models
    r"|^decoder\.(weight|bias)$"
    r"|^(generator_predictions|generator_lm_head|discriminator_predictions|sop_classifier)\."  # ELECTRA, ALBERT
    r"|^(pre_classifier|classifier|score|qa_outputs|qa_classifier|logits_proj|sequence_summary)\."  # classes, answers
)


def read_backbone(folder: Path) -> nn.Module:
    """Read a model, in float32. Errors: `InputError` for a folder that transformers cannot read safely and whole.

    No file but config.json is opened by transformers: nearfar reads the safetensors itself, so that no name in the
    folder leads to a pickle or out of it.
    """
    if (folder / "adapter_config.json").is_file():
        raise InputError(f"{folder}: an adapter beside its base; merge it (peft's merge_and_unload) and save that")
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{folder}: no config.json; give the folder of a transformers or sentence-transformers model")
    shapes = shapes_of(folder)
    check_numbers(path, read_settings(path), shapes)
    with library_errors(f"{folder}: transformers cannot read it", "copy the model folder again"), quiet():
        planned = planned_model(folder)
        _compare(folder, planned, shapes)
        model, info = type(planned).from_pretrained(
            None,
            config=planned.config,
            state_dict=read_shards(folder),
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            local_files_only=True,
        )
    refuse_other_tensors(folder, info)
    return prepared(model, keep_pooler=not info["missing_keys"])


def planned_model(folder: Path, kind: Any = None) -> Any:
    """Return the model that the config describes, of this class or of its own, without memory for its weights."""
    from transformers import AutoConfig, AutoModel, initialization

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    from_config: Any = AutoModel.from_config if kind is None else kind
    with torch.device("meta"), initialization.no_init_weights(), initialization.meta_device_safe_creation_ops():
        return from_config(config)


def _compare(folder: Path, planned: Any, shapes: Shapes) -> None:
    """Refuse a config whose model has a tensor of another shape than the files, or more numbers than they hold.

    Names are compared without the model's own prefix. Those that transformers renames while it reads have no partner
    here, which is why the numbers are counted, too: no file makes the model larger than itself.
    """
    prefix = f"{planned.base_model_prefix}."
    held = {name.removeprefix(prefix): shape for name, shape in shapes.items()}
    expected = {name: tuple(tensor.shape) for name, tensor in planned.state_dict().items()}
    for name, shape in expected.items():
        if name in held and held[name] != shape:
            raise misfit(folder, name, held[name], shape)
    lacking = {name: shape for name, shape in expected.items() if name not in held and not name.startswith("pooler.")}
    kept = {name for name, _ in planned.named_buffers()} - expected.keys()
    buffers = sum(buffer.numel() for name, buffer in planned.named_buffers() if name in kept)
    found = sum(map(_count, shapes.values()))
    asked = sum(map(_count, expected.values())) - sum(_count(s) for n, s in expected.items() if n.startswith("pooler."))
    if asked > 2 * found and lacking:  # twice: tied tensors are saved once
        name = max(lacking, key=lambda one: _count(lacking[one]))
        raise InputError(
            f"{folder}: config.json describes a model of {asked:.4g} numbers, and the weights hold {found:.4g}; they "
            f"lack {name} of shape {lacking[name]}: copy the model folder again"
        )
    if buffers > 10_000_000 + 4 * found:
        raise InputError(f"{folder}: config.json asks for tables of {buffers:.4g} numbers; copy the model folder again")


def _count(shape: tuple[int, ...]) -> int:
    return torch.Size(shape).numel()


def misfit(folder: Path, name: str, found: Any, asked: Any) -> InputError:
    """Return the error of a tensor whose shape is not the one that config.json asks for."""
    return InputError(
        f"{folder}: {name} is {tuple(found)}, config.json asks for {tuple(asked)}; the folder's files do not belong "
        "together"
    )


def refuse_other_tensors(folder: Path, info: Mapping[str, Any]) -> None:
    """Refuse a model for which tensors were missing, of another shape, or left over: it is another than was saved."""
    for name, found, asked in sorted(info["mismatched_keys"]):
        raise misfit(folder, name, found, asked)
    missing = sorted(name for name in info["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise InputError(f"{folder}: the weights lack {', '.join(missing[:3])}; copy the model folder again")
    left = sorted(name for name in info["unexpected_keys"] if not HARMLESS.search(name))
    if left:
        raise InputError(
            f"{folder}: the weights hold {', '.join(left[:3])}, for which the model of config.json has no place; the "
            "folder's files do not belong together"
        )
