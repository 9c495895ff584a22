"""The file `words.db`: by term, the rows that have it; of each row its length and hash; and writes under way.

Terms are in segments, one for each write; small ones are merged into larger ones. A row has a slot, which is never used
again: where a row is replaced or deleted, its old slot is dead, and what segments say of it counts no more. Lengths lie
in blocks of many slots, so that a search that begins cold, or comes after a write, reads all of them in a moment.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.index.digest import total
from nearfar.index.sqlite_file import SqliteFile

Slots = npt.NDArray[np.int64]
Lengths = npt.NDArray[np.int32]
_GROWTH = 8  # so many segments of about one size become one
_BLOCK = 4096  # slots whose lengths lie together
_NONE = -1  # the length of a slot that is dead, or whose row has no text
_TABLES = (
    "CREATE TABLE docs (slot INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, hash BLOB NOT NULL)",
    "CREATE TABLE lengths (block INTEGER PRIMARY KEY, lengths BLOB NOT NULL)",
    "CREATE TABLE postings (segment INTEGER, term TEXT, slots BLOB, counts BLOB, UNIQUE (segment, term))",
    "CREATE TABLE segments (segment INTEGER PRIMARY KEY, docs INTEGER NOT NULL)",
    "CREATE TABLE pending (id TEXT PRIMARY KEY)",
)


@dataclass
class Totals:
    """What holds for the file as a whole. version: grows by each write. texts: rows that have one.

    language: by which texts are cut into terms. settled: whether it stays.
    """

    version: int = 0
    rows: int = 0
    texts: int = 0
    tokens: int = 0
    next_slot: int = 0
    next_segment: int = 0
    digest: str = "0" * 32
    language: str | None = None
    settled: bool = False


@dataclass(frozen=True)
class IndexedRow:
    """A row as it counts here. text: None where it has none."""

    id: str
    text: str | None
    hash: bytes


class Postings:
    """The file. The caller holds the index's lock while it writes."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self._file = SqliteFile(path, create=create)
        self._lengths: tuple[int, Lengths] = (-1, np.empty(0, np.int32))  # by version
        if create:
            with self._file.writing():
                for statement in _TABLES:
                    self._file.do(statement)
                self._file.do(f"CREATE TABLE totals ({', '.join(field.name for field in fields(Totals))})")
                self._file.do(f"INSERT INTO totals VALUES ({', '.join('?' * len(fields(Totals)))})", astuple(Totals()))

    @contextmanager
    def reading(self) -> Iterator[Totals]:
        """Read in one transaction."""
        with self._file.reading():
            yield self._totals()

    @contextmanager
    def writing(self) -> Iterator[Totals]:
        """Write in one transaction, with what the caller makes of the totals.

        It need not be flushed: a power cut that undoes it leaves the note that these writes have begun.
        """
        with self._file.writing(flush=False):
            totals = self._totals()
            yield totals
            totals.version += 1
            names = ", ".join(f"{field.name} = ?" for field in fields(Totals))
            self._file.do(f"UPDATE totals SET {names}", astuple(totals))

    def begin(self, ids: Sequence[str]) -> None:
        """Note that rows are going to be written; whoever finds the note later looks what became of them."""
        with self._file.writing():
            self._file.do_many("INSERT OR IGNORE INTO pending VALUES (?)", ((name,) for name in ids))

    def pending(self) -> list[str]:
        """Return the ids of writes that were begun and did not end."""
        with self._file.reading():
            return [name for (name,) in self._file.do("SELECT id FROM pending ORDER BY id")]

    def replace(
        self, totals: Totals, ids: Sequence[str], documents: Sequence[IndexedRow], terms: Callable[[str], list[str]]
    ) -> None:
        """Replace what is known of ids by documents, some of which may be gone, and end their writes."""
        gone = list(self._file.among("SELECT slot, hash FROM docs WHERE id IN", ids))
        self._file.do_many("DELETE FROM docs WHERE slot = ?", ((slot,) for slot, _ in gone))
        inverted, slots = _Inverted(), range(totals.next_slot, totals.next_slot + len(documents))
        lengths = np.full(len(documents), _NONE, np.int32)
        for i, (slot, document) in enumerate(zip(slots, documents)):
            if document.text is not None:
                lengths[i] = inverted.add(slot, terms(document.text))
        self._file.do_many(
            "INSERT INTO docs VALUES (?, ?, ?)", ((slot, d.id, d.hash) for slot, d in zip(slots, documents))
        )
        old = np.array([slot for slot, _ in gone], np.int64)
        before = self._set_lengths(old, np.full(len(old), _NONE, np.int32))
        self._set_lengths(np.arange(slots.start, slots.stop), lengths)
        added, removed = lengths[lengths >= 0], before[before >= 0]
        totals.rows += len(documents) - len(gone)
        totals.texts += len(added) - len(removed)
        totals.tokens += int(added.sum()) - int(removed.sum())
        totals.next_slot += len(documents)
        totals.digest = total(totals.digest, [d.hash for d in documents], [known for _, known in gone])
        if len(added):
            self._add_segment(totals, len(documents), inverted.blobs())
            self._merge(totals)
        self._file.do_many("DELETE FROM pending WHERE id = ?", ((name,) for name in ids))

    def clear(self, totals: Totals) -> None:
        """Forget all rows, and number slots from 0 again."""
        for table in ("docs", "lengths", "postings", "segments"):
            self._file.do(f"DELETE FROM {table}")
        totals.rows = totals.texts = totals.tokens = totals.next_slot = 0
        totals.digest = "0" * 32

    def lengths(self, totals: Totals) -> Lengths:
        """Return the number of terms of each slot's text, (next_slot,), -1 where it has none or is dead."""
        if self._lengths[0] != totals.version:
            self._lengths = totals.version, self._read_lengths(totals)
        return self._lengths[1]

    def _read_lengths(self, totals: Totals) -> Lengths:
        blocks = self._file.do("SELECT lengths FROM lengths ORDER BY block")  # each slot that was used is in one
        return np.frombuffer(b"".join(lengths for (lengths,) in blocks), "<i4")[: totals.next_slot]

    def _set_lengths(self, slots: Slots, lengths: Lengths) -> Lengths:
        """Write the lengths (n,) of slots (n,); return those from before."""
        before = np.full(len(slots), _NONE, np.int32)
        blocks = slots // _BLOCK
        for block in np.unique(blocks).tolist():
            inside = blocks == block
            row = self._file.do("SELECT lengths FROM lengths WHERE block = ?", [block]).fetchone()
            held = np.full(_BLOCK, _NONE, "<i4") if row is None else np.frombuffer(row[0], "<i4").copy()
            before[inside] = held[slots[inside] % _BLOCK]
            held[slots[inside] % _BLOCK] = lengths[inside]
            self._file.do("INSERT OR REPLACE INTO lengths VALUES (?, ?)", [block, held.tobytes()])
        return before

    def with_term(self, term: str) -> tuple[Slots, npt.NDArray[np.int64]]:
        """Return the slots that have a term, dead ones, too, and how often."""
        statement = "SELECT slots, counts FROM postings WHERE segment IN (SELECT segment FROM segments) AND term = ?"
        return _joined(self._file.do(statement, [term]).fetchall())

    def ids_of(self, slots: Slots) -> list[str]:
        """Return the ids of living slots, in their order."""
        found = dict(self._file.among("SELECT slot, id FROM docs WHERE slot IN", slots.tolist()))
        return [found[slot] for slot in slots.tolist()]

    def slots_of(self, ids: Sequence[str]) -> Slots:
        """Return the slots of those ids that are there."""
        found = self._file.among("SELECT slot FROM docs WHERE id IN", ids)
        return np.fromiter((slot for (slot,) in found), np.int64)

    def hashes(self) -> dict[str, bytes]:
        """Return the hash of each row by its id."""
        with self._file.reading():
            return dict(self._file.do("SELECT id, hash FROM docs"))

    def disagreement(self) -> str | None:
        """Return what is wrong within the file, in words; None where totals, rows and terms say the same."""
        with self.reading() as totals:
            lengths = self.lengths(totals)
            counted = np.zeros(totals.next_slot, np.int64)
            for slots, counts in self._file.do("SELECT slots, counts FROM postings"):
                np.add.at(counted, *_joined([(slots, counts)]))
            living = lengths >= 0
            (rows,) = self._file.do("SELECT count(*) FROM docs").fetchone()
        if (rows, living.sum(), lengths[living].sum()) != (totals.rows, totals.texts, totals.tokens):
            return (
                f"words.db has not the {totals.rows:,} rows, {totals.texts:,} texts, {totals.tokens:,} terms it counts"
            )
        wrong = np.flatnonzero(counted[living] != lengths[living])
        return f"words.db has lost or doubled terms of {len(wrong):,} rows" if len(wrong) else None

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _add_segment(self, totals: Totals, size: int, blobs: Iterable[tuple[str, bytes, bytes]]) -> None:
        segment = totals.next_segment
        totals.next_segment += 1
        self._file.do("INSERT INTO segments VALUES (?, ?)", [segment, size])
        rows = ((segment, *blob) for blob in blobs)
        self._file.do_many("INSERT INTO postings VALUES (?, ?, ?, ?)", rows)

    def _merge(self, totals: Totals) -> None:
        """Merge segments of about one size, as long as there are many."""
        while True:
            levels: Mapping[int, list[tuple[int, int]]] = defaultdict(list)
            for segment, size in self._file.do("SELECT segment, docs FROM segments").fetchall():
                levels[int(np.log(size) / np.log(_GROWTH))].append((segment, size))
            many = next((found for _, found in sorted(levels.items()) if len(found) >= _GROWTH), None)
            if many is None:
                return
            old = [segment for segment, _ in many]
            marks = ", ".join("?" * len(old))
            living = self._read_lengths(totals) >= 0
            rows = self._file.do(
                f"SELECT term, slots, counts FROM postings WHERE segment IN ({marks}) ORDER BY term, segment", old
            )
            self._add_segment(totals, sum(size for _, size in many), _merged(rows, living))
            self._file.do(f"DELETE FROM postings WHERE segment IN ({marks})", old)
            self._file.do(f"DELETE FROM segments WHERE segment IN ({marks})", old)

    def _totals(self) -> Totals:
        names = ", ".join(field.name for field in fields(Totals))
        values = self._file.do(f"SELECT {names} FROM totals").fetchone()
        found = Totals(*values)
        found.settled = bool(found.settled)
        return found


