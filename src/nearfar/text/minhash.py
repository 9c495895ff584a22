"""Near-duplicates in code or text by MinHash (Broder 1997, "On the resemblance and containment of documents").

A shingle is a run of three words (of `text.analyser`). A signature holds, for each of 32 hash functions, the least
hash of a text's shingles; the share of equal components of two signatures estimates the Jaccard similarity of the sets
of shingles. Candidates come from banding: signatures in bands of three components, and pairs that are equal in a whole
band.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from nearfar.column import Ids, ranges
from nearfar.text.analyser import has_word, whole_words, written_words

Signatures = npt.NDArray[np.uint32]
Shingles = set[tuple[str, ...]]
SIGNATURE_SIZE = 32  # components; the standard error of an estimated similarity of 0.7 is 0.08
BANDS = 10  # of three components: a pair of texts at 0.8 is equal in one of them with a probability of 99.9 %
NEAR_DUPLICATE = 23  # equal components of near-duplicate code: the least with an estimated similarity >= 0.7
LEAST_JACCARD = 0.8  # of texts: the similarity of their sets of shingles, computed exactly
CANDIDATE = 20  # equal components of a pair of texts to compare: a pair at 0.8 has them with a probability of 99 %
MAX_NEIGHBOURS = 64  # later texts of a band that a text is compared with: a thousand copies are half a million pairs
PAIR_BLOCK = 20_000  # pairs of signatures compared in one block: what a core's cache holds
TEXT_BLOCK = 10_000  # texts whose signatures are computed in one block
_COMMENT = re.compile(r"""("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|#[^\n]*""")


def _odd_numbers(count: int) -> npt.NDArray[np.uint64]:
    """Return fixed odd multipliers by SplitMix64, written out because NumPy's streams may change between versions."""
    numbers = []
    for i in range(1, count + 1):
        z = i * 0x9E3779B97F4A7C15 % 2**64
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        numbers.append((z ^ (z >> 31)) | 1)
    return np.array(numbers, np.uint64)


_MULTIPLIERS = _odd_numbers(3 + SIGNATURE_SIZE)  # three for the words of a shingle, one for each hash function


def signatures(texts: Sequence[str], words: Callable[[str], list[str]] = written_words) -> Signatures:
    """Return the MinHash signatures (n, 32) of n texts, or of code without comments, over shingles of three words.

    words: cuts a text into its words; by default their case counts.
    """
    if not texts:
        return np.empty((0, SIGNATURE_SIZE), np.uint32)
    hashes = _Hashes()
    rows = [[hashes[word] for word in words(text)] for text in texts]
    for row in rows:
        row.extend([0] * (3 - len(row)))
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))  # (n,)
    flat = np.fromiter(itertools.chain.from_iterable(rows), np.uint64, int(lengths.sum()))
    ends = np.cumsum(lengths)  # (n,)
    inside = np.ones(len(flat), bool)
    inside[ends - 1] = inside[ends - 2] = False  # shingles that start here would reach into the next text
    shingles = flat[:-2] * _MULTIPLIERS[0] + flat[1:-1] * _MULTIPLIERS[1] + flat[2:] * _MULTIPLIERS[2]
    shingles = shingles[inside[:-2]]
    shingles ^= shingles >> np.uint64(29)
    starts = ends - lengths - 2 * np.arange(len(rows))  # (n,)
    result = np.empty((len(rows), SIGNATURE_SIZE), np.uint32)
    for i in range(SIGNATURE_SIZE):
        ranks = (shingles * _MULTIPLIERS[3 + i]) >> np.uint64(32)
        result[:, i] = np.minimum.reduceat(ranks, starts)
    return result


def near_duplicates(rows: Signatures, others: Signatures) -> npt.NDArray[np.bool_]:
    """Return which of n rows are near-duplicates of any of m others, (n,): at least 23 of 32 components are equal.

    No near-duplicate is missed: 32 - 23 = 9 unequal components cannot lie in all ten bands.
    """
    found = np.zeros(len(rows), bool)
    if not len(rows) or not len(others):
        return found
    for band in range(BANDS):
        keys, (order, other_keys) = _band_keys(rows, band), _sorted_band(others, band)
        open_rows = np.flatnonzero(~found)
        start = np.searchsorted(other_keys, keys[open_rows], "left")
        count = np.searchsorted(other_keys, keys[open_rows], "right") - start
        for i, j in _pair_blocks(start, count):
            row = open_rows[i]
            alike = (rows[row] == others[order[j]]).sum(1) >= NEAR_DUPLICATE
            found[row[alike]] = True
    return found


