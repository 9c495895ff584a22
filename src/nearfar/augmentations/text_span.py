"""TextSpan: a few consecutive words of a text, as many as a question has."""

from __future__ import annotations

from collections.abc import Sequence

from nearfar.compute.draws import Draws
from nearfar.errors import InputError
from nearfar.text.spans import check_texts, words


class TextSpan:
    """A span of `fewest` to `most` consecutive words, verbatim; the whole of a shorter text.

    Number and start are uniform. Unlike a crop's (`text_crop`), the length does not grow with the text: it is that of a
    question, not of a passage. The inverse cloze task (Lee et al. 2019, arXiv:1906.00300) takes whole sentences.

    Args:
        fewest, most: numbers of words, 1 <= fewest <= most; a word is a run without white space, or one Chinese or
            Japanese character.

    Call: (texts, draws) -> texts, none of them empty. Errors: `InputError` for numbers out of range, a cell that is no
    text.

    Example:
        >>> import numpy as np, nearfar as nf
        >>> from nearfar.compute.draws import Draws
        >>> nf.augmentations.TextSpan(fewest=2, most=2)(["pull near push far"], Draws.of(np.array([[0]])))
        ['near push']

    When not to use it: for two views that are both documents; a short span says less than a crop.
    """

    reads: tuple[str, ...] = ("text",)

    def __init__(self, fewest: int = 4, most: int = 16) -> None:
        if not 1 <= fewest <= most:
            raise InputError(
                f"augmentations.text_span: fewest must be at least 1 and at most most; they are {fewest} and {most}"
            )
        self.fewest, self.most = fewest, most

    def __call__(self, cells: Sequence[str], draws: Draws) -> list[str]:
        """Return a span of each text."""
        drawn = draws.uniform(2).tolist()
        return [self._span(text, *pair) for text, pair in zip(check_texts("text_span", cells), drawn, strict=True)]

    def _span(self, text: str, length_draw: float, start_draw: float) -> str:
        parts = words(text)
        if not parts:
            return text
        length = min(self.fewest + int(length_draw * (self.most - self.fewest + 1)), len(parts))
        start = int(start_draw * (len(parts) - length + 1))
        return text[parts[start][0] : parts[start + length - 1][1]]
