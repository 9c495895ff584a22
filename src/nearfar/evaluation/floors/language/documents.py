"""Documents of token ids as one array, for counting: a boundary stands before each document, and is never predicted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nearfar.column import Ids
from nearfar.errors import InputError

MOST_TOKENS = 2_000_000  # of a vocabulary: three ids fit one 64-bit number


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
