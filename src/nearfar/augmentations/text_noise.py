"""TextNoise: a text with some words deleted and some swapped."""

from __future__ import annotations

import numpy as np

from nearfar.errors import InputError
from nearfar.text.spans import check_share, check_text, words


class TextNoise:
    """A text with some words deleted, and some swapped with the next one.

    Each word is deleted with probability `delete`; of the remaining words, each is swapped with the next one with
    probability `swap`. One word remains at least. Deletion of 60 % is the noise of TSDAE (Wang et al. 2021,
    arXiv:2104.06979, section 4.1), where a decoder restores the text; for two views of one text take less.

    Args:
        delete: share of words to delete, 0 to below 1.
        swap: share of words to swap with the next one, 0 to 1.

    Call: (text, generator) -> text, never empty. Errors: `InputError` for shares out of range, for both zero, for a
    cell that is no text.

    Example:
        >>> import numpy as np, nearfar as nf
        >>> nf.augmentations.TextNoise(delete=0.0, swap=1.0)("pull near", np.random.default_rng(0))
        'near pull'

    When not to use it: where one word decides ("not", a name, a number): to delete it changes the meaning.
    """

    def __init__(self, delete: float = 0.1, swap: float = 0.1) -> None:
        check_share("text_noise.delete", delete, below_one=True)
        check_share("text_noise.swap", swap)
        if delete == swap == 0:
            raise InputError("augmentations.text_noise: delete and swap are both 0, so nothing changes; leave it out")
        self.delete, self.swap = delete, swap

    def __call__(self, cell: str, generator: np.random.Generator) -> str:
        """Return the text with noise."""
        found = words(check_text("text_noise", cell))
        if not found:
            return cell
        ends = [start for start, _ in found[1:]] + [found[-1][1]]
        word_texts = [cell[start:stop] for start, stop in found]
        gaps = [cell[stop:end] for (_, stop), end in zip(found, ends, strict=True)]  # the white space after each word
        remains = generator.random(len(word_texts)) >= self.delete
        if not remains.any():
            remains[generator.integers(len(word_texts))] = True
        kept = [(word, gap) for word, gap, flag in zip(word_texts, gaps, remains, strict=True) if flag]
        order = [word for word, _ in kept]
        i = 0
        for swap in generator.random(max(len(order) - 1, 0)) < self.swap:
            if swap and i < len(order) - 1:
                order[i : i + 2] = order[i + 1], order[i]
                i += 1  # a word is swapped once: else it could go from swap to swap to the end
            i += 1
        return "".join(word + gap for word, (_, gap) in zip(order, kept, strict=True)).rstrip()
