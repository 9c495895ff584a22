"""Models that need no training, and tasks small enough to work out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nearfar.column import ListColumn, content_id
from nearfar.tasks import Labels, PairLabels, Retrieval, Similarity


class Words:
    """A text's words, hashed to signed dimensions; `calls` keeps the role and cells of each call of `embed`."""

    fingerprint = "words"

    def __init__(self, dim: int = 64) -> None:
        self.dim = dim
        self.calls: list[tuple[str | None, list[Any]]] = []

    def embed(self, cells: list[Any], /, role: str | None = None) -> np.ndarray:
        self.calls.append((role, list(cells)))
        vectors = np.zeros((len(cells), self.dim), np.float32)
        for vector, cell in zip(vectors, cells):
            assert cell.strip(), "an empty text must never be embedded"
            for word in cell.split():
                identity = content_id(word)
                vector[identity % self.dim] += 1 if identity >> 40 & 1 else -1
            vector[0] += 0.01  # words may cancel; a unit vector is due all the same
        unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


class Means:
    """A picture's mean colour, beside a constant."""

    def embed(self, cells: list[Any], /, role: str | None = None) -> np.ndarray:
        vectors = np.stack([[*np.asarray(cell, float).mean((0, 1)), 60.0] for cell in cells]).astype(np.float32)
        unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


class Table:
    """Given vectors for given texts."""

    def __init__(self, vectors: dict[str, list[float]]) -> None:
        self.vectors = {text: np.array(v, np.float32) / np.linalg.norm(v) for text, v in vectors.items()}

    def embed(self, cells: list[Any], /, role: str | None = None) -> np.ndarray:
        return np.stack([self.vectors[cell] for cell in cells])


def retrieval(
    queries: Sequence[Any],
    documents: Sequence[Any],
    relevance: dict[int, dict[int, int]],
    clusters: list[int] | None = None,
    **notes: Any,
) -> Retrieval:
    return Retrieval(
        "small",
        ListColumn("query", queries),
        ListColumn("document", documents),
        [f"q{i}" for i in range(len(queries))],
        [f"d{i}" for i in range(len(documents))],
        relevance,
        np.arange(len(queries)) if clusters is None else np.array(clusters),
        notes,
    )


def pairs(scores: list[float]) -> Similarity:
    first = ListColumn("first", ["p", "p", "p", "q"])
    second = ListColumn("second", ["a", "b", "c", "b"])
    return Similarity("pairs", first, second, np.array(scores), np.arange(4), {"from": "hand"})


def labelled(cells: list[Any], labels: list[int], train: list[Any], train_labels: list[int], **more: Any) -> Labels:
    """A task of two classes, "odd" and "even"."""
    given: dict[str, Any] = {"classes": ["even", "odd"], "clusters": np.arange(len(cells)), **more}
    columns = ListColumn("cell", cells), ListColumn("train", train)
    return Labels("labelled", columns[0], np.array(labels), columns[1], np.array(train_labels), **given)


def same_or_not(rows: list[tuple[Any, Any, bool]], dev: list[tuple[Any, Any, bool]] | None = None) -> PairLabels:
    first, second, same = zip(*rows)
    other = None if dev is None else same_or_not(dev)
    columns = ListColumn("first", list(first)), ListColumn("second", list(second))
    return PairLabels("same or not", *columns, np.array(same), np.arange(len(rows)), other)
