"""Forward passes of a transformers model over packed texts, or over padded ones where a trial finds packing wrong."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from nearfar.encoders.packed import attention
from nearfar.encoders.packed.packing import Packing
from nearfar.encoders.pretrained.backbone import max_positions, quiet

TOLERANCE = 1e-3  # of packed against padded, relative to the largest number: a wrong result is further off
PADDED_TOKENS, PADDED_SHARE = 16_384, 0.2  # of one padded forward pass: its tokens, and the share that is padding


def run_packed(model: Any, ids: Tensor, packing: Packing, first_position: int) -> Tensor:
    """Return hidden states (t, d) of packed token ids (t,), or of states (t, d) that stand for them.

    first_position: the position id of a text's first token. t: with the packing's filler.
    """
    position = pad(packing.position, (0, packing.filler)) + first_position  # (t,)
    given: dict[str, Any] = {"position_ids": position[None], "packing": packing}
    given["inputs_embeds" if ids.is_floating_point() else "input_ids"] = ids[None]
    hidden: Tensor = model(**given).last_hidden_state[0]
    return hidden


def run_padded(model: Any, ids: Tensor, packing: Packing) -> Tensor:
    """Return the same by padding, a few texts of similar length at a time."""
    lengths, outs = packing.lengths.tolist(), []
    for first, last in _padded_ranges(lengths):
        start = int(packing.starts[first])
        size = packing.lengths[first:last]
        mask = torch.arange(lengths[first], device=ids.device) < size[:, None]  # (rows, length)
        padded = ids.new_zeros(mask.shape).masked_scatter(mask, ids[start : start + int(size.sum())])
        outs.append(model(input_ids=padded, attention_mask=mask.long()).last_hidden_state[mask])  # (tokens, d)
    return torch.cat(outs)


def warn_of_padding(kind: str) -> None:
    """Warn that texts are padded; kind: the model's type."""
    warnings.warn(
        f"{kind}: texts are padded, for attention over packed ones does not give the same vectors; this is correct, "
        "but slower",
        stacklevel=4,
    )


def _padded_ranges(lengths: list[int]) -> Iterator[tuple[int, int]]:
    """Yield ranges of texts, longest first, that are padded together."""
    first, tokens = 0, 0
    for i, length in enumerate(lengths):
        size = (i + 1 - first) * lengths[first]
        if i > first and (size > PADDED_TOKENS or size - tokens - length > PADDED_SHARE * size):
            yield first, i
            first, tokens = i, 0
        tokens += length
    yield first, len(lengths)


def find_first_position(model: Any) -> int | None:
    """Return the position id of a text's first token with which packed equals padded; None where no id does.

    It is tried on texts longer and shorter than a sliding window. RoBERTa counts positions from after the padding id.
    """
    register_attention()
    config = model.config
    window = getattr(config, "sliding_window", None) or getattr(config, "local_attention", None) or 0
    longest = min(max(7, 3 + int(window)), 600, max_positions(model))
    rng = np.random.default_rng(0)
    packing = Packing.of(np.array([longest, longest, max(1, longest // 2)]))
    ids = torch.from_numpy(rng.integers(10, max(11, config.vocab_size), len(packing.position)))
    training, before = model.training, config._attn_implementation
    model.eval()
    try:
        with torch.no_grad(), quiet():
            padded = run_padded(model, ids, packing)
            # A model without transformers' attention interface warns, and keeps its own attention.
            model.set_attn_implementation(attention.ATTENTION_NAME)
            for first in dict.fromkeys([0, (config.pad_token_id or 0) + 1]):
                if _packed_equals(padded, model, ids, packing, first):
                    return first
    finally:
        model.train(training)
    with quiet():
        model.set_attn_implementation(before)
    return None


def _packed_equals(padded: Tensor, model: Any, ids: Tensor, packing: Packing, first_position: int) -> bool:
    try:
        gap = (run_packed(model, ids, packing, first_position) - padded).abs().max()
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError, attention.Unpackable):
        return False
    return bool(gap <= TOLERANCE * padded.abs().max())


def register_attention() -> None:
    """Register packed attention with transformers: the attention function, and that it takes no mask."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(attention.ATTENTION_NAME, attention.attention_function)
    AttentionMaskInterface.register(attention.ATTENTION_NAME, _no_mask)


def _no_mask(*_: Any, **__: Any) -> None:
    return None


def runs_in_bf16(model: nn.Module, run: Callable[[], object]) -> bool:
    """Return whether `run`, a forward pass of the model in bf16, succeeds: some models mix types, and need autocast."""
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
