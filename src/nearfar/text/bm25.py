"""Search by words: BM25, the baseline of every embedding model, and the fusion of rankings."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.column import Column, Ids, ListColumn, chunks
from nearfar.errors import InputError
from nearfar.text.terms import TermAnalyser
from nearfar.vectors.ranking import Ranking

K1, B = 1.2, 0.9  # see `Bm25`


class Bm25:
    """BM25 over documents (m,) with its best settings, by the bm25s library (Lucene's exact form).

        score(q, d) = sum_{w in q} log(1 + (m - m_w + 1/2) / (m_w + 1/2)) f / (k1 (1 - b + b |d| / mean |d|) + f)

    where m_w documents contain the word w, and d contains it f times. Sources: Robertson & Zaragoza 2009, "The
    probabilistic relevance framework"; Lu 2024, arXiv:2407.03618. Words are those of `text.analyser`: their case does
    not count, nor the normal form of their letters; scripts without spaces between words give pairs of characters. An
    identifier counts as a whole and in its parts (`parseHTTPHeader_v2`: parse, http, header, v, 2 as well).

    The defaults of k1 and b come from a search on eight test sets (Cranfield, CISI, NPL, NL2Bash in both directions,
    TREC QA, docstrings to code of known and of unseen packages), with stop words and stems, where they are within 0.002
    of the best mean nDCG@10. They were chosen on the test sets themselves, which favours BM25.

    Without a language it knows none beforehand, like a model trained from scratch. With one it leaves out the
    language's stop words and searches by stems (`text.stems`), which is worth 0.04 to 0.06 on English docstrings. These
    two are the baselines "bm25" and "bm25-stems", the latter in the language that `text.language.detect` finds.

    Args:
        documents: texts; an empty one is allowed, and never found.
        k1: the weight of further occurrences of a word, which saturates more slowly with a larger k1, >= 0.
        b: the strength of the normalisation by a document's length, 0 to 1.
        identifiers: split identifiers into their parts; without it a token is a run of letters and digits.
        language: of the documents, "german": its stems and stop words; those without, such as "thai", change nothing.

    Errors: `InputError`: a setting out of range, a language that is not known, a document or query that is no text.

    Example:
        >>> Bm25(["a red fox", "a grey goose"], language="english").rank(["foxes"], k=1).rows.tolist()
        [[0]]

    When not to use it: as the only baseline of a language with compounds (Finnish, German), of which it finds whole
    ones only; and where queries are in another language than documents, with which they share no words.
    """

    def __init__(
        self,
        documents: Column | Sequence[str],
        *,
        k1: float = K1,
        b: float = B,
        identifiers: bool = True,
        language: str | None = None,
    ) -> None:
        import bm25s  # here, for importing it takes a while, and the functions of this module do without it

        if not (k1 >= 0 and 0 <= b <= 1):
            raise InputError(f"bm25: k1 must be at least 0 and b within 0 to 1, they are {k1} and {b}")
        logging.getLogger("bm25s").setLevel(logging.WARNING)  # the library sets DEBUG when it is imported
        self._terms = TermAnalyser(language, identifiers)
        self.settings: dict[str, Any] = {"k1": k1, "b": b, "identifiers": identifiers, "words": self._terms.described}
        self._vocabulary: dict[str, int] = {}
        column = documents if not isinstance(documents, Sequence) else ListColumn("document", documents)
        tokens = [self._ids(text, "document", grow=True) for texts in chunks(column) for text in texts]
        self.size = len(tokens)
        self._index: Any = None
        if self._vocabulary:  # else there is no word to find, and bm25s would divide by a mean length of zero
            self._index = bm25s.BM25(k1=k1, b=b, method="lucene")
            self._index.index((tokens, self._vocabulary), create_empty_token=False, show_progress=False)

    def rank(self, queries: Sequence[str], k: int, excluded: Mapping[int, Sequence[int]] | None = None) -> Ranking:
        """Return the k best documents of each query, (n, min(k, m)), among those that share a word with it.

        Equal scores are ordered by row; where fewer than k share a word, the rest is row -1 with score -inf. excluded:
        the rows of documents that are never ranked, by the query's position.
        """
        if k < 1:
            raise InputError(f"bm25: k must be at least 1, it is {k}")
        out = excluded or {}
        results = [self._best_documents(self._ids(q, "query"), k, out.get(i, ())) for i, q in enumerate(queries)]
        return _ranking(results, min(k, self.size))

    def score(self, queries: Sequence[str], rows: Ids) -> npt.NDArray[np.float32]:
        """Return the score (e,) of the i-th query with the document of the i-th row; 0 where they share no word."""
        scores = np.zeros(len(rows), np.float32)
        entries: dict[str, list[int]] = {}  # of each distinct query
        for i, query in enumerate(queries):
            entries.setdefault(query, []).append(i)
        for query, of_query in entries.items():
            scores[of_query] = self.score_all([query])[0, rows[of_query]]
        return scores

    def score_all(self, queries: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the score of each query with every document, (n, m); 0 where they share no word."""
        scores = np.zeros((len(queries), self.size), np.float32)
        for i, query in enumerate(queries):
            if ids := self._ids(query, "query"):
                scores[i] = self._index.get_scores_from_ids(ids)
        return scores

    def _best_documents(
        self, ids: list[int], k: int, excluded: Sequence[int] = ()
    ) -> tuple[Ids, npt.NDArray[np.float32]]:
        """Return the rows and scores of the k best documents for a query's token ids."""
        if not ids:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        scores = self._index.get_scores_from_ids(ids)  # (m,)
        if excluded:
            scores[list(excluded)] = 0
        return _best(np.flatnonzero(scores > 0), scores[scores > 0], k)

    def _ids(self, text: Any, what: str, grow: bool = False) -> list[int]:
        """Return the ids of a text's tokens; unknown tokens are ignored, or with `grow` added to the vocabulary."""
        if not isinstance(text, str):
            raise InputError(f"bm25: a {what} must be text, it is {type(text).__name__} ({text!r:.60})")
        tokens = self._terms(text)
        vocabulary = self._vocabulary
        if grow:
            return [vocabulary.setdefault(token, len(vocabulary)) for token in tokens]
        return [vocabulary[token] for token in tokens if token in vocabulary]


def reciprocal_rank_fusion(rankings: Sequence[Ranking], k: int = 60, depth: int | None = None) -> Ranking:
    """Return the fusion of rankings of the same n queries: score(d) = sum over rankings of 1 / (k + rank of d).

    Ranks start at 1; a document that is missing in a ranking gets nothing from it. Source: Cormack, Clarke &
    Buettcher 2009, "Reciprocal rank fusion outperforms Condorcet and individual rank learning methods", with its
    constant 60. `depth` is the number of documents to keep, by default that of the deepest ranking; equal scores are
    ordered by row.

    Errors: `InputError`: no ranking, rankings of different queries, k < 0 or depth < 1.
    """
    if not rankings or len({len(ranking.rows) for ranking in rankings}) > 1:
        raise InputError(f"fusion needs rankings of the same queries, they have {[len(r.rows) for r in rankings]}")
    depth = max(ranking.rows.shape[1] for ranking in rankings) if depth is None else depth
    if k < 0 or (depth < 1 and len(rankings[0].rows)):
        raise InputError(f"fusion: k must be at least 0 and depth at least 1, they are {k} and {depth}")
    rows = np.concatenate([ranking.rows for ranking in rankings], 1)  # (n, sum of depths)
    gain = np.concatenate([1 / (k + 1 + np.arange(ranking.rows.shape[1])) for ranking in rankings])  # (sum of depths,)
    results = []
    for row in rows:
        documents, inverse = np.unique(row[row >= 0], return_inverse=True)
        # Rounded to float32 before sorting: the order in which gains are added must not break a tie.
        scores = np.bincount(inverse, gain[row >= 0], len(documents)).astype(np.float32)
        results.append(_best(documents, scores, depth))
    return _ranking(results, depth)


def _best(rows: Ids, scores: npt.NDArray[np.float32], k: int) -> tuple[Ids, npt.NDArray[np.float32]]:
    """Return the k best of ascending rows, best first, equal scores by row."""
    if len(rows) > k:
        least = np.partition(scores, -k)[-k]
        ties = k - np.count_nonzero(scores > least)  # rows with the least score that are kept, the first ones
        keep = (scores > least) | (np.cumsum(scores == least) <= ties) & (scores == least)
        rows, scores = rows[keep], scores[keep]
    order = np.argsort(-scores, kind="stable")
    return rows[order], scores[order]


def _ranking(results: Sequence[tuple[Ids, npt.NDArray[np.float32]]], depth: int) -> Ranking:
    """Return results of unequal length as one ranking, padded with row -1 and score -inf."""
    rows = np.full((len(results), depth), -1, np.int64)
    scores = np.full((len(results), depth), -np.inf, np.float32)
    for i, (documents, values) in enumerate(results):
        rows[i, : len(documents)], scores[i, : len(documents)] = documents, values
    return Ranking(rows, scores)
