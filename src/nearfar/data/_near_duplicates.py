"""Near-duplicate code by MinHash: signatures of shingles, and a join that finds every pair of alike signatures.

Broder, "On the resemblance and containment of documents" (1997): the share of equal places in two signatures
estimates the Jaccard similarity of their sets of shingles.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Signatures = npt.NDArray[np.uint32]

PLACES = 32  # of a signature; the estimate's standard error at 0.7 is 0.08
ALIKE = 23  # equal places that make a near-duplicate: the least with an estimated Jaccard similarity >= 0.7
BANDS = 10  # of three places: 32 - 23 = 9 unequal places cannot spoil ten bands, so the join misses no pair
BLOCK = 500_000  # candidate pairs compared at once: 64 MB

_COMMENT = re.compile(r"""("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|#[^\n]*""")
_WORD = re.compile(r"\w+")


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
    cuts = np.flatnonzero(np.diff(np.cumsum(counts) // BLOCK)) + 1
    edges = [0, *cuts.tolist(), len(counts)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]