def near_pairs(texts: Sequence[str]) -> tuple[Ids, npt.NDArray[np.float64]]:
    """Return the pairs (p, 2) of alike texts among n, the lower index first, and their Jaccard similarity (p,), >= 0.8.

    Letters' case and normal form, punctuation and spaces do not count. A text without a word is like no other. A pair
    at 0.8 is missed in about one case of a hundred; the similarities returned are exact.

    When not to use it: for translations and paraphrases, which share few runs of words.
    """
    with_words = np.flatnonzero([has_word(text) for text in texts])
    blocks = (with_words[start : start + TEXT_BLOCK] for start in range(0, len(with_words), TEXT_BLOCK))
    parts = [signatures([texts[i] for i in block], whole_words) for block in blocks]
    if not parts:
        return np.empty((0, 2), np.int64), np.empty(0)
    pairs = with_words[_candidates(np.concatenate(parts))]  # (c, 2)
    shingles: dict[int, Shingles] = {}
    similarity = np.array(
        [_jaccard(_shingles(texts, i, shingles), _shingles(texts, j, shingles)) for i, j in pairs.tolist()]
    )
    kept = similarity >= LEAST_JACCARD if len(pairs) else np.zeros(0, bool)
    return pairs[kept], similarity[kept]


def leaders(n: int, pairs: Ids, similarity: npt.NDArray[np.float64]) -> dict[int, tuple[int, float]]:
    """Return for each of n texts to leave out: the earlier text that stays and is most similar, and their similarity.

    A text is left out only if it is in a pair itself with an earlier one that stays: similarity is not transitive.
    """
    earlier: dict[int, list[tuple[int, float]]] = {}
    for (i, j), value in zip(pairs.tolist(), similarity.tolist()):
        earlier.setdefault(j, []).append((i, value))
    found: dict[int, tuple[int, float]] = {}
    for j in sorted(earlier):
        staying = [(i, value) for i, value in sorted(earlier[j]) if i not in found]
        if staying and j < n:
            found[j] = max(staying, key=lambda one: one[1])
    return found


def without_comments(code: str) -> str:
    """Return code without its comments (a `#` inside a string of one line stays)."""
    return _COMMENT.sub(r"\1", code) if "#" in code else code


class _Hashes(dict[str, int]):
    """Words to 32-bit hashes, the same in every process (`hash` of a string is not)."""

    def __missing__(self, word: str) -> int:
        value = self[word] = zlib.crc32(word.encode())
        return value


def _candidates(rows: Signatures) -> Ids:
    """Return distinct pairs (c, 2) of signatures (n, 32), sorted, that share a band and have 20 equal components."""
    found: set[tuple[int, int]] = set()
    for band in range(BANDS):
        order, keys = _sorted_band(rows, band)
        following = np.arange(1, len(rows) + 1)  # (n,)
        count = np.minimum(np.searchsorted(keys, keys, "right") - following, MAX_NEIGHBOURS)
        for i, j in _pair_blocks(following, count):
            first, second = order[i], order[j]  # first < second, for equal keys are in the order of the rows
            alike = (rows[first] == rows[second]).sum(1) >= CANDIDATE
            found.update(zip(first[alike].tolist(), second[alike].tolist()))
    return np.array(sorted(found), np.int64).reshape(-1, 2)


def _sorted_band(rows: Signatures, band: int) -> tuple[Ids, npt.NDArray[np.uint64]]:
    """Return the order of rows (n,) by their keys of a band (equal keys by row), and the sorted keys (n,)."""
    keys = _band_keys(rows, band)
    order = np.argsort(keys, kind="stable")
    return order, keys[order]


def _band_keys(rows: Signatures, band: int) -> npt.NDArray[np.uint64]:
    """Return one band of each row as one 64-bit number, (n,); a collision costs a comparison."""
    components = rows[:, 3 * band : 3 * band + 3].astype(np.uint64)
    keys: npt.NDArray[np.uint64] = components @ _MULTIPLIERS[:3]  # (n,)
    return keys


def _pair_blocks(start: Ids, count: Ids) -> Iterator[tuple[Ids, Ids]]:
    """Yield all pairs (i, j) with start[i] <= j < start[i] + count[i], in blocks of about PAIR_BLOCK pairs."""
    cuts = np.flatnonzero(np.diff(np.cumsum(count) // PAIR_BLOCK)) + 1
    for a, b in itertools.pairwise([0, *cuts.tolist(), len(count)]):
        yield np.repeat(np.arange(a, b), count[a:b]), ranges(start[a:b], count[a:b])


def _shingles(texts: Sequence[str], i: int, cache: dict[int, Shingles]) -> Shingles:
    """Return the shingles of a text, three words each; of a shorter text, all its words as one shingle."""
    if i not in cache:
        words = whole_words(texts[i])
        cache[i] = {tuple(words)} if len(words) < 3 else set(zip(words, words[1:], words[2:]))
    return cache[i]


def _jaccard(a: Shingles, b: Shingles) -> float:
    return len(a & b) / len(a | b)
