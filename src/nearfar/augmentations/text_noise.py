"""TextNoise: a text with some words deleted and some swapped."""

from __future__ import annotations

from collections.abc import Sequence

from nearfar.compute.draws import Draws
from nearfar.errors import InputError
from nearfar.text.spans import Span, check_share, check_texts, uniform_lists, words

DELETE, SURVIVOR, SWAP = range(3)  # lanes of the draws: one number a word, one a text, one a word


class TextNoise:
    """A text with some words deleted, and some swapped with the next one.

    Each word is deleted with probability `delete`; of the remaining words, each is swapped with the next one with
    probability `swap`. One word remains at least. Deletion of 60 % is the noise of TSDAE (Wang et al. 2021,
    arXiv:2104.06979, section 4.1), where a decoder restores the text; for two views of one text take less.

    Args:
        delete: share of words to delete, 0 to below 1.
        swap: share of words to swap with the next one, 0 to 1.

    Call: (texts, draws) -> texts, none of them empty. Errors: `InputError` for shares out of range, for both zero, for
    a cell that is no text.

    Example:
        >>> import numpy as np, nearfar as nf
        >>> from nearfar.compute.draws import Draws
        >>> nf.augmentations.TextNoise(delete=0.0, swap=1.0)(["pull near"], Draws.of(np.array([[0]])))
        ['near pull']

    When not to use it: where one word decides ("not", a name, a number): to delete it changes the meaning.
    """

    reads: tuple[str, ...] = ("text",)

    def __init__(self, delete: float = 0.1, swap: float = 0.1) -> None:
        check_share("text_noise.delete", delete, below_one=True)
        check_share("text_noise.swap", swap)
        if delete == swap == 0:
            raise InputError("augmentations.text_noise: delete and swap are both 0, so nothing changes; leave it out")
        self.delete, self.swap = delete, swap

    def __call__(self, cells: Sequence[str], draws: Draws) -> list[str]:
        """Return the texts with noise."""
        found = [words(text) for text in check_texts("text_noise", cells)]
        counts = [len(spans) for spans in found]
        survivors = draws.uniform(1, lane=SURVIVOR)[:, 0].tolist()
        delete, swap = (uniform_lists(draws, counts, lane) for lane in (DELETE, SWAP))
        return [self._noisy(*row) for row in zip(cells, found, delete, survivors, swap, strict=True)]

    def _noisy(self, text: str, found: list[Span], delete: list[float], survivor: float, swap: list[float]) -> str:
        if not found:
            return text
        kept = [i for i, number in enumerate(delete) if number >= self.delete] or [int(survivor * len(found))]
        ends = [start for start, _ in found[1:]] + [found[-1][1]]
        gaps = [text[found[i][1] : ends[i]] for i in kept]  # the white space after each word
        order, i = [text[slice(*found[i])] for i in kept], 0
        for number in swap[: len(order) - 1]:
            if number < self.swap and i < len(order) - 1:
                order[i : i + 2] = order[i + 1], order[i]
                i += 1  # a word is swapped once: else it could go from swap to swap to the end
            i += 1
        return "".join(word + gap for word, gap in zip(order, gaps, strict=True)).rstrip()
