"""What a language model makes of the tokens of texts: the probability of each one asked for, and whether it is right.

A model that sees both sides is asked for hidden tokens, a decoder for the next one at each place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch

from nearfar.abilities import KnownTokens, PredictsTokens, max_length_of
from nearfar.column import Ids, chunks
from nearfar.compute.draws import Draws
from nearfar.compute.evaluating import evaluating
from nearfar.contracts import Metric, Predictions, TokenScores
from nearfar.errors import InputError
from nearfar.evaluation.causality import refuse_leak
from nearfar.evaluation.report import about_model
from nearfar.losses.tiled.token_cross_entropy import token_log_probabilities
from nearfar.model import Model
from nearfar.objectives.hiding.choose import chosen_tokens
from nearfar.objectives.hiding.next_tokens import ending, next_tokens
from nearfar.tasks import Language, LanguageTokens, Task
from nearfar.vectors.embed import Embedder

SHARE = 0.15  # of each text's tokens that are hidden (BERT's)
BATCH = 4_096  # tokens of one forward pass


def tokenised(model: Embedder, task: Language, seed: int) -> Language:
    """Return a language task with the tokens of a model, and those that it is asked for.

    Of each text round(0.15 x its tokens) are hidden, at least one, drawn by the seed and the text's place in the task.

    Errors: `InputError` for a model that predicts no tokens, or that can neither fill in nor go on.
    """
    encoder = _language_model(model, task)
    known = encoder.known_tokens()
    store, train = (cast("Any", encoder).store(column) for column in (task.cells, task.train))
    ids, offsets = np.asarray(store.ids, np.int64), np.asarray(store.offsets)
    lengths = torch.from_numpy(np.diff(offsets))
    hidden = np.zeros(0, np.int64)
    asked: dict[str, Any] = {}
    if known.causal:
        longest = max_length_of(encoder)
        places, following = next_tokens(torch.from_numpy(ids), lengths, known.end, longest)
        asked = {"next_places": places.numpy(), "next_ids": following.numpy(), "end": known.end}
        last, sizes = (torch.from_numpy(x) for x in (train.ids[train.offsets[1:] - 1], np.diff(train.offsets)))
        asked["train_ends"] = ending(last, sizes, known.end, longest).numpy()
        asked["text_bytes"] = _bytes(encoder, task, ids, offsets)
    elif known.mask is not None:
        draws = Draws.of(np.stack([np.full(len(lengths), seed), np.arange(len(lengths))], 1))
        chosen = chosen_tokens(lengths, torch.from_numpy(~known.special[ids]), SHARE, draws)
        hidden, asked = torch.nonzero(chosen)[:, 0].numpy(), {"share": SHARE}
    if not len(hidden) and not len(asked.get("next_places", ())):
        raise InputError(
            f"{task.name}: no token can be asked for; give texts with words, and a mask token or a decoder"
        )
    counted = np.asarray(train.ids), np.asarray(train.offsets)
    tokens = LanguageTokens(ids, offsets, *counted, known.special, hidden, **asked)
    return replace(task, tokens=tokens)


def _bytes(encoder: PredictsTokens, task: Language, ids: Ids, offsets: Ids) -> int | None:
    """Return the bytes of what the tokens stand for; None where they do not say all of a text up to where it is cut."""
    total, row = 0, 0
    for cells in chunks(task.cells):
        for text in cells:
            written = encoder.decode(ids[offsets[row] : offsets[row + 1]].tolist())
            if not text.strip().startswith(written.strip("\ufffd")):  # it may be cut within a character
                return None
            total, row = total + len(written.encode()), row + 1
    return total


def _language_model(model: Embedder, task: Language) -> PredictsTokens:
    encoder: Any = model.encoder if isinstance(model, Model) else None
    if not isinstance(encoder, PredictsTokens):
        what = type(model if encoder is None else encoder).__name__
        raise InputError(
            f"{task.name}: its tokens are to be predicted, and {what} predicts none; give a language model: one of "
            "transformers, or of the recipe masked_language"
        )
    return encoder


def refuse_other_kind(model: Embedder, task: Task, metrics: Sequence[Metric]) -> None:
    """Refuse metrics of tokens that this kind of model does not predict. Errors: `InputError`, with the one to take."""
    if not isinstance(task, Language):
        return
    causal = _language_model(model, task).known_tokens().causal
    answer, kind, other_kind = ("next_tokens", "a decoder", "a model that sees both sides, e.g. bert")
    if not causal:
        answer, kind, other_kind = ("hidden_tokens", "a model that sees both sides", "a decoder, e.g. llama")
    for metric in metrics:
        if other := {"next_tokens", "hidden_tokens"} & set(metric.needs) - {answer}:
            raise InputError(
                f"{task.name}: the metric needs {' '.join(other)}, and this is {kind}, judged by {answer}; take that "
                f"metric, or {other_kind}"
            )


def token_predictions(model: Embedder, task: Language) -> Predictions:
    """Return what a model made of the tokens that a task asks for.

    A decoder is tried first: where the logits of a text's beginning depend on what follows, it is refused.

    Errors: `InputError` for a model that predicts no tokens, has others than the task, or sees what it is to predict.
    """
    encoder, tokens = _language_model(model, task), task.tokens
    assert tokens is not None, "a language task is tokenised before it is judged"
    known = encoder.known_tokens()
    store: Any = cast("Any", encoder).store(task.cells)
    if not np.array_equal(store.ids, tokens.ids) or len(known.special) != len(tokens.special):
        raise InputError(
            f"{task.name}: a model with another tokenizer has other tokens to predict; give one of the same"
        )
    head = encoder.language_head(known.kind)
    with evaluating(encoder, head):
        if known.causal:
            refuse_leak(encoder, head, store, known, task.name)
        scores = _scores(encoder, head, store, tokens, known)
    part = {"next_tokens" if known.causal else "hidden_tokens": scores}
    return Predictions(about=about_model(model, cast("Model", model).dim), **cast("Any", part))


@torch.inference_mode()
def _scores(encoder: PredictsTokens, head: Any, store: Any, tokens: LanguageTokens, known: KnownTokens) -> TokenScores:
    """Return the scores of the tokens asked for, in order; all of a text's that are hidden are so at once."""
    device, likelihoods, rights = head.weight.device, [], []
    places_of, ids_of = tokens.next_places, tokens.next_ids
    if not known.causal:
        places_of, ids_of = tokens.hidden, tokens.ids[tokens.hidden]
    for rows in _batches(tokens.offsets):
        first, last = tokens.offsets[rows.start], tokens.offsets[rows.stop]
        a, b = np.searchsorted(places_of, [first, last])
        places, asked = (torch.from_numpy(x).to(device) for x in (places_of[a:b] - first, ids_of[a:b]))  # (h,)
        if not len(places):
            continue
        inputs = store[np.arange(rows.start, rows.stop)].to(device)
        if not known.causal:
            inputs = replace(inputs, ids=inputs.ids.index_fill(0, places, int(known.mask or 0)))
        x = head(encoder.states(inputs).values[places])  # (h, d)
        found, right = token_log_probabilities(x, head.weight, asked, head.bias)
        likelihoods.append(found.cpu())
        rights.append(right.cpu())
    likelihood = torch.cat(likelihoods).double().numpy()
    return TokenScores(tokens.text_of(places_of), likelihood, torch.cat(rights).numpy())


def _batches(offsets: Ids) -> Iterator[slice]:
    """Yield ranges of texts of about BATCH tokens."""
    first, n = 0, len(offsets) - 1
    while first < n:
        last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + BATCH, side="right")) - 1)
        yield slice(first, min(last, n))
        first = last
