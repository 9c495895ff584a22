"""A text with words missing and words out of place."""

from __future__ import annotations

import numpy as np

from nearfar.errors import InputError
from nearfar.text.spans import check_share, check_text, words


class TextNoise:
    """A text of which some words are missing and some have changed places with the next one.

    Each word is deleted with probability `delete`; of the words that stay, each changes places with its right-hand
    neighbour with probability `swap`. One word stays at least. Deletion of 60 % is the noise of TSDAE (Wang et al.
    2021, arXiv:2104.06979, section 4.1), where a decoder mends it; for two views of one text take less.

    Args:
        delete: share of words that go, 0 to below 1.
        swap: share of words that change places, 0 to 1.

    Call: (text, generator) -> text, never empty. Errors: `InputError` for shares out of range, for both zero, for a
    cell that is no text.

    Example:
        >>> import numpy as np, nearfar as nf
        >>> nf.augmentations.TextNoise(delete=0.0, swap=1.0)("pull near", np.random.default_rng(0))
        'near pull'

    When not to use it: where one word decides ("not", a name, a number): its loss is then another meaning, not noise.
    """

    def __init__(self, delete: float = 0.1, swap: float = 0.1) -> None:
        check_share("text_noise.delete", delete, below_one=True)
        check_share("text_noise.swap", swap)
        if delete == swap == 0:
            raise InputError("views.text_noise: delete and swap are both 0, so nothing changes; leave the view out")
        self.delete, self.swap = delete, swap

    def __call__(self, cell: str, generator: np.random.Generator) -> str:
        """Return the text with noise."""
        found = words(check_text("text_noise", cell))
        if not found:
            return cell
        ends = [start for start, _ in found[1:]] + [found[-1][1]]
        said = [cell[start:stop] for start, stop in found]
        gaps = [cell[stop:end] for (_, stop), end in zip(found, ends, strict=True)]  # what stands after each word
        stays = generator.random(len(said)) >= self.delete
        if not stays.any():
            stays[generator.integers(len(said))] = True
        kept = [(word, gap) for word, gap, stay in zip(said, gaps, stays, strict=True) if stay]
        order = [word for word, _ in kept]
        place = 0
        for move in generator.random(max(len(order) - 1, 0)) < self.swap:
            if move and place < len(order) - 1:
                order[place : place + 2] = order[place + 1], order[place]
                place += 1  # a word moves once, else one could wander to the end
            place += 1
        return "".join(word + gap for word, (_, gap) in zip(order, kept, strict=True)).rstrip()
