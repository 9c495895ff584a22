"""Whether a decoder sees the tokens that it is to predict: those behind, and other texts in the same row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from nearfar.abilities import KnownTokens, PredictsTokens
from nearfar.errors import InputError

TEXTS, LONGEST = 4, 64  # of the trial: texts, and tokens of each


@torch.inference_mode()
def refuse_leak(encoder: PredictsTokens, head: Any, store: Any, known: KnownTokens, where: str) -> None:
    """Refuse a model some of whose logits depend on what follows, or on another text, by a trial on a task's own texts.

    The second half of each text is replaced by other tokens, and of another text all tokens: the logits of the first
    halves must not move by a single bit. A perplexity is worth nothing without that. The encoder must not be in
    training mode. store: of the task's texts.

    Errors: `InputError` that says what the logits depend on.
    """
    lengths = np.diff(store.offsets)
    rows = np.argsort(-lengths, kind="stable")[:TEXTS]
    rows = rows[lengths[rows] >= 3]
    if not len(rows):
        return
    ordinary = torch.from_numpy(np.flatnonzero(~known.special))
    inputs = store[rows]
    middle = inputs.offsets[:-1] + np.minimum(np.diff(inputs.offsets) // 2, LONGEST)
    prefix = np.zeros(len(inputs.ids), bool)
    for first, last in zip(inputs.offsets[:-1], middle, strict=True):
        prefix[first:last] = True
    kept = torch.from_numpy(prefix)
    device = head.weight.device
    before = _logits(encoder, head, inputs.to(device), kept)
    other = torch.where(kept, inputs.ids, ordinary[(inputs.ids * 7 + 3) % len(ordinary)])
    if not torch.equal(before, _logits(encoder, head, replace(inputs, ids=other).to(device), kept)):
        raise InputError(
            f"{where}: the logits of a text's beginning depend on the tokens behind it, so that the model sees what it "
            "is to predict, and its perplexity would mean nothing; judge it as a masked language model"
        )
    own = torch.from_numpy(np.arange(len(inputs.ids)) < inputs.offsets[1])
    other = torch.where(own, inputs.ids, ordinary[(inputs.ids * 5 + 1) % len(ordinary)])
    alone = _logits(encoder, head, inputs.to(device), own)
    if not torch.equal(alone, _logits(encoder, head, replace(inputs, ids=other).to(device), own)):
        raise InputError(f"{where}: the logits of a text depend on the other texts of a batch; judge texts one by one")


def _logits(encoder: PredictsTokens, head: Any, inputs: Any, kept: Tensor) -> Tensor:
    states = encoder.states(inputs).values[kept.to(head.weight.device)]
    return linear(head(states), head.weight, head.bias)
