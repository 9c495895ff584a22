"""The files of vectors that an exact search compares: all of one number, which belong to the same rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from nearfar.index.backends.codes import Codes, Coding, code_error, decoded, encoded, first_coordinates, unscaled, width
from nearfar.index.backends.leading import FEWEST, Leading
from nearfar.index.backends.rows_table import Slots
from nearfar.index.backends.vector_file import VectorFile
from nearfar.index.rescore import exact_scores
from nearfar.index.rows import Vectors
from nearfar.index.scan import Scan

_K = 10  # of the k-th best by which leading coordinates are judged
_AT_ONCE = 2048  # rows that are copied or decoded at once: a processor's cache holds them


class ExactFiles:
    """Vectors (`vectors-N`), what is scanned in their place (`codes-N`), and leading coordinates, if there are any.

    coding: of what is scanned, the `first` coordinates of dim.
    """

    def __init__(self, place: Path, number: int, coding: Coding, dim: int, first: int) -> None:
        self._coding, self._dim, self._first = coding, dim, first
        self._kept: Coding = "float16" if coding == "float16" else "float32"
        self._stored = VectorFile(place / f"vectors-{number:06}", width(self._kept, dim))
        self._scanned = self._stored
        if coding != self._kept or first != dim:
            self._scanned = VectorFile(place / f"codes-{number:06}", width(coding, first))
        self._may_lead = self._scanned is self._stored and coding == "float32"
        self.leading = Leading.open(place, number, dim) if self._may_lead else None

    def write(self, first: int, vectors: Vectors) -> float:
        """Write vectors (n, d) from number `first` on, and flush them; return the error of int8 codes, at most."""
        self._stored.write(first, encoded(vectors, self._kept))
        compared = first_coordinates(vectors, self._first)
        if self._scanned is not self._stored:
            self._scanned.write(first, encoded(compared, self._coding))
        if self.leading is not None:
            self.leading.write(first, vectors)
        return code_error(compared, "int8") if self._coding == "int8" else 0.0

    def vectors(self, count: int, slots: Slots) -> Vectors:
        """Return the vectors of slots, of the first `count`."""
        return decoded(self._stored.rows(count)[slots], self._kept, self._dim)

    def copy(self, count: int, slots: Slots, before: ExactFiles) -> None:
        """Write the rows of slots, of the first `count` of other files, in their order."""
        for start in range(0, len(slots), _AT_ONCE):
            part = slots[start : start + _AT_ONCE]
            self._stored.write(start, before._stored.rows(count)[part])
            if self._scanned is not self._stored:
                self._scanned.write(start, before._scanned.rows(count)[part])
            if self.leading is not None:
                self.leading.write(start, before.vectors(count, part))
        if not len(slots):
            for file in (self._stored, self._scanned):
                file.write(0, np.empty((0, file.width), np.uint8))

    def with_leading(self, place: Path, number: int, count: int, slots: Slots) -> bool:
        """Choose leading coordinates for the next files, of that number, where they help; return whether they do."""
        Leading.discard(place, number)  # of one that was broken off
        if not self._may_lead or len(slots) < FEWEST:
            return False

        def kth_best(queries: Vectors) -> Vectors:
            """Return the score (q,) of each query's k-th best row: of rows as queries the first is the row itself."""
            scan = Scan(queries, _K + 1, np.zeros(len(queries), np.float32))
            self.compare(scan, count, slots)
            found = zip(queries, scan.candidates())
            scores = [np.sort(exact_scores(query, self.vectors(count, best)))[-_K - 1] for query, best in found]
            return np.array(scores)

        return Leading.create(place, number, self.vectors(count, Leading.sampled(slots)), kth_best) is not None

    def compare(self, scan: Scan, count: int, slots: Slots) -> None:
        """Compare the rows of slots with a scan's queries."""
        codes = self._scanned.rows(count)
        for start in range(0, len(slots), _AT_ONCE):
            part = slots[start : start + _AT_ONCE]
            self._add(scan, codes[part], part, None)

    def compare_all(self, scan: Scan, count: int, allowed: npt.NDArray[np.bool_] | None) -> None:
        """Compare the first `count` rows with a scan's queries. allowed: (count,) which may be found; None is all."""
        codes = self._scanned.rows(count)
        block = scan.block if self._coding == "float32" else _AT_ONCE
        for start in range(0, count, block):
            stop = start + block
            self._add(scan, codes[start:stop], start, None if allowed is None else allowed[start:stop])

    def _add(self, scan: Scan, codes: Codes, rows: Slots | int, allowed: npt.NDArray[np.bool_] | None) -> None:
        if self._coding == "int8":
            steps, scales = unscaled(codes, self._first)
            scan.add(steps, rows, allowed, scales)
        else:
            scan.add(decoded(codes, self._coding, self._first), rows, allowed)
