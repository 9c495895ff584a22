"""What a language model writes while it trains: held-out beginnings go on, or hidden tokens are filled in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor

from nearfar.abilities import HasHead, KnownTokens, PredictsTokens
from nearfar.column import column_kind, take
from nearfar.compute.evaluating import evaluating
from nearfar.contracts import Positives
from nearfar.encoders.pretrained.completing import beginning_ids, generated, mask_probabilities
from nearfar.encoders.pretrained.language_head import LanguageHead

TEXTS, LOOKED_AT = 3, 60  # shown, and how many are looked at for so many that are long enough
BEGINNING, REST = 60, 100  # characters of a beginning, and of what follows it
TOKENS = 24  # that a causal model writes behind a beginning
EVERY = 7  # of the tokens that may be hidden, one is: 15 %
Pieces = list[tuple[str, bool]]  # a text in parts: what stood there, and whether the model wrote it


@dataclass(frozen=True)
class Completions:
    """A few held-out texts, which the model completes in the same way each time: with the likeliest tokens.

    A causal model goes on from their beginnings, as `nearfar complete` does. Of a masked one every seventh token is
    hidden, and all are filled in at once. No random number is drawn and no weight moves.
    """

    encoder: PredictsTokens
    head: LanguageHead
    texts: list[str]

    @classmethod
    def of(cls, encoder: Any, objective: Any, views: Sequence[str], heldout: Positives) -> Self | None:
        """Return them for an objective that trains the encoder's language head over texts; None for any other.

        views: those that the objective reads, the first of which is looked at. White space counts as one space.
        """
        if not isinstance(encoder, PredictsTokens) or not isinstance(objective, HasHead) or not views:
            return None
        if not isinstance(head := objective.head, LanguageHead):
            return None
        column = heldout.views[views[0]]
        if column_kind(column) not in ("text", None):
            return None
        rows = np.linspace(0, len(column) - 1, min(LOOKED_AT, len(column))).astype(np.int64)
        cells = [" ".join(cell.split()) for cell in take(column, rows) if isinstance(cell, str)]
        texts = [_cut(text, BEGINNING + REST) for text in cells if len(text) >= 2 * BEGINNING][:TEXTS]
        return cls(encoder, head, texts) if texts else None

    @torch.no_grad()
    def __call__(self) -> dict[str, Any]:
        """Return facts for an event: of each text the "original" and what was "written", in parts (`Pieces`)."""
        known = self.encoder.known_tokens()
        with evaluating(self.encoder, self.head):
            texts = [self._continued(text, known) if known.causal else self._filled(text, known) for text in self.texts]
        found = [{"original": original, "written": written} for original, written in texts]
        return {"kind": known.kind, "texts": found}

    def _continued(self, text: str, known: KnownTokens) -> tuple[Pieces, Pieces]:
        beginning = _cut(text, BEGINNING)
        ids = beginning_ids(self.encoder, known, beginning)
        whole, _ = generated(self.encoder, self.head, known, ids, TOKENS)
        written = self.encoder.decode(whole)[len(self.encoder.decode(ids)) :]
        return [(beginning, False), (text[len(beginning) :], True)], [(beginning, False), (written, True)]

    def _filled(self, text: str, known: KnownTokens) -> tuple[Pieces, Pieces]:
        ids: list[int] = cast("Any", self.encoder).tokenise([text])[0].tolist()
        ordinary = [place for place, token in enumerate(ids) if not known.special[token]]
        places, mask = ordinary[EVERY // 2 :: EVERY], known.mask
        if not places or mask is None:
            return [(text, False)], [(text, False)]
        masked = [mask if place in places else token for place, token in enumerate(ids)]
        best: Tensor = mask_probabilities(self.encoder, self.head, known, masked, places).argmax(1)
        answers = dict(zip(places, best.tolist(), strict=True))
        answered = [answers.get(place, token) for place, token in enumerate(ids)]
        return list(self._pieces(ids, places)), list(self._pieces(answered, places))

    def _pieces(self, ids: list[int], places: list[int]) -> Iterator[tuple[str, bool]]:
        """Yield a text of token ids in parts; each token at one of the places is a part of its own, empty or not."""
        done = 0  # characters; a token may end within one, which then is of the part that ends it
        for end, hidden in [*((at + more, bool(more)) for at in places for more in (0, 1)), (len(ids), False)]:
            text = self.encoder.decode(ids[:end])
            text = text if end == len(ids) else text.rstrip("\ufffd")
            if len(text) > done or hidden:
                yield text[done:], hidden
            done = max(done, len(text))


def _cut(text: str, most: int) -> str:
    """Return the beginning of a text, up to the last space among so many characters, if there is one."""
    if len(text) <= most:
        return text
    return text[:most].rpartition(" ")[0] or text[:most]
