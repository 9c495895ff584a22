"""The texts of a language task as documents of token ids, and documents as one array, for counting.

In the array a boundary stands before each document, and is never predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.column import Ids
from nearfar.errors import InputError
from nearfar.tasks import Language, LanguageTokens

MOST_TOKENS = 2_000_000  # of a vocabulary: three ids fit one 64-bit number
MOST_COUNTED = 10_000_000  # training tokens


def flat_documents(documents: Sequence[Ids], vocabulary: int, name: str) -> Ids:
    """Return all documents, each after the boundary, whose id is `vocabulary`, (documents + tokens,).

    name: of what counts, for errors. Errors: `InputError`: an id that is no token, with its document and position; a
    vocabulary that is empty or too large.
    """
    if not 0 < vocabulary <= MOST_TOKENS:
        raise InputError(f"{name}: a vocabulary has 1 to {MOST_TOKENS} tokens, this has {vocabulary}")
    pieces = [np.asarray(document) for document in documents]
    for row, ids in enumerate(pieces):
        if ids.ndim != 1 or (len(ids) and not np.issubdtype(ids.dtype, np.integer)):
            raise InputError(f"{name}: document {row} must be token ids (t,), it is {ids.dtype} of shape {ids.shape}")
    starts = np.cumsum([0, *map(len, pieces)])
    tokens = np.concatenate([np.empty(0, np.int64), *(ids for ids in pieces if len(ids))])
    wrong = np.flatnonzero((tokens < 0) | (tokens >= vocabulary))
    if len(wrong):
        row = int(np.searchsorted(starts, wrong[0], side="right")) - 1
        raise InputError(
            f"{name}: token {wrong[0] - starts[row]} of document {row} is {tokens[wrong[0]]}; tokens are 0 to "
            f"{vocabulary - 1}"
        )
    return np.insert(tokens, starts[:-1], vocabulary)


def tokens_of(task: Language) -> LanguageTokens:
    """Return the tokens of a task. Errors: `InputError` for a task without."""
    if task.tokens is None:
        raise InputError(f"{task.name}: it has no tokens yet, which are those of a model; judge one on it")
    return task.tokens


def counted_texts(tokens: LanguageTokens) -> tuple[list[Ids], dict[str, Any]]:
    """Return the training texts of a task, each with its end where it is predicted, and facts of them for the protocol.

    Of more than MOST_COUNTED tokens they are texts at even distances, with about as many tokens as that: the others are
    not read.
    """
    n, offsets = len(tokens.train_offsets) - 1, tokens.train_offsets
    ends = tokens.train_ends if len(tokens.train_ends) else np.zeros(n, np.bool_)
    share = MOST_COUNTED / max(int(offsets[-1]), 1)
    rows = np.arange(n) if share >= 1 else np.linspace(0, n - 1, max(1, int(share * n))).astype(np.int64)
    end = np.array([] if tokens.end is None else [tokens.end], np.int64)
    texts = [
        np.concatenate([tokens.train_ids[offsets[row] : offsets[row + 1]].astype(np.int64), end[: int(ends[row])]])
        for row in rows.tolist()
    ]
    facts: dict[str, Any] = {"training texts": len(texts), "training tokens": sum(map(len, texts))}
    if share < 1:
        facts["sample"] = f"texts at even distances of {n:,}, with {int(offsets[-1]):,} tokens in all"
    return texts, facts


def judged_texts(tokens: LanguageTokens) -> tuple[list[Ids], Ids]:
    """Return the texts of a task that asks for next tokens, each with its end where that is asked for.

    With them the places (m,) of the tokens that are asked for, among all of these.
    """
    ends = np.isin(tokens.offsets[1:] - 1, tokens.next_places)
    before: Ids = np.cumsum(ends) - ends  # ends in front of each text
    places = tokens.next_places + 1 + before[tokens.text_of(tokens.next_places)]
    return np.split(*_with_ends(tokens.ids, tokens.offsets, ends, tokens.end)), places


def _with_ends(ids: Ids, offsets: Ids, ends: npt.NDArray[np.bool_], end: int | None) -> tuple[Ids, Ids]:
    """Return the tokens of texts with the end behind some of them, and where the second text and each later begins."""
    if end is not None and ends.any():
        ids = np.insert(ids, offsets[1:][ends], end)
        offsets = offsets + np.append(0, np.cumsum(ends))
    return ids, offsets[1:-1]
