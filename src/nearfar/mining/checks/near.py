"""Near-duplicate texts: MinHash finds candidates, the shared runs of three words decide."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from nearfar.column import Ids
from nearfar.data._near_duplicates import Signatures, signatures

LEAST = 0.8  # Jaccard similarity of the sets of runs of three words
ALIKE = 20  # of 32 equal places make a candidate: a pair at 0.8 has so many with a probability of 99 %
BANDS = 10  # of three places: such a pair shares one with a probability of 99.9 %
REACH = 64  # candidates of a text in one band: keeps thousands of copies of one form from being compared all with all
_BLOCK = 10_000
_WORD = re.compile(r"\w+")


def near_pairs(texts: Sequence[str]) -> tuple[Ids, npt.NDArray[np.float64]]:
    """Return pairs of places (p, 2), the lower first, of alike texts (n,), and their Jaccard similarity (p,), >= 0.8.

    Letters' case, punctuation and spaces do not count. A text without a word is like no other.
    Source: Broder 1997, "On the resemblance and containment of documents". Candidates come from 32 MinHash places in
    ten bands, so a pair at 0.8 is missed in about one case of a hundred; what is returned is exact.

    When not to use it: on scripts that put no space between words, where only nearly equal sentences are found.
    """
    words = [bool(_WORD.search(text)) for text in texts]
    places = np.flatnonzero(words)
    blocks = (places[start : start + _BLOCK] for start in range(0, len(places), _BLOCK))
    parts = [signatures([texts[i].casefold() for i in block]) for block in blocks]
    if not parts:
        return np.empty((0, 2), np.int64), np.empty(0)
    candidates = _candidates(np.concatenate(parts))
    pairs = np.sort(places[candidates], 1)  # (c, 2)
    sets: dict[int, set[tuple[str, ...]]] = {}
    alike = np.array([_jaccard(_runs(texts, i, sets), _runs(texts, j, sets)) for i, j in pairs.tolist()])
    kept = alike >= LEAST if len(pairs) else np.zeros(0, bool)
    return pairs[kept], alike[kept]


def leaders(n: int, pairs: Ids, alike: npt.NDArray[np.float64]) -> dict[int, tuple[int, float]]:
    """Return for each text that is near an earlier one that stays: that one, and how alike they are.

    Nearness is not passed on: a text is only ever given to one that it is near itself.
    """
    earlier: dict[int, list[tuple[int, float]]] = {}
    for (i, j), value in zip(pairs.tolist(), alike.tolist()):
        earlier.setdefault(j, []).append((i, value))
    found: dict[int, tuple[int, float]] = {}
    for j in sorted(earlier):
        staying = [(i, value) for i, value in sorted(earlier[j]) if i not in found]
        if staying and j < n:
            found[j] = max(staying, key=lambda one: one[1])
    return found


def _candidates(rows: Signatures) -> Ids:
    """Return distinct pairs (c, 2) of signatures (n, 32) that share a band and have 20 equal places."""
    found = {pair for band in range(BANDS) for block in _in_band(rows, band) for pair in map(tuple, block.tolist())}
    return np.array(sorted(found), np.int64).reshape(-1, 2)


def _in_band(rows: Signatures, band: int) -> Iterator[Ids]:
    places = rows[:, 3 * band : 3 * band + 3]
    order = np.lexsort(places.T)  # stable: within a band, texts stay in their order
    ordered = places[order]
    same = (ordered[1:] == ordered[:-1]).all(1)  # (n - 1,) follows one of the same band
    group = np.concatenate([[0], np.cumsum(~same)])  # (n,)
    for shift in range(1, REACH + 1):
        left = np.flatnonzero(group[shift:] == group[:-shift])
        if not len(left):
            return
        i, j = order[left], order[left + shift]
        alike = (rows[i] == rows[j]).sum(1) >= ALIKE
        yield np.stack([np.minimum(i, j), np.maximum(i, j)], 1)[alike]


def _runs(texts: Sequence[str], place: int, known: dict[int, set[tuple[str, ...]]]) -> set[tuple[str, ...]]:
    """Return a text's runs of three words; of a shorter one, the words themselves."""
    if place not in known:
        words = _WORD.findall(texts[place].casefold())
        known[place] = {tuple(words)} if len(words) < 3 else set(zip(words, words[1:], words[2:]))
    return known[place]


def _jaccard(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> float:
    return len(a & b) / len(a | b)
