"""How models of pictures and captions are judged: retrieval both ways on Flickr8k, and classes of CIFAR-10 by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.column import Ids, ListColumn, take
from nearfar.contracts import Predictions
from nearfar.data.image_text import ImageText
from nearfar.evaluation.direction import key_to_query
from nearfar.evaluation.intervals import mean_intervals
from nearfar.evaluation.predictions import predictions_of, ranked, role_of, text_side_of
from nearfar.metrics.hit_rate import DEPTHS, HitRate
from nearfar.metrics.zero_shot import ZeroShot
from nearfar.tasks import Labels, Retrieval
from nearfar.vectors.embed import Embedder, embed_column

CIFAR = "A-cifar10/cifar10-jpeg.tar.xz"
WAYS = ("text to picture", "picture to text")
FIGURES = tuple(f"{way} R@{k}" for way in WAYS for k in DEPTHS)
Hits = dict[str, list[float]]


def retrieval(rows: ImageText, name: str) -> Retrieval:
    """Return the task to find the picture of each caption, a caption that occurs twice being two queries.

    That is the literature's: 5,000 queries and 1,000 pictures of test. The captions of a picture are a cluster.
    """
    split = rows.split(name)
    paths = split.column("path").read(0, len(split))
    number = {path: i for i, path in enumerate(dict.fromkeys(paths))}
    of_row = np.array([number[path] for path in paths])
    first = np.unique(of_row, return_index=True)[1]
    pictures = ListColumn("image", take(split.column("image"), first))
    ids = [f"caption {i}" for i in range(len(split))], list(number)
    relevance = {i: {int(picture): 1} for i, picture in enumerate(of_row)}
    return Retrieval(f"flickr8k {name}", split.column("caption"), pictures, *ids, relevance, of_row.astype(np.int64))


def both_ways(model: Embedder, task: Retrieval) -> Hits:
    """Return whether each query finds its own, by figure: as `nf.evaluate` does, but embedded once for both."""
    predictions, reverse = predictions_of(model, task, 0), key_to_query(task)
    vectors = predictions.vectors
    back = Predictions(ranking=ranked(reverse, vectors["documents"], vectors["queries"]))
    found: Hits = {}
    for way, one, made in ((WAYS[0], task, predictions), (WAYS[1], reverse, back)):
        hits = HitRate()(one, made)
        found |= {f"{way} R@{k}": np.asarray(hits[f"hit_rate@{k}"], np.float64).tolist() for k in DEPTHS}
    return found


def chance(pictures: int, of_each: int) -> dict[str, float]:
    """Return what a random order finds, by figure; of_each: captions of a picture."""
    texts = pictures * of_each
    forth = {f"{WAYS[0]} R@{k}": min(1.0, k / pictures) for k in DEPTHS}
    back = {f"{WAYS[1]} R@{k}": 1 - comb(texts - of_each, k) / comb(texts, k) for k in DEPTHS if k <= texts}
    return forth | back


def summary(several: Sequence[Hits]) -> dict[str, dict[str, float]]:
    """Return the mean of each figure over seeds, its interval over pictures, and the least and the most of a seed.

    several: the hits of each seed, on the same queries: those of a picture are one cluster, over seeds, too.
    """
    found = {}
    for name, hits in several[0].items():
        clusters = np.arange(len(hits)) // _queries_of_a_cluster(several[0], name)
        found[name] = over_seeds([each[name] for each in several], clusters)
    return found


def over_seeds(several: Sequence[Sequence[float]], clusters: Ids) -> dict[str, float]:
    """Return the mean of the hits of several seeds, its interval over the clusters (n,) of the queries, and the spread.

    several: the hits (n,) of each seed, on the same queries. least, most: the lowest and the highest mean of a seed.
    """
    hits = np.concatenate([np.asarray(each, np.float64) for each in several])
    interval = mean_intervals({"hits": hits}, {}, np.tile(clusters, len(several)), resamples=2000, seed=0)["hits"]
    means = [float(np.mean(each)) for each in several]
    return {"value": float(hits.mean()), **interval, "least": min(means), "most": max(means)}


def _queries_of_a_cluster(hits: Hits, name: str) -> int:
    """Return how many queries follow each other that are of one picture: its captions, where these look for it."""
    pictures = hits.get(f"{WAYS[1]} R@{DEPTHS[0]}")
    return max(1, len(hits[name]) // len(pictures)) if pictures and name.startswith(WAYS[0]) else 1


def classes(data: Path, limit: int | None = None) -> Labels:
    """Return the task to tell the classes of CIFAR-10's test pictures."""
    from nearfar.evaluation import sources

    place = data / CIFAR if (data / CIFAR).exists() else (data / CIFAR).parent
    reading = sources.Reading({} if limit is None else {"limit": limit})
    task = sources.task(str(place), "test", reading)
    if not isinstance(task, Labels):
        raise SystemExit(f"{place} has no classes")
    return task


def named(model: Embedder, task: Labels) -> list[float]:
    """Return whether each cell is nearest to the name of its class. The training cells are not embedded."""
    vectors = {"cells": embed_column(model, task.cells, role_of(model, "cells", task.cells), empty=False)}
    return hits_of(ZeroShot()(task, Predictions(vectors, text_side=text_side_of(model))))


def answered(task: Labels, answers: Any) -> list[float]:
    """Return whether each answer (n,), a class, is right, by the same metric."""
    return hits_of(ZeroShot()(task, Predictions(answers=np.asarray(answers, np.int64))))


def by_pixels(task: Labels) -> list[float]:
    """Return whether each cell's class is told by its 20 nearest training cells in pixels; these are labelled."""
    from nearfar.evaluation.floors.pixels import PixelsFloor
    from nearfar.metrics.knn import Knn

    values: Any = Knn(20)(task, PixelsFloor()(task, 0))["knn@20"]
    hits: list[float] = np.asarray(values, np.float64).tolist()
    return hits


def hits_of(found: Mapping[str, Any]) -> list[float]:
    """Return the hits (n,) of what the metric found."""
    hits: list[float] = np.asarray(found["zero_shot"], np.float64).tolist()
    return hits


def of_classes(task: Labels, hits: Sequence[float]) -> dict[str, float]:
    """Return the share of each class's cells that are told."""
    values = np.asarray(hits)
    return {name: float(values[task.labels == c].mean()) for c, name in enumerate(task.classes)}
