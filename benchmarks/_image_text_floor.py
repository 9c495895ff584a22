"""The floor without a network: histograms of colours and gradients to TF-IDF of the captions, by ridge regression.

All choices are made on the validation pictures: the penalty, and how much of a caption's length counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from _flickr8k import captions
from _image_text_judge import FIGURES, Hits, both_ways, retrieval

SIDE, GRID, LEVELS, CELL, TURNS = 112, 2, 4, 16, 9
ALPHAS = (1e3, 3e3, 1e4, 3e4, 1e5, 3e5)
Matrix = npt.NDArray[np.float64]


def histograms(pictures: Sequence[npt.NDArray[np.uint8]]) -> Matrix:
    """Return square roots of the histograms of colours (5 x 64) and of gradients (7 x 7 x 9) of pictures, (n, 761)."""
    return np.stack([np.concatenate([_colours(p), _gradients(p)]) for p in map(_square, pictures)])


def _square(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    if picture.shape[:2] == (SIDE, SIDE):
        return picture
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def _colours(picture: npt.NDArray[np.uint8]) -> Matrix:
    """Return the share of each of 4 x 4 x 4 colours in the whole and in its quarters, (320,), as square roots."""
    level = picture.astype(np.int64) * LEVELS // 256
    code = level @ np.array([LEVELS * LEVELS, LEVELS, 1])  # (h, w)
    half = SIDE // GRID
    parts = [code] + [code[i : i + half, j : j + half] for i in range(0, SIDE, half) for j in range(0, SIDE, half)]
    shares = [np.bincount(part.ravel(), minlength=LEVELS**3) / part.size for part in parts]
    found: Matrix = np.sqrt(np.concatenate(shares))
    return found


def _gradients(picture: npt.NDArray[np.uint8]) -> Matrix:
    """Return histograms of oriented gradients (Dalal & Triggs 2005), each cell's of unit length, (441,)."""
    grey = picture.mean(2)
    down, right = np.gradient(grey)
    turn = ((np.arctan2(down, right) % np.pi) / np.pi * TURNS).astype(np.int64) % TURNS
    cells = SIDE // CELL
    rows, columns = np.indices(grey.shape) // CELL
    place = (rows * cells + columns) * TURNS + turn
    found = np.bincount(place.ravel(), np.hypot(down, right).ravel(), cells * cells * TURNS).reshape(-1, TURNS)
    return np.asarray(np.sqrt(found / (found.sum(1, keepdims=True) + 1e-9))).ravel()


class Floor:
    """Pictures and captions in the space of the captions' words: a picture's vector is what ridge expects of it.

    Both are centred on the mean of the training captions, without which the words of every caption decide.
    """

    def __init__(self, pictures: Matrix, texts: Sequence[str], alpha: float) -> None:
        """Fit on the histograms (n, f) of training pictures and the captions of each, as one text."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import Ridge
        from sklearn.preprocessing import StandardScaler

        self.words = TfidfVectorizer(min_df=3, sublinear_tf=True)
        targets = self.words.fit_transform(texts).toarray()
        self.centre = targets.mean(0)
        self.scaler = StandardScaler()
        self.ridge = Ridge(alpha).fit(self.scaler.fit_transform(pictures), targets - self.centre)

    def embed(self, cells: Sequence[Any], /, role: str | None = None) -> npt.NDArray[np.float32]:  # noqa: ARG002
        """Return unit vectors (n, words) of captions, or of pictures."""
        if isinstance(cells[0], str):
            vectors = self.words.transform(cells).toarray() - self.centre
        else:
            vectors = self.ridge.predict(self.scaler.transform(histograms(cells)))
        return np.asarray(vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-12), np.float32)


def floor(data: str, limit: int | None) -> dict[str, Any]:
    """Return the hits of the floor on test, with the penalty that validation chose."""
    rows = captions(Path(data), limit=limit)
    names, texts = (rows.column(name).read(0, len(rows)) for name in ("path", "caption"))
    by_picture: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        by_picture.setdefault(name, []).append(i)
    image = rows.column("image")
    pictures = histograms([image.read(of[0], of[0] + 1)[0] for of in by_picture.values()])
    joined = [" ".join(texts[i] for i in of) for of in by_picture.values()]
    chosen: float | None = None
    tried: dict[str, float] = {}
    task = retrieval(rows, "validation")
    for alpha in ALPHAS:
        one = Floor(pictures, joined, alpha)
        found = both_ways(one, task)
        tried[f"{alpha:g}"] = float(np.mean([np.mean(found[name]) for name in FIGURES if name.endswith("R@10")]))
        if chosen is None or tried[f"{alpha:g}"] > tried[f"{chosen:g}"]:
            chosen, model = alpha, one
    hits: Hits = both_ways(model, retrieval(rows, "test"))
    return {"alpha": chosen, "validation R@10, mean of both ways": tried, "hits": hits}
