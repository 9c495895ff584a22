"""BM25 equals a readable reference in languages that are written without spaces, with marks, or from the right."""

from __future__ import annotations

import gzip
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from nearfar.text.bm25 import Bm25
from tests.text.test_analyser import reference

LANGUAGES = {"hin": " ", "cmn": "", "jpn": "", "tha": "", "ara": " "}  # with what stands between words
PASSAGES = 100


def passages(data: Path, language: str) -> tuple[list[str], list[str]]:
    """Return passages of three sentences, each less a contiguous third, and those thirds as queries."""
    with gzip.open(data / "D-tatoeba" / "tatoeba-v1.tsv.gz", "rt", encoding="utf-8") as file:
        rows = (line.rstrip("\n").split("\t") for line in file)
        sentences = [foreign for pair, _, foreign, _ in rows if pair == f"{language}-eng"][: 3 * PASSAGES]
    space, random = LANGUAGES[language], np.random.default_rng(0)
    documents, queries = [], []
    for i in range(0, len(sentences) - 2, 3):
        words = " ".join(sentences[i : i + 3]).split(" ") if space else list(" ".join(sentences[i : i + 3]))
        length = len(words) // 3
        start = int(random.integers(len(words) - length + 1))
        queries.append(space.join(words[start : start + length]))
        documents.append(space.join(words[:start] + words[start + length :]))
    return documents, queries


def scores(documents: list[str], query: str, k1: float = 1.2, b: float = 0.9) -> list[float]:
    bags = [Counter(reference(document)) for document in documents]
    lengths = [bag.total() for bag in bags]
    mean = sum(lengths) / len(lengths)
    found = [0.0] * len(bags)
    for word in reference(query):
        holding = sum(word in bag for bag in bags)
        rarity = math.log(1 + (len(bags) - holding + 0.5) / (holding + 0.5))
        for i, bag in enumerate(bags):
            often = bag[word]
            found[i] += rarity * often / (k1 * (1 - b + b * lengths[i] / mean) + often)
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_is_the_reference(shared_data: Path, language: str) -> None:
    documents, queries = passages(shared_data, language)
    assert len(documents) == PASSAGES
    found = Bm25(documents, identifiers=False).score_all(queries)
    expected = np.array([scores(documents, query) for query in queries])
    assert (expected > 0).any(1).mean() > 0.8  # most queries share a word with some document
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
