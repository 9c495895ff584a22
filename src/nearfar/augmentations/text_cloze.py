"""TextCloze: one sentence of a text, and the rest of the text without it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from nearfar.compute.draws import Draws
from nearfar.errors import InputError
from nearfar.text.spans import check_share, check_texts, check_unit, spans


class TextCloze:
    """A random span of a text, and by `rest` the text without it: the inverse cloze task.

    In `positives.views` this one entry makes both views: the query is the span, the key the rest of the document. In a
    share `keep` of the cases, the rest keeps the span, so that word matches are learnt, too (Lee et al. 2019,
    arXiv:1906.00300, section 4: one sentence, kept in 10 %).

    Args:
        keep: share of cases in which the rest still contains the span, 0 to 1.
        unit: sentences, or words for texts without sentences.
        size: of the span, in units; where it is as long as the text, the rest is the whole text.

    Call: (texts, draws) -> their spans; `rest(texts, draws)`, with the same draws, the rests of the same texts. None is
    empty: the rest of a text of one sentence is the text. Errors: `InputError` for a share out of range, a size below
    one, a cell that is no text.

    Example:
        >>> import numpy as np, nearfar as nf
        >>> from nearfar.compute.draws import Draws
        >>> cloze, texts, draws = nf.augmentations.TextCloze(0.0), ["Pull near. Push far."], Draws.of(np.array([[0]]))
        >>> cloze(texts, draws), cloze.rest(texts, draws)
        (['Push far.'], ['Pull near.'])

    When not to use it: on texts of a sentence or two, whose rest says little.
    """

    reads: tuple[str, ...] = ("text",)

    def __init__(self, keep: float = 0.1, unit: Literal["words", "sentences"] = "sentences", size: int = 1) -> None:
        check_unit("text_cloze", unit)
        check_share("text_cloze.keep", keep)
        if size < 1:
            raise InputError(f"augmentations.text_cloze.size is a number of {unit}, at least 1; it is {size}")
        self.keep, self.unit, self.size = keep, unit, size

    def __call__(self, cells: Sequence[str], draws: Draws) -> list[str]:
        """Return a span of each text."""
        return [text[start:stop] for text, start, stop, _ in self._drawn(cells, draws)]

    def rest(self, cells: Sequence[str], draws: Draws) -> list[str]:
        """Return each text without the span that the call with the same draws returns."""
        return [_without(text, start, stop, kept) for text, start, stop, kept in self._drawn(cells, draws)]

    def _drawn(self, cells: Sequence[str], draws: Draws) -> Iterator[tuple[str, int, int, bool]]:
        """Yield each text, its span's start and stop, and whether the rest keeps the span."""
        for text, (place, keep) in zip(check_texts("text_cloze", cells), draws.uniform(2).tolist(), strict=True):
            parts = spans(text, self.unit)
            if not parts:
                yield text, 0, len(text), True
                continue
            first = int(place * (max(len(parts) - self.size, 0) + 1))
            last = min(first + self.size, len(parts)) - 1
            yield text, parts[first][0], parts[last][1], keep < self.keep


def _without(text: str, start: int, stop: int, kept: bool) -> str:
    """Return a text without a part; the whole text where the part is kept, or is all there is."""
    before, after = text[:start].strip(), text[stop:].strip()
    rest = f"{before} {after}" if before and after else before or after
    return text if kept or not rest else rest
