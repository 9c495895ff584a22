"""Ids of rows that bring none: by their content, so that a row that is added again replaces itself."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np


class ContentIds:
    """Ids for the cells of one file or table in their order: a prefix, a hash of the cell, and from the second equal
    one on its number.

    So equal cells are several rows, and an id stays while other parts of the file change.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix, self._seen = prefix, Counter[bytes]()

    def next(self, cell: Any) -> str:
        """Return the id of the next cell, a text or an array."""
        content = (
            cell.encode() if isinstance(cell, str) else str(cell.shape).encode() + np.ascontiguousarray(cell).tobytes()
        )
        digest = hashlib.blake2b(content, digest_size=12).digest()
        self._seen[digest] += 1
        times = self._seen[digest]
        return f"{self._prefix}{digest.hex()}" + (f"-{times}" if times > 1 else "")
