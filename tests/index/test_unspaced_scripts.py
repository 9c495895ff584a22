"""Chinese and Thai put no space between words: what an index finds in them, on every backend, and a plain reference."""

from __future__ import annotations

import gzip
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import nearfar as nf
from nearfar.index.hybrid import Mode
from tests.index.backends import SETTINGS
from tests.index.word_model import WordModel
from tests.text.test_analyser import reference

Scores = npt.NDArray[np.float64]
TOLERANCE = 0.005  # of nDCG@10
K1, B = 1.2, 0.9  # of BM25
DEPTH, OF_VECTORS = 100, 0.6  # of the default fusion: how deep it reads both rankings, and the weight of the vectors
MODEL = WordModel(dim=32)
FRAGMENT = {"cmn": 3, "tha": 6}  # characters of a query


@cache
def passages(data: Path, language: str) -> tuple[list[str], list[str]]:
    """Return passages of three sentences in a row, and a fragment out of each as a query."""
    with gzip.open(data / "D-tatoeba" / "tatoeba-v1.tsv.gz", "rt", encoding="utf-8") as file:
        rows = (line.rstrip("\n").split("\t") for line in file)
        sentences = [foreign for pair, _, foreign, _ in rows if pair == f"{language}-eng"]
    random, length = np.random.default_rng(0), FRAGMENT[language]
    documents = ["".join(sentences[i : i + 3]) for i in range(0, len(sentences) - 2, 3)]
    starts = [int(random.integers(len(text) - length)) for text in documents]
    return documents, [text[start : start + length] for text, start in zip(documents, starts)]


def bm25(documents: Sequence[str], queries: Sequence[str]) -> Scores:
    """Return BM25's score of each query with every document, (q, m), over the reference analyser's terms."""
    bags = [reference(text) for text in documents]
    vocabulary = {term: i for i, term in enumerate(sorted({term for bag in bags for term in bag}))}
    counts = np.zeros((len(bags), len(vocabulary)))
    for row, bag in enumerate(bags):
        for term in bag:
            counts[row, vocabulary[term]] += 1
    holding = (counts > 0).sum(0)
    rarity = np.log(1 + (len(bags) - holding + 0.5) / (holding + 0.5))  # (vocabulary,)
    lengths = counts.sum(1, keepdims=True)
    weights = rarity * counts / (K1 * (1 - B + B * lengths / lengths.mean()) + counts)  # (m, vocabulary)
    terms = ([vocabulary[term] for term in reference(query) if term in vocabulary] for query in queries)
    return np.stack([weights[:, found].sum(1) for found in terms])


def best(values: Scores, k: int, above: float = 0.0) -> list[int]:
    """Return the k rows with the highest values, best first, equal ones in their order."""
    rounded = values.astype(np.float32)  # as an index keeps them: a difference beyond that decides nothing
    return [row for row in np.argsort(-rounded, kind="stable").tolist() if rounded[row] > above][:k]


@cache
def expected(data: Path, language: str) -> dict[Mode, list[list[int]]]:
    """Return the ten best passages for each query, by words and by both scores fused."""
    documents, queries = passages(data, language)
    cosines = MODEL.embed(queries).astype(np.float64) @ MODEL.embed(documents).astype(np.float64).T
    found: dict[Mode, list[list[int]]] = {"words": [], "hybrid": []}
    for words, near in zip(bm25(documents, queries), cosines):
        read = sorted({*best(words, DEPTH), *best(near, DEPTH, above=-2)})
        fused = np.zeros(len(documents))
        fused[read] = OF_VECTORS * (near[read] + 1) / (near[read].max() + 1)
        fused[read] += (1 - OF_VECTORS) * words[read] / max(words[read].max(), 1e-9)
        found["words"].append(best(words, 10))
        found["hybrid"].append(best(fused, 10))
    return found


def ndcg(found: list[list[int]]) -> float:
    """Return the mean nDCG@10, where the n-th passage alone answers the n-th query."""
    gains = [1 / math.log2(2 + ten.index(right)) if right in ten else 0.0 for right, ten in enumerate(found)]
    return float(np.mean(gains))


@pytest.mark.parametrize("language", ["cmn", "tha"])
@pytest.mark.parametrize("backend", ["exact", "lance", "pgvector"])
def test_an_index_finds_what_the_reference_finds(
    shared_data: Path, tmp_path: Path, backend: str, language: str
) -> None:
    documents, queries = passages(shared_data, language)
    with nf.Index.create(tmp_path / "index", MODEL, **SETTINGS[backend](tmp_path)) as index:
        index.add([{"id": f"{row:03}", "text": text} for row, text in enumerate(documents)])
        for mode, right in expected(shared_data, language).items():
            found = [[int(hit.id) for hit in hits] for hits in index.search(queries, k=10, mode=mode)]
            assert ndcg(found) == pytest.approx(ndcg(right), abs=TOLERANCE)
            assert 0.3 < ndcg(right) < 0.95  # neither nothing to find, nor nothing to lose
            alike = np.mean([ten == others for ten, others in zip(found, right)])
            assert alike > 0.9, f"{alike:.2f} of the queries have the same ten passages"
