"""Search by words: BM25, the peer that every embedding model has to meet, and the fusion of rankings."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.column import Column, Ids, ListColumn, chunks
from nearfar.errors import InputError
from nearfar.vectors.topk import Ranking

_RUN = re.compile(r"[^\W_]+")
_WORD = re.compile(r"\w+")
_SEAM = re.compile(  # between the parts of an identifier: parse_HTTPHeader2 -> parse, HTTP, Header, 2
    r"_+|(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])"
)
BASELINES: dict[str, dict[str, bool]] = {"bm25": {}, "bm25-english": {"stop_words": True, "stemming": True}}


class Bm25:
    """BM25 over documents (m,) with the settings that serve it best, by the bm25s library (Lucene's exact form).

        score(q, d) = sum_{w in q} log(1 + (m - m_w + 1/2) / (m_w + 1/2)) f / (k1 (1 - b + b |d| / mean |d|) + f)

    where m_w documents hold the word w, and d holds it f times. Sources: Robertson & Zaragoza 2009, "The probabilistic
    relevance framework"; Lu 2024, arXiv:2407.03618. Words are lower-cased. An identifier counts as a whole and in its
    parts (`parseHTTPHeader_v2`: parse, http, header, v, 2 as well).

    The defaults of k1 and b come from a search on eight test sets (Cranfield, CISI, NPL, NL2Bash both ways, TREC QA,
    docstrings to code of known and of unseen packages), with stop words and stems, where they are within 0.002 of the
    best mean nDCG@10. They were chosen on the very sets, which favours BM25.

    Two of its forms are baselines by name (`BASELINES`): "bm25" knows no language, as a model trained from nothing
    knows none; "bm25-english" leaves out English stop words and stems English words, which is worth 0.04 to 0.06 on
    English docstrings.

    Args:
        documents: texts; an empty one is legal, and never found.
        k1: how long further occurrences of a word go on counting, >= 0.
        b: how much a document's length counts against it, 0 to 1.
        identifiers: take identifiers apart; without it a token is a run of letters and digits.
        stop_words: leave out 179 frequent English words.
        stemming: English stems (Porter 2, by PyStemmer).

    Errors: `InputError`: a setting out of range, a document or query that is no text.

    Example:
        >>> Bm25(["a red fox", "a grey goose"], stemming=True).rank(["foxes"], k=1).rows.tolist()
        [[0]]

    When not to use it: on scripts that put no space between words, whose sentences would be one token.
    """

    def __init__(
        self,
        documents: Column | Sequence[str],
        *,
        k1: float = 1.2,
        b: float = 0.9,
        identifiers: bool = True,
        stop_words: bool = False,
        stemming: bool = False,
    ) -> None:
        import bm25s  # here, as loading it takes a while and most users of this room's neighbours never need it
        import Stemmer
        from bm25s.stopwords import STOPWORDS_EN_PLUS

        if not (k1 >= 0 and 0 <= b <= 1):
            raise InputError(f"bm25: k1 must be at least 0 and b within 0 to 1, they are {k1} and {b}")
        logging.getLogger("bm25s").setLevel(logging.WARNING)  # the library sets DEBUG when it is imported
        self.settings: dict[str, Any] = {"k1": k1, "b": b}
        self.settings |= {"identifiers": identifiers, "stop_words": stop_words, "stemming": stemming}
        self._stop = frozenset(STOPWORDS_EN_PLUS if stop_words else ())
        self._stems = Stemmer.Stemmer("english") if stemming else None
        self._vocabulary: dict[str, int] = {}
        column = documents if not isinstance(documents, Sequence) else ListColumn("document", documents)
        tokens = [self._ids(text, "document", grow=True) for texts in chunks(column) for text in texts]
        self.size = len(tokens)
        self._index: Any = None
        if self._vocabulary:  # else there is no word to find, and bm25s would divide by a mean length of zero
            self._index = bm25s.BM25(k1=k1, b=b, method="lucene")
            self._index.index((tokens, self._vocabulary), create_empty_token=False, show_progress=False)

    def rank(self, queries: Sequence[str], k: int) -> Ranking:
        """Return the k best documents of each query, (n, min(k, m)); only documents that share a word are found.

        Equal scores by lower row; where fewer than k share a word, the rest is row -1 with score -inf.
        """
        if k < 1:
            raise InputError(f"bm25: k must be at least 1, it is {k}")
        found = [self._found(self._ids(query, "query"), k) for query in queries]
        return _ranking(found, min(k, self.size))

    def score(self, queries: Sequence[str], rows: Ids) -> npt.NDArray[np.float32]:
        """Return the score (e,) of the i-th query with the document of the i-th row; 0 where they share no word."""
        found = np.zeros(len(rows), np.float32)
        place: dict[str, list[int]] = {}
        for i, query in enumerate(queries):
            place.setdefault(query, []).append(i)
        for query, at in place.items():
            found[at] = self.score_all([query])[0, rows[at]]
        return found

    def score_all(self, queries: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the score of each query with every document, (n, m); 0 where they share no word."""
        found = np.zeros((len(queries), self.size), np.float32)
        for i, query in enumerate(queries):
            if ids := self._ids(query, "query"):
                found[i] = self._index.get_scores_from_ids(ids)
        return found

    def _found(self, query: list[int], k: int) -> tuple[Ids, npt.NDArray[np.float32]]:
        if not query:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        scores = self._index.get_scores_from_ids(query)  # (m,)
        return _best(np.flatnonzero(scores > 0), scores[scores > 0], k)

    def _ids(self, text: Any, what: str, grow: bool = False) -> list[int]:
        """Return a text's tokens as numbers; of unknown words none, unless the vocabulary may grow."""
        if not isinstance(text, str):
            raise InputError(f"bm25: a {what} must be text, it is {type(text).__name__} ({text!r:.60})")
        tokens = [token for token in words(text, self.settings["identifiers"]) if token not in self._stop]
        if self._stems is not None:
            tokens = self._stems.stemWords(tokens)
        known = self._vocabulary
        if grow:
            return [known.setdefault(token, len(known)) for token in tokens]
        return [known[token] for token in tokens if token in known]


def words(text: str, identifiers: bool = True) -> list[str]:
    """Return a text's lower-cased tokens: of an identifier its parts, then the whole where it has several."""
    if not identifiers:
        return _RUN.findall(text.lower())
    return [token for word in _WORD.findall(text) for token in _parts(word)]


@lru_cache(maxsize=200_000)
def _parts(word: str) -> tuple[str, ...]:
    parts = tuple(part.lower() for part in _SEAM.split(word) if part)
    return parts if len(parts) < 2 else (*parts, word.lower().strip("_"))


def reciprocal_rank_fusion(rankings: Sequence[Ranking], k: int = 60, depth: int | None = None) -> Ranking:
    """Return the fusion of rankings of the same n queries: score(d) = sum over rankings of 1 / (k + rank of d).

    Ranks start at 1; a document that a ranking lacks gets nothing from it. Source: Cormack, Clarke & Buettcher 2009,
    "Reciprocal rank fusion outperforms Condorcet and individual rank learning methods", with its constant 60. `depth`
    is how many to keep, by default as many as the deepest ranking has; equal scores by lower row.

    Errors: `InputError`: no ranking, rankings of different queries, k < 0 or depth < 1.
    """
    if not rankings or len({len(ranking.rows) for ranking in rankings}) > 1:
        raise InputError(f"fusion needs rankings of the same queries, they have {[len(r.rows) for r in rankings]}")
    depth = max(ranking.rows.shape[1] for ranking in rankings) if depth is None else depth
    if k < 0 or (depth < 1 and len(rankings[0].rows)):
        raise InputError(f"fusion: k must be at least 0 and depth at least 1, they are {k} and {depth}")
    rows = np.concatenate([ranking.rows for ranking in rankings], 1)  # (n, sum of depths)
    gain = np.concatenate([1 / (k + 1 + np.arange(ranking.rows.shape[1])) for ranking in rankings])  # (sum of depths,)
    found = []
    for row in rows:
        documents, place = np.unique(row[row >= 0], return_inverse=True)
        # Rounded to float32 before sorting: the order in which gains are added must not break a tie.
        found.append(_best(documents, np.bincount(place, gain[row >= 0], len(documents)).astype(np.float32), depth))
    return _ranking(found, depth)


def _best(rows: Ids, scores: npt.NDArray[np.float32], k: int) -> tuple[Ids, npt.NDArray[np.float32]]:
    """Return the k best of ascending rows, best first, equal ones by lower row."""
    if len(rows) > k:
        least = np.partition(scores, -k)[-k]
        spare = k - np.count_nonzero(scores > least)
        keep = (scores > least) | (np.cumsum(scores == least) <= spare) & (scores == least)
        rows, scores = rows[keep], scores[keep]
    order = np.argsort(-scores, kind="stable")
    return rows[order], scores[order]


def _ranking(found: Sequence[tuple[Ids, npt.NDArray[np.float32]]], depth: int) -> Ranking:
    """Stack results of unequal length, padded with row -1 and score -inf."""
    rows = np.full((len(found), depth), -1, np.int64)
    scores = np.full((len(found), depth), -np.inf, np.float32)
    for i, (documents, values) in enumerate(found):
        rows[i, : len(documents)], scores[i, : len(documents)] = documents, values
    return Ranking(rows, scores)
