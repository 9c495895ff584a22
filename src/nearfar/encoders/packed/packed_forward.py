"""Running a transformers model on packed texts, or padded ones, and the trial that says which."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nearfar.encoders.packed import attention
from nearfar.encoders.packed.packing import Packing
from nearfar.encoders.pretrained.backbone import positions, quiet

TOLERANCE = 1e-3  # of packed against padded, relative to the largest number: what is wrong is far off
PAD_BUDGET, PAD_WASTE = 16_384, 0.2  # of one padded forward pass: tokens, and the share of them that is padding


def run_packed(model: Any, ids: Tensor, packing: Packing, first: int) -> Tensor:
    """Return hidden states (t, d) of packed token ids (t,). first: the position id of a text's first token."""
    given: dict[str, Any] = {"position_ids": (packing.position + first)[None], "packing": packing}
    hidden: Tensor = model(input_ids=ids[None], **given).last_hidden_state[0]
    return hidden


def run_padded(model: Any, ids: Tensor, packing: Packing) -> Tensor:
    """Return the same by padding, some texts of about one length at a time."""
    lengths, outs = packing.lengths.tolist(), []
    for first, last in _pads(lengths):
        start = int(packing.starts[first])
        size = packing.lengths[first:last]
        real = torch.arange(lengths[first], device=ids.device) < size[:, None]  # (rows, length)
        padded = ids.new_zeros(real.shape).masked_scatter(real, ids[start : start + int(size.sum())])
        outs.append(model(input_ids=padded, attention_mask=real.long()).last_hidden_state[real])  # (tokens, d)
    return torch.cat(outs)


def _pads(lengths: list[int]) -> Iterator[tuple[int, int]]:
    """Yield ranges of texts, longest first, that are padded together."""
    first, tokens = 0, 0
    for i, length in enumerate(lengths):
        size = (i + 1 - first) * lengths[first]
        if i > first and (size > PAD_BUDGET or size - tokens - length > PAD_WASTE * size):
            yield first, i
            first, tokens = i, 0
        tokens += length
    yield first, len(lengths)


def first_position(model: Any) -> int | None:
    """Return a text's first position id where packed equals padded, which is tried; None where it does not.

    Two texts, one longer than a sliding window, go through both ways. RoBERTa counts from after the padding id.
    """
    register()
    config = model.config
    window = getattr(config, "sliding_window", None) or getattr(config, "local_attention", None) or 0
    longest = min(max(7, 3 + int(window)), 600, positions(model))
    rng = np.random.default_rng(0)
    packing = Packing.of(np.array([longest, longest, max(1, longest // 2)]))
    ids = torch.from_numpy(rng.integers(10, max(11, config.vocab_size), len(packing.row)))
    training, before = model.training, config._attn_implementation
    model.eval()
    try:
        with torch.no_grad(), quiet():
            padded = run_padded(model, ids, packing)
            model.set_attn_implementation(
                attention.ATTENTION_NAME
            )  # an older kind of model warns, and keeps what it has
            for first in dict.fromkeys([0, (config.pad_token_id or 0) + 1]):
                if _alike(model, ids, packing, first, padded):
                    return first
    finally:
        model.train(training)
    with quiet():
        model.set_attn_implementation(before)
    return None


def _alike(model: Any, ids: Tensor, packing: Packing, first: int, padded: Tensor) -> bool:
    try:
        gap = (run_packed(model, ids, packing, first) - padded).abs().max()
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError, attention.Unpackable):
        return False
    return bool(gap <= TOLERANCE * padded.abs().max())


def register() -> None:
    """Tell transformers of packed attention: its interface for attention, and for masks, of which there are none."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(attention.ATTENTION_NAME, attention.attention_function)
    AttentionMaskInterface.register(attention.ATTENTION_NAME, _no_mask)


def _no_mask(*_: Any, **__: Any) -> None:
    return None


def able_in_bf16(model: nn.Module, run: Callable[[], object]) -> bool:
    """Say whether a lean model runs in bf16, which is tried; what mixes types inside is left to autocast."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            run()
    except RuntimeError:
        return False
    finally:
        model.train(training)
    return True
