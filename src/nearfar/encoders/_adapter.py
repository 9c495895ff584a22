"""LoRA, by peft: small matrices beside a model's linear layers."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import nn
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from nearfar.errors import InputError


class Lora(TypedDict, total=False):
    """Settings of LoRA: W + (alpha / rank) B A, with B (out, rank) and A (rank, in) learnt."""

    rank: int
    alpha: int
    dropout: float
    targets: list[str] | str  # names of linear layers, or "all-linear"


def adapted(backbone: nn.Module, lora: Lora, seed: int) -> nn.Module:
    """Return the model with LoRA, nothing else learning; `seed` is of A's first weights, B's are zero.

    Errors: `InputError` for targets that it does not have.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise InputError("encoder.lora needs peft: pip install 'nearfar[lora]'") from error
    rank = int(lora.get("rank", 8))
    config = LoraConfig(
        r=rank,
        lora_alpha=lora.get("alpha", 2 * rank),
        lora_dropout=lora.get("dropout", 0.0),
        target_modules=lora.get("targets", "all-linear"),
    )
    try:
        with warnings.catch_warnings(), torch.random.fork_rng([]):
            torch.manual_seed(seed)
            warnings.simplefilter("ignore", FutureWarning)  # the library's own, at transformers
            found: nn.Module = get_peft_model(backbone, config)
    except ValueError as error:
        raise InputError(f"encoder.lora: {str(error).splitlines()[0]}") from error
    return found


def merged(backbone: nn.Module) -> nn.Module:
    """Return the model as it ships: with LoRA's matrices added to the weights; itself where there are none."""
    if not hasattr(backbone, "merge_and_unload"):
        return backbone
    whole: Any = copy.deepcopy(backbone)
    found: nn.Module = whole.merge_and_unload()
    return found.eval()
