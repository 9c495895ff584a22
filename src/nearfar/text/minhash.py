"""Near-duplicate code and texts by MinHash.

A signature holds the least hash of the shingles (runs of three words) at each place; the share of equal places
estimates the Jaccard similarity of their sets of shingles.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from nearfar.column import Ids

Signatures = npt.NDArray[np.uint32]
PLACES = 32  # of a signature; the estimate's standard error at 0.7 is 0.08
ALIKE = 23  # equal places that make a near-duplicate: the least with an estimated Jaccard similarity >= 0.7
BANDS = 10  # of three places: 32 - 23 = 9 unequal places cannot spoil ten bands, so the join misses no pair
PAIR_BLOCK = 500_000  # candidate pairs compared at once: 64 MB
_COMMENT = re.compile(r"""("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|#[^\n]*""")
_WORD = re.compile(r"\w+")


def _odd_numbers(count: int) -> npt.NDArray[np.uint64]:
    """Return fixed odd multipliers by SplitMix64, written out because NumPy's streams may change between versions."""
    numbers = []
    for i in range(1, count + 1):
        z = i * 0x9E3779B97F4A7C15 % 2**64
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        numbers.append((z ^ (z >> 31)) | 1)
    return np.array(numbers, np.uint64)


_MIX = _odd_numbers(3 + PLACES)
LEAST_JACCARD = 0.8  # Jaccard similarity of the sets of runs of three words
ALIKE_TEXTS = 20  # of 32 equal places make a candidate: a pair at 0.8 has so many with a probability of 99 %
TEXT_BANDS = 10  # of three places: such a pair shares one with a probability of 99.9 %
REACH = 64  # candidates of a text in one band: keeps thousands of copies of one form from being compared all with all
_TEXT_BLOCK = 10_000
_TEXT_WORD = re.compile(r"\w+")


def without_comments(code: str) -> str:
    """Return code without its comments (a `#` inside a string of one line stays)."""
    return _COMMENT.sub(r"\1", code) if "#" in code else code


class _Hashes(dict[str, int]):
    """Words to 32-bit hashes, the same in every process (`hash` of a string is not)."""

    def __missing__(self, word: str) -> int:
        value = self[word] = zlib.crc32(word.encode())
        return value


def signatures(codes: Sequence[str]) -> Signatures:
    """Return the MinHash signatures over shingles of three words of n codes without comments, (n, 32)."""
    if not codes:
        return np.empty((0, PLACES), np.uint32)
    hashes = _Hashes()
    words = [[hashes[word] for word in _WORD.findall(code)] for code in codes]
    for row in words:
        row.extend([0] * (3 - len(row)))
    lengths = np.fromiter(map(len, words), np.int64, len(words))  # (n,)
    flat = np.fromiter(itertools.chain.from_iterable(words), np.uint64, int(lengths.sum()))
    ends = np.cumsum(lengths)  # (n,)
    inside = np.ones(len(flat), bool)
    inside[ends - 1] = inside[ends - 2] = False  # shingles that start here would reach into the next code
    shingles = flat[:-2] * _MIX[0] + flat[1:-1] * _MIX[1] + flat[2:] * _MIX[2]
    shingles = shingles[inside[:-2]]
    shingles ^= shingles >> np.uint64(29)
    starts = ends - lengths - 2 * np.arange(len(words))  # (n,)
    result = np.empty((len(words), PLACES), np.uint32)
    for place in range(PLACES):
        ranks = (shingles * _MIX[3 + place]) >> np.uint64(32)
        result[:, place] = np.minimum.reduceat(ranks, starts)
    return result


def near_duplicates(rows: Signatures, others: Signatures) -> npt.NDArray[np.bool_]:
    """Return which of n rows are near-duplicates of any of m others, (n,): at least 23 of 32 places are equal."""
    found = np.zeros(len(rows), bool)
    if not len(rows) or not len(others):
        return found
    for band in range(BANDS):
        keys, other_keys = _band(rows, band), _band(others, band)
        order = np.argsort(other_keys, kind="stable")
        other_keys = other_keys[order]
        open_rows = np.flatnonzero(~found)
        left = np.searchsorted(other_keys, keys[open_rows], "left")
        counts = np.searchsorted(other_keys, keys[open_rows], "right") - left
        for part in _blocks(counts):
            row = np.repeat(open_rows[part], counts[part])  # (pairs,)
            offset = np.repeat(left[part] - (np.cumsum(counts[part]) - counts[part]), counts[part])
            other = order[offset + np.arange(len(row))]  # (pairs,)
            alike = (rows[row] == others[other]).sum(1) >= ALIKE
            found[row[alike]] = True
    return found


def _band(rows: Signatures, band: int) -> npt.NDArray[np.uint64]:
    """Return one band as one number a row; a collision costs a comparison, no wrong answer."""
    places = rows[:, 3 * band : 3 * band + 3].astype(np.uint64)
    keys: npt.NDArray[np.uint64] = places @ _MIX[:3]  # (n,)
    return keys


def _blocks(counts: npt.NDArray[np.int64]) -> list[slice]:
    """Cut rows into runs of about BLOCK pairs."""
    cuts = np.flatnonzero(np.diff(np.cumsum(counts) // PAIR_BLOCK)) + 1
    edges = [0, *cuts.tolist(), len(counts)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def near_pairs(texts: Sequence[str]) -> tuple[Ids, npt.NDArray[np.float64]]:
    """Return pairs of places (p, 2), the lower first, of alike texts (n,), and their Jaccard similarity (p,), >= 0.8.

    Letters' case, punctuation and spaces do not count. A text without a word is like no other.
    Source: Broder 1997, "On the resemblance and containment of documents". Candidates come from 32 MinHash places in
    ten bands, so a pair at 0.8 is missed in about one case of a hundred; what is returned is exact.

    When not to use it: on scripts that put no space between words, where only nearly equal sentences are found.
    """
    words = [bool(_TEXT_WORD.search(text)) for text in texts]
    places = np.flatnonzero(words)
    blocks = (places[start : start + _TEXT_BLOCK] for start in range(0, len(places), _TEXT_BLOCK))
    parts = [signatures([texts[i].casefold() for i in block]) for block in blocks]
    if not parts:
        return np.empty((0, 2), np.int64), np.empty(0)
    candidates = _candidates(np.concatenate(parts))
    pairs = np.sort(places[candidates], 1)  # (c, 2)
    sets: dict[int, set[tuple[str, ...]]] = {}
    alike = np.array([_jaccard(_runs(texts, i, sets), _runs(texts, j, sets)) for i, j in pairs.tolist()])
    kept = alike >= LEAST_JACCARD if len(pairs) else np.zeros(0, bool)
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
    found = {
        pair for band in range(TEXT_BANDS) for block in _in_band(rows, band) for pair in map(tuple, block.tolist())
    }
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
        alike = (rows[i] == rows[j]).sum(1) >= ALIKE_TEXTS
        yield np.stack([np.minimum(i, j), np.maximum(i, j)], 1)[alike]


def _runs(texts: Sequence[str], place: int, known: dict[int, set[tuple[str, ...]]]) -> set[tuple[str, ...]]:
    """Return a text's runs of three words; of a shorter one, the words themselves."""
    if place not in known:
        words = _TEXT_WORD.findall(texts[place].casefold())
        known[place] = {tuple(words)} if len(words) < 3 else set(zip(words, words[1:], words[2:]))
    return known[place]


def _jaccard(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> float:
    return len(a & b) / len(a | b)
