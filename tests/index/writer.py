"""A process that writes to an index and says what is written: python -m tests.index.writer FOLDER NAME COUNT SIZE.

It adds COUNT parts of SIZE rows each, then deletes every third part, and prints a line for each call that returned.
Rows and vectors are functions of their ids.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from nearfar.index.index import Index
from nearfar.index.rows import Vectors

DIM = 8


def text_of(name: str) -> str:
    """Return a row's text: words that some other rows have, too, and one of its own."""
    number = int(blake2b(name.encode(), digest_size=4).hexdigest(), 16)
    return f"of{chr(97 + number % 7)} of{chr(97 + number % 11)} {own_word(name)}"


def own_word(name: str) -> str:
    """Return a word of letters that no other row has."""
    return blake2b(name.encode(), digest_size=8).hexdigest().translate(str.maketrans("0123456789", "ghijklmnop"))


def vectors_of(ids: Sequence[str]) -> Vectors:
    """Return the unit vectors of rows."""
    seeds = [int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little") for name in ids]
    drawn = np.stack([np.random.default_rng(seed).standard_normal(DIM).astype(np.float32) for seed in seeds])
    unit: Vectors = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return unit


def main(folder: str, name: str, count: int, size: int) -> None:
    """Write, and say so."""
    index = Index.open(Path(folder))
    parts = [[f"{name}-{part}-{i}" for i in range(size)] for part in range(count)]
    for part, ids in enumerate(parts):
        index.add([{"id": one, "text": text_of(one), "part": part} for one in ids], vectors=vectors_of(ids))
        print("added", part, flush=True)
        if part % 3 == 2:
            index.delete(parts[part - 1])
            print("deleted", part - 1, flush=True)
    index.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