class _Inverted:
    """Terms of some texts with the slots that have them."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[list[int], list[int]]] = {}

    def add(self, slot: int, terms: list[str]) -> int:
        """Add a text's terms; return how many there are."""
        for term, count in Counter(terms).items():
            slots, counts = self._found.setdefault(term, ([], []))
            slots.append(slot)
            counts.append(count)
        return len(terms)

    def blobs(self) -> Iterator[tuple[str, bytes, bytes]]:
        """Yield the terms in their order, as they are stored."""
        for term in sorted(self._found):
            slots, counts = self._found[term]
            yield term, *_blobs(np.array(slots), np.array(counts))


def _blobs(slots: Slots, counts: Slots) -> tuple[bytes, bytes]:
    """Return slots as four bytes each, and counts as one, or as four where one is larger."""
    return slots.astype("<u4").tobytes(), counts.astype("u1" if counts.max() < 256 else "<u4").tobytes()


def _joined(rows: Iterable[Any]) -> tuple[Slots, Slots]:
    slots, counts = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for of_slots, of_counts in rows:
        slots.append(np.frombuffer(of_slots, "<u4").astype(np.int64))
        counts.append(np.frombuffer(of_counts, "u1" if len(of_counts) < len(of_slots) else "<u4").astype(np.int64))
    return np.concatenate(slots), np.concatenate(counts)


def _merged(rows: Iterable[Any], living: npt.NDArray[np.bool_]) -> Iterator[tuple[str, bytes, bytes]]:
    """Yield each term of rows (term, slots, counts), which are in its order, once, without dead slots."""
    for term, of_term in groupby(rows, key=lambda row: row[0]):
        slots, counts = _joined((slots, counts) for _, slots, counts in of_term)
        kept = living[slots]
        if kept.any():
            yield term, *_blobs(slots[kept], counts[kept])
