"""What a language model makes of the tokens of texts: the probability of each hidden one, and whether it is right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from nearfar.abilities import PredictsTokens
from nearfar.column import Ids
from nearfar.compute.draws import Draws
from nearfar.contracts import Predictions, TokenScores
from nearfar.errors import InputError
from nearfar.evaluation.report import about_model
from nearfar.model import Model
from nearfar.objectives.hiding.choose import chosen_tokens
from nearfar.tasks import Language, LanguageTokens
from nearfar.vectors.embed import Embedder

SHARE = 0.15  # of each text's tokens that are hidden (BERT's)
BATCH = 4_096  # tokens of one forward pass
LOGITS = 1 << 22  # computed at once


def tokenised(model: Embedder, task: Language, seed: int) -> Language:
    """Return a language task with the tokens of a model, and those that are hidden.

    Of each text round(0.15 x its tokens) are hidden, at least one, drawn by the seed and the text's place in the task.

    Errors: `InputError` for a model that predicts no tokens.
    """
    encoder = _language_model(model, task)
    known = encoder.known_tokens()
    store, train = (cast("Any", encoder).store(column) for column in (task.cells, task.train))
    ids = np.asarray(store.ids, np.int64)
    lengths = torch.from_numpy(np.diff(store.offsets))
    draws = Draws.of(np.stack([np.full(len(lengths), seed), np.arange(len(lengths))], 1))
    hidden = chosen_tokens(lengths, torch.from_numpy(~known.special[ids]), SHARE, draws)
    places = torch.nonzero(hidden)[:, 0].numpy()
    if not len(places):
        raise InputError(f"{task.name}: the texts have no tokens to hide; give texts with words")
    tokens = LanguageTokens(ids, np.asarray(store.offsets), np.asarray(train.ids), known.special, places, SHARE)
    return replace(task, tokens=tokens)


def _language_model(model: Embedder, task: Language) -> PredictsTokens:
    encoder = model.encoder if isinstance(model, Model) else None
    if not isinstance(encoder, PredictsTokens):
        what = type(model if encoder is None else encoder).__name__
        raise InputError(
            f"{task.name}: its tokens are to be told, and {what} predicts none; give a language model: one of "
            "transformers, or of the recipe masked_language"
        )
    return encoder


def token_predictions(model: Embedder, task: Language) -> Predictions:
    """Return what a model made of a task's hidden tokens; of a decoder, which sees one side alone, nothing.

    Errors: `InputError` for a model that predicts no tokens, or has others than the task.
    """
    encoder, tokens = _language_model(model, task), task.tokens
    assert tokens is not None, "a language task is tokenised before it is judged"
    known = encoder.known_tokens()
    store: Any = cast("Any", encoder).store(task.cells)
    if not np.array_equal(store.ids, tokens.ids) or len(known.special) != len(tokens.special):
        raise InputError(f"{task.name}: a model with another tokenizer has other tokens to tell; give one of the same")
    about = about_model(model, cast("Model", model).dim)
    if known.causal or known.mask is None:
        return Predictions(about=about)
    module = cast("nn.Module", encoder)
    head = encoder.language_head("masked")
    modes = [(layer, layer.training) for part in (module, head) for layer in part.modules()]
    for part in (module, head):
        part.eval()
    try:
        scores = _hidden_scores(encoder, head, store, tokens, known.mask)
    finally:
        for layer, training in modes:
            layer.training = training
    return Predictions(hidden_tokens=scores, about=about)


@torch.inference_mode()
def _hidden_scores(encoder: PredictsTokens, head: Any, store: Any, tokens: LanguageTokens, mask: int) -> TokenScores:
    """Return the scores of the hidden tokens, in order; all of a text's are hidden at once."""
    device = head.weight.device
    likelihoods, rights = [], []
    for rows in _batches(tokens.offsets):
        first, last = tokens.offsets[rows.start], tokens.offsets[rows.stop]
        a, b = np.searchsorted(tokens.hidden, [first, last])
        places = torch.from_numpy(tokens.hidden[a:b] - first).to(device)  # (h,)
        if not len(places):
            continue
        inputs = store[np.arange(rows.start, rows.stop)].to(device)
        asked = inputs.ids[places]
        changed = replace(inputs, ids=inputs.ids.index_fill(0, places, mask))
        x = head(encoder.states(changed).values[places])  # (h, d)
        step = max(1, LOGITS // len(tokens.special))
        for i in range(0, len(x), step):
            found, right = token_scores(linear(x[i : i + step], head.weight, head.bias), asked[i : i + step])
            likelihoods.append(found.cpu())
            rights.append(right.cpu())
    rows_of = np.searchsorted(tokens.offsets, tokens.hidden, side="right") - 1
    return TokenScores(rows_of, torch.cat(likelihoods).double().numpy(), torch.cat(rights).numpy())


def token_scores(logits: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log-likelihood (h,) of the tokens asked for (h,), and whether none has a higher logit; (h, v)."""
    logits = logits.float()
    own = logits.gather(1, asked[:, None])[:, 0]
    return own - logits.logsumexp(1), own >= logits.max(1).values


def _batches(offsets: Ids) -> Iterator[slice]:
    """Yield ranges of texts of about BATCH tokens."""
    first, n = 0, len(offsets) - 1
    while first < n:
        last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + BATCH, side="right")) - 1)
        yield slice(first, min(last, n))
        first = last
