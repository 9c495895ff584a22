"""What the search benchmark compares on: sentences embedded by MiniLM, clustered vectors; rows, held-out queries.

Both are made once and kept as .npy files of float32 unit vectors in a work folder.
"""

from __future__ import annotations

import gzip
import json
import lzma
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from _machine import tell

DATA = Path(__file__).parents[2] / "shared" / "data"
Vectors = npt.NDArray[np.float32]
QUERIES = 512  # held out of the rows
SIZES = {"real": (100_000, 384), "clustered": (1_000_000, 128)}  # rows, dimensions
_OF_A_REVIEW = 3  # sentences, at most
_WORDS = (6, 40)  # of a sentence
_CLUSTERS, _SPREAD = 10_000, 0.4  # centres; how far a coordinate lies from its centre, as a share of their own spread
_AT_ONCE = 20_000  # texts that are embedded together


def files(work: Path, name: str, rows: int) -> tuple[Path, Path]:
    """Return the files of rows (n, d) and of queries (QUERIES, d), which are made where they are missing."""
    keys, queries = (work / f"{name}-{rows}{what}.npy" for what in ("", "-queries"))
    whole = work / f"{name}-{SIZES[name][0]}.npy"
    if whole.exists() and not keys.exists():  # which is in random order
        np.save(queries, np.load(whole.with_name(f"{whole.stem}-queries.npy")))
        np.save(keys, np.load(whole, mmap_mode="r")[:rows])
    if not (keys.exists() and queries.exists()):
        work.mkdir(parents=True, exist_ok=True)
        vectors = embedded(work, rows + QUERIES) if name == "real" else clustered(rows + QUERIES, SIZES[name][1])
        order = np.random.default_rng(1).permutation(len(vectors))
        np.save(keys, vectors[order[QUERIES:]])
        np.save(queries, vectors[order[:QUERIES]])
    return keys, queries


def embedded(work: Path, count: int) -> Vectors:
    """Return MiniLM's vectors of so many sentences (n, 384), which are kept by parts, so that it can go on."""
    import nearfar as nf

    cells, parts = sentences(count), list[Vectors]()
    model = None
    for start in range(0, count, _AT_ONCE):
        path = work / f"real-part-{start}-of-{count}.npy"
        if not path.exists():
            model = model or nf.Model.load("minilm")
            found = np.asarray(model.embed(cells[start : start + _AT_ONCE], role="key"), np.float32)
            with path.with_suffix(".part").open("wb") as file:
                np.save(file, found)
            path.with_suffix(".part").replace(path)
            tell(f"embedded {start + len(found):,} of {count:,} sentences")
        parts.append(np.load(path))
    return np.concatenate(parts)


def sentences(count: int) -> list[str]:
    """Return different sentences: half from film reviews, at most three of each, half descriptions of pictures."""
    half, found = count // 2, dict[str, None]()
    for text in _of_reviews():
        if len(found) == half:
            break
        found.setdefault(text)
    for text in _captions():
        if len(found) == count:
            break
        found.setdefault(text)
    if len(found) < count:
        raise SystemExit(f"{DATA}: has {len(found):,} different sentences, not {count:,}")
    return list(found)


def clustered(count: int, dim: int) -> Vectors:
    """Return unit vectors (n, d) around random centres, some of which have many and most few."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((_CLUSTERS, dim), np.float32)
    share = 1 / np.arange(1, _CLUSTERS + 1) ** 0.5
    vectors = centres[rng.choice(_CLUSTERS, count, p=share / share.sum())]
    for start in range(0, count, 100_000):
        part = vectors[start : start + 100_000]
        part += np.float32(_SPREAD) * rng.standard_normal(part.shape, np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return vectors


def _of_reviews() -> Iterator[str]:
    with lzma.open(DATA / "H-imdb" / "imdb.jsonl.xz", "rt", encoding="utf-8") as file:
        for line in file:
            text = " ".join(json.loads(line)["text"].replace("<br />", " ").split())
            cut = [part for part in re.split(r"(?<=[.!?]) ", text) if _WORDS[0] <= len(part.split()) <= _WORDS[1]]
            yield from cut[:_OF_A_REVIEW]


def _captions() -> Iterator[str]:
    for number in range(1, 6):
        with gzip.open(DATA / "D-multi30k" / "task2" / f"train.{number}.en.gz", "rt", encoding="utf-8") as file:
            yield from (line.strip() for line in file)


def truth(work: Path, name: str, rows: int) -> Path:
    """Return the file of the least score (QUERIES,) that each query's 10 nearest rows have."""
    path = work / f"{name}-{rows}-truth.npy"
    if not path.exists():
        keys, queries = (np.load(file, mmap_mode="r") for file in files(work, name, rows))
        best = np.full((len(queries), 10), -np.inf)
        for start in range(0, rows, 20_000):
            scores = queries.astype(np.float64) @ keys[start : start + 20_000].astype(np.float64).T  # (q, 20000)
            best = -np.sort(-np.hstack([best, -np.partition(-scores, 10)[:, :10]]))[:, :10]
        np.save(path, best[:, -1])
    return path
