"""TextCrop: a random crop of a text, in words or sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from nearfar.compute.draws import Draws
from nearfar.errors import InputError
from nearfar.text.spans import check_share, check_texts, check_unit, spans

FEWEST = {"words": 8, "sentences": 1}  # the default of `fewest`, by unit


class TextCrop:
    """A random crop of a text: consecutive words or sentences, verbatim.

    Its length is uniform between `shortest` and `longest` times the text's, and its start uniform where it fits. Two
    crops of one document are two views of it, which may overlap: the independent cropping of Contriever (Izacard et al.
    2021, arXiv:2112.09118, section 3.1: 5 to 50 %).

    Args:
        shortest, longest: shares of the text, 0 < shortest <= longest <= 1.
        fewest: number of words or sentences below which no text is cropped. None is 8 words, 1 sentence.
        most: number of words or sentences of the longest crop; 0 for no bound. An encoder that reads 256 tokens ignores
            what follows them.
        unit: what is counted; a word is a run without white space, or one Chinese or Japanese character.

    Call: (texts, draws) -> texts, none of them empty. Errors: `InputError` for shares out of range, a `most` below
    `fewest`, a cell that is no text.

    Example:
        >>> import numpy as np, nearfar as nf
        >>> from nearfar.compute.draws import Draws
        >>> crop = nf.augmentations.TextCrop(shortest=0.5, longest=0.5, fewest=1)
        >>> crop(["pull near push far"], Draws.of(np.array([[0]])))
        ['near push']

    When not to use it: on texts of a line, whose crops differ in meaning; let dropout be the only difference.
    """

    reads: tuple[str, ...] = ("text",)

    def __init__(
        self,
        shortest: float = 0.1,
        longest: float = 0.5,
        fewest: int | None = None,
        most: int = 0,
        unit: Literal["words", "sentences"] = "words",
    ) -> None:
        check_unit("text_crop", unit)
        check_share("text_crop.shortest", shortest)
        check_share("text_crop.longest", longest)
        if not 0 < shortest <= longest:
            raise InputError(
                "augmentations.text_crop: shortest must be above zero and at most longest; they are "
                f"{shortest} and {longest}"
            )
        least = FEWEST[unit] if fewest is None else fewest
        if least < 1 or most < 0 or 0 < most < least:
            raise InputError(
                "augmentations.text_crop: fewest must be at least 1, and most at least fewest, or 0 for no bound; they "
                f"are {least} and {most}"
            )
        self.shortest, self.longest, self.fewest, self.most, self.unit = shortest, longest, fewest, most, unit

    def __call__(self, cells: Sequence[str], draws: Draws) -> list[str]:
        """Return a crop of each text."""
        drawn = draws.uniform(2).tolist()
        return [self._crop(text, *pair) for text, pair in zip(check_texts("text_crop", cells), drawn, strict=True)]

    def _crop(self, text: str, length_draw: float, start_draw: float) -> str:
        parts = spans(text, self.unit)
        if not parts:
            return text
        share = self.shortest + (self.longest - self.shortest) * length_draw
        length = max(round(share * len(parts)), FEWEST[self.unit] if self.fewest is None else self.fewest)
        length = min(length, len(parts), self.most or length)
        start = int(start_draw * (len(parts) - length + 1))
        return text[parts[start][0] : parts[start + length - 1][1]]
