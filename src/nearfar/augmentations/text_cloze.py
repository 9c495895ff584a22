"""TextCloze: one sentence of a text, and the rest of the text without it."""

from __future__ import annotations

from typing import Literal

import numpy as np

from nearfar.errors import InputError
from nearfar.text.spans import check_share, check_text, check_unit, spans


class TextCloze:
    """A random span of a text, and by `rest` the text without it: the inverse cloze task.

    As `positives.views.query` it makes both views: the query is the span, the key the rest of the document. In a share
    `keep` of the cases, the rest keeps the span, so that word matches are learnt, too (Lee et al. 2019,
    arXiv:1906.00300, section 4: one sentence, kept in 10 %).

    Args:
        keep: share of cases in which the rest still contains the span, 0 to 1.
        unit: sentences, or words for texts without sentences.
        size: of the span, in units; where it is as long as the text, the rest is the whole text.

    Call: (text, generator) -> the span; `rest(text, generator)`, with the same random numbers, the rest of that text.
    Both are never empty: the rest of a text of one sentence is the text. Errors: `InputError` for a share out of range,
    a size below one, a cell that is no text.

    Example:
        >>> import numpy as np, nearfar as nf
        >>> cloze, text = nf.augmentations.TextCloze(keep=0.0), "Pull near. Push far. Judge."
        >>> cloze(text, np.random.default_rng(0)), cloze.rest(text, np.random.default_rng(0))
        ('Judge.', 'Pull near. Push far.')

    When not to use it: on texts of a sentence or two, whose rest says little.
    """

    def __init__(self, keep: float = 0.1, unit: Literal["words", "sentences"] = "sentences", size: int = 1) -> None:
        check_unit("text_cloze", unit)
        check_share("text_cloze.keep", keep)
        if size < 1:
            raise InputError(f"augmentations.text_cloze.size is a number of {unit}, at least 1; it is {size}")
        self.keep, self.unit, self.size = keep, unit, size

    def __call__(self, cell: str, generator: np.random.Generator) -> str:
        """Return the span."""
        start, stop, _ = self._draw(check_text("text_cloze", cell), generator)
        return cell[start:stop]

    def rest(self, cell: str, generator: np.random.Generator) -> str:
        """Return the text without the span that the call draws from the same random numbers."""
        start, stop, kept = self._draw(check_text("text_cloze", cell), generator)
        before, after = cell[:start].strip(), cell[stop:].strip()
        rest = f"{before} {after}" if before and after else before or after
        return cell if kept or not rest else rest

    def _draw(self, text: str, generator: np.random.Generator) -> tuple[int, int, bool]:
        """Return the span's start and stop, and whether the rest keeps it."""
        parts = spans(text, self.unit)
        if not parts:
            return 0, len(text), True
        first = int(generator.integers(max(len(parts) - self.size, 0) + 1))
        last = min(first + self.size, len(parts)) - 1
        return parts[first][0], parts[last][1], bool(generator.random() < self.keep)
