"""The vectors that an audit compares texts by: a model's, or, without a model, those of the texts' words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from nearfar.errors import InputError
from nearfar.text.analyser import words_and_signs

if TYPE_CHECKING:
    from nearfar.model import Model


Vectors = npt.NDArray[np.float32]
DOCUMENTS = 20_000  # that word vectors are fitted on
CHARACTERS = 1000  # of each of them


class Space(Protocol):
    """An embedding of texts: unit vectors (n, d) float32; a text without a known word or token has a zero vector."""

    name: str
    dim: int

    def embed(self, texts: Sequence[str], role: Any = None) -> Vectors:
        """Return the vectors of texts, (n, d)."""
        ...


class WordVectors:
    """Latent semantic analysis: tf-idf vectors of words, projected on their leading singular directions.

    Fitted on whole rows (a query with its key), words that occur together across the two sides get similar vectors,
    even words of two languages. Weights are (1 + log tf) log((1 + n) / (1 + df)) over words of at least two documents;
    the directions are the leading right singular vectors, by the randomised range finder with two power iterations.
    Sources: Deerwester et al. 1990, "Indexing by latent semantic analysis"; Dumais et al. 1997, "Automatic
    cross-language retrieval using latent semantic indexing"; Halko et al. 2011, arXiv:0909.4061, algorithm 4.4.
    """

    name = "words (tf-idf, latent semantic analysis)"

    def __init__(self, documents: Sequence[str], dim: int = 256, vocabulary: int = 50_000, seed: int = 0) -> None:
        tokens = [words_and_signs(text) for text in documents]
        counts = Counter(word for row in tokens for word in dict.fromkeys(row))
        kept = [(word, count) for word, count in counts.most_common(vocabulary) if count > 1 or len(documents) < 50]
        self._column = {word: i for i, (word, _) in enumerate(kept)}
        document_count = np.array([count for _, count in kept], np.float64)
        # 1e-3: a word of every document still counts a little
        self._weights = np.log((1 + len(documents)) / (1 + document_count)) + 1e-3
        matrix = self._matrix(tokens)  # (n, v)
        self.dim = max(1, min(dim, min(matrix.shape) - 1))
        draw = np.random.default_rng(seed).standard_normal((matrix.shape[1], self.dim + 16))
        basis = matrix @ draw  # (n, k)
        for _ in range(2):
            basis = matrix @ (matrix.T @ np.linalg.qr(basis)[0])
        small = (matrix.T @ np.linalg.qr(basis)[0]).T  # (k, v)
        self._directions = np.linalg.svd(small, full_matrices=False)[2][: self.dim].T  # (v, d)

    def embed(self, texts: Sequence[str], role: Any = None) -> Vectors:  # noqa: ARG002
        """Return the vectors of texts, (n, d)."""
        vectors = self._matrix([words_and_signs(text) for text in texts]) @ self._directions
        return _unit(vectors)

    def _matrix(self, tokens: Sequence[list[str]]) -> Any:
        """Return rows of weighted counts (n, v), each of unit length."""
        from scipy import sparse

        rows, columns, values = [], [], []
        for row, text in enumerate(tokens):
            for word, count in Counter(text).items():
                if (column := self._column.get(word)) is not None:
                    rows.append(row)
                    columns.append(column)
                    values.append((1 + np.log(count)) * self._weights[column])
        shape = (len(tokens), max(1, len(self._column)))
        matrix = sparse.csr_matrix((values, (rows, columns)), shape)
        norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(1)).ravel())  # (n,)
        return sparse.diags(1 / np.where(norms > 0, norms, 1)) @ matrix


class ModelVectors:
    """A model's vectors; a text without a known token has a zero vector."""

    def __init__(self, model: Model, name: str) -> None:
        self._model, self.dim, self.name = model, model.dim, name

    def embed(self, texts: Sequence[str], role: Any = None) -> Vectors:
        """Return the vectors of texts, (n, d)."""
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for start in range(0, len(texts), 1024):
            part = texts[start : start + 1024]
            try:
                vectors[start : start + len(part)] = self._model.embed(part, role)
            except InputError:  # one of them cannot be embedded: embed each by itself
                for i, text in enumerate(part):
                    vectors[start + i] = self._embed_one(text, role)
        return vectors

    def _embed_one(self, text: str, role: Any) -> Vectors:
        try:
            return self._model.embed([text], role)  # (1, d)
        except InputError:
            return np.zeros((1, self.dim), np.float32)


def _unit(vectors: npt.NDArray[np.float64]) -> Vectors:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)  # (n, 1)
    return (vectors / np.where(norms > 1e-12, norms, np.inf)).astype(np.float32)
