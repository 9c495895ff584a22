"""Search by words in an index: BM25 over what is there now, on every backend the same."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nearfar.index.postings import IndexedRow, Postings, Slots, Totals
from nearfar.text.bm25 import K1, B
from nearfar.text.terms import TermAnalyser

Scores = npt.NDArray[np.float32]
_MOST_KEPT = 4_000_000  # pairs of a term and a row, of 12 bytes each


@dataclass(frozen=True)
class FoundByWords:
    """Rows that share a term with a query, best first, equal scores by id.

    terms: what each term gave each row, (k,), where it was asked for.
    """

    ids: list[str]
    scores: Scores
    terms: dict[str, Scores]


class ScoredByWords:
    """The scores (next_slot,) of all slots with a query, and of each of its terms the slots that have it."""

    def __init__(self, postings: Postings, scores: Scores, parts: list[tuple[str, Slots, Scores]]) -> None:
        self._postings, self._scores, self._parts = postings, scores, parts

    def best(self, k: int, among: Sequence[str] | None = None) -> FoundByWords:
        """Return the k best rows. among: ids that may be found; None is all."""
        scores = self._scores
        if among is None:
            found = np.flatnonzero(scores > 0)
        else:
            allowed = self._postings.slots_of(among)
            found = allowed[scores[allowed] > 0]
        if len(found) > k:
            found = found[scores[found] >= np.partition(scores[found], -k)[-k]]
        ids, values = self._postings.ids_of(found), scores[found].tolist()
        order = sorted(range(len(ids)), key=lambda i: (-values[i], ids[i]))[:k]
        chosen = found[order]
        return FoundByWords([ids[i] for i in order], scores[chosen], _by_term(self._parts, chosen, len(scores)))


class Words:
    """The words of an index's rows in its file `words.db`, and the journal of its writes (`postings`).

    Scores are those of `text.bm25.Bm25` over the texts that are there, to the last bit but for the order of documents,
    by which it has no equal scores to order: here they are in the order of ids. Rows without a text do not count; an
    empty text does, and is never found.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.postings = Postings(path, create=create)
        self._terms: tuple[str | None, TermAnalyser] | None = None
        self._known: tuple[int, dict[str, tuple[str, Slots, Scores]]] = (-1, {})  # by version

    def search(self, query: str, k: int, among: Sequence[str] | None = None) -> FoundByWords:
        """Return the k best rows of a query. among: ids that may be found; None is all."""
        with self.scored(query) as scored:
            return scored.best(k, among)

    @contextmanager
    def scored(self, query: str, *, explain: bool = True) -> Iterator[ScoredByWords]:
        """Score all rows with a query, and read in one transaction which they are. explain: with each term's share."""
        with self.postings.reading() as totals:
            parts = self._parts(query, totals)
            scores = np.zeros(totals.next_slot, np.float32)
            for _, slots, values in parts:
                scores[slots] += values
            yield ScoredByWords(self.postings, scores, parts if explain else [])

    def replace(self, totals: Totals, ids: Sequence[str], documents: Sequence[IndexedRow]) -> None:
        """Replace what is known of ids by documents (`Postings.replace`)."""
        self.postings.replace(totals, ids, documents, self._cut(totals))

    def settle(self, totals: Totals, language: str | None, parts: Iterable[Sequence[IndexedRow]]) -> None:
        """Cut all texts anew, by a language that stays."""
        totals.language, totals.settled = language, True
        self.postings.clear(totals)
        for documents in parts:
            self.replace(totals, [document.id for document in documents], documents)

    def close(self) -> None:
        """Let go of the file."""
        self.postings.close()

    def _parts(self, query: str, totals: Totals) -> list[tuple[str, Slots, Scores]]:
        """Return for each term of a query, in its order, the living slots that have it and what it gives them."""
        lengths, known = self.postings.lengths(totals), self._weighted_terms(totals)
        terms = self._cut(totals)(query)
        for term in terms:
            if term not in known:
                slots, counts = self.postings.with_term(term)
                living = lengths[slots] >= 0
                slots, counts = slots[living], counts[living]
                known[term] = term, slots, _weights(counts, lengths[slots], totals)
        return [known[term] for term in terms]

    def _weighted_terms(self, totals: Totals) -> dict[str, tuple[str, Slots, Scores]]:
        """Return the terms of queries before, as long as nothing was written, and as they take up little memory."""
        version, known = self._known
        if version != totals.version or sum(len(slots) for _, slots, _ in known.values()) > _MOST_KEPT:
            self._known = totals.version, {}
        return self._known[1]

    def _cut(self, totals: Totals) -> TermAnalyser:
        if self._terms is None or self._terms[0] != totals.language:
            self._terms = totals.language, TermAnalyser(totals.language)
        return self._terms[1]


def _weights(counts: Slots, lengths: npt.NDArray[np.int32], totals: Totals) -> Scores:
    """Return what a term gives each document that has it, by the formula of `text.bm25.Bm25`."""
    if not len(counts):
        return np.empty(0, np.float32)
    rarity = np.float32(math.log(1 + (totals.texts - len(counts) + 0.5) / (len(counts) + 0.5)))
    mean = totals.tokens / totals.texts
    weights: Scores = (rarity * (counts / (K1 * ((1 - B) + B * lengths / mean) + counts))).astype(np.float32)
    return weights


def _by_term(parts: list[tuple[str, Slots, Scores]], chosen: Slots, size: int) -> dict[str, Scores]:
    """Return what each term gave the chosen slots, (k,); a term that the query has twice counts twice."""
    if not parts:
        return {}
    place = np.full(size, -1, np.int64)
    place[chosen] = np.arange(len(chosen))
    found: dict[str, Scores] = {}
    for term, slots, values in parts:
        given = found.setdefault(term, np.zeros(len(chosen), np.float32))
        where = place[slots]
        given[where[where >= 0]] += values[where >= 0]
    return found
