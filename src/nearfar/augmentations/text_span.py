"""TextSpan: a few consecutive words of a text, as many as a question has."""

from __future__ import annotations

import numpy as np

from nearfar.errors import InputError
from nearfar.text.spans import check_text, words


class TextSpan:
    """A span of `fewest` to `most` consecutive words, verbatim; the whole of a shorter text.

    Number and start are uniform. Unlike a crop's (`text_crop`), the length does not grow with the text: it is that of a
    question, not of a passage. The inverse cloze task (Lee et al. 2019, arXiv:1906.00300) takes whole sentences.

    Args:
        fewest, most: numbers of words, 1 <= fewest <= most; a word is a run without white space, or one Chinese or
            Japanese character.

    Call: (text, generator) -> text, never empty. Errors: `InputError` for numbers out of range, a cell that is no text.

    Example:
        >>> import numpy as np, nearfar as nf
        >>> nf.augmentations.TextSpan(fewest=2, most=2)("pull near push far", np.random.default_rng(0))
        'push far'

    When not to use it: for two views that are both documents; a short span says less than a crop.
    """

    def __init__(self, fewest: int = 4, most: int = 16) -> None:
        if not 1 <= fewest <= most:
            raise InputError(
                f"augmentations.text_span: fewest must be at least 1 and at most most; they are {fewest} and {most}"
            )
        self.fewest, self.most = fewest, most

    def __call__(self, cell: str, generator: np.random.Generator) -> str:
        """Return a span of the text."""
        parts = words(check_text("text_span", cell))
        if not parts:
            return cell
        length = min(int(generator.integers(self.fewest, self.most + 1)), len(parts))
        start = int(generator.integers(len(parts) - length + 1))
        return cell[parts[start][0] : parts[start + length - 1][1]]
