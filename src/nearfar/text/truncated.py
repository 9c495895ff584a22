"""How many texts of a column are longer than their encoder reads, said in one line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nearfar.abilities import Truncates
from nearfar.column import Column, chunks, column_kind, take

MOST = 20_000  # texts whose tokens are counted; of more, the share among so many, evenly spread
_AT_ONCE = 2_000
_SPECIAL = 4  # tokens that are added to a text, at most, and the mark of its first word


@dataclass(frozen=True)
class Truncated:
    """count: of `of` texts that are longer than the `longest` tokens that are read; about so many, where `sampled`."""

    count: int
    of: int
    longest: int
    sampled: bool = False

    def line(self, what: str) -> str | None:
        """Return the sentence for people, None where no text is cut. what: the texts' name, "captions"."""
        if not self.count:
            return None
        about = "about " if self.sampled else ""
        return (
            f"{what}: {about}{self.count:,} of {self.of:,} texts are longer than the {self.longest:,} tokens that the "
            "encoder reads, and are cut there"
        )


def truncated_texts(encoder: Any, column: Column) -> Truncated | None:
    """Return how many texts of a column an encoder truncates; None where it reads all, or cannot say.

    A text in ASCII of few characters is not tokenised: each token has one of them at least.
    """
    if not isinstance(encoder, Truncates) or encoder.max_length is None or column_kind(column) != "text":
        return None
    n, longest = len(column), encoder.max_length
    sampled = n > MOST
    rows = np.linspace(0, n - 1, MOST).astype(np.int64) if sampled else None
    parts = chunks(column, _AT_ONCE) if rows is None else (take(column, part) for part in np.array_split(rows, 10))
    count = read = 0
    for cells in parts:
        texts = (cell for cell in cells if isinstance(cell, str))  # whoever reads the others refuses them, by row
        long = [text for text in texts if not (text.isascii() and len(text) + _SPECIAL <= longest)]
        count += int(encoder.truncated(long).sum()) if long else 0
        read += len(cells)
    return Truncated(round(count * n / read) if sampled else count, n, longest, sampled)
