"""TextCrop: a random crop of a text, in words or sentences."""

from __future__ import annotations

from typing import Literal

import numpy as np

from nearfar.errors import InputError
from nearfar.text.spans import check_share, check_text, check_unit, spans

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

    Call: (text, generator) -> text, never empty. Errors: `InputError` for shares out of range, a `most` below `fewest`,
    a cell that is no text.

    Example:
        >>> import numpy as np, nearfar as nf
        >>> crop = nf.augmentations.TextCrop(shortest=0.5, longest=0.5, fewest=1)
        >>> crop("pull near push far", np.random.default_rng(0))
        'near push'

    When not to use it: on texts of a line, whose crops differ in meaning; let dropout be the only difference.
    """

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

    def __call__(self, cell: str, generator: np.random.Generator) -> str:
        """Return a crop of the text."""
        parts = spans(check_text("text_crop", cell), self.unit)
        if not parts:
            return cell
        share = generator.uniform(self.shortest, self.longest)
        length = max(round(share * len(parts)), FEWEST[self.unit] if self.fewest is None else self.fewest)
        length = min(length, len(parts), self.most or length)
        start = int(generator.integers(len(parts) - length + 1))
        return cell[parts[start][0] : parts[start + length - 1][1]]
