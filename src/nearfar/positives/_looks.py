"""Looks at documents: which view each side has, and looks that are the same in every run, for judging and reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from nearfar import registry
from nearfar.column import Ids, ListColumn, content_ids, take
from nearfar.contracts import Augmentation, View
from nearfar.errors import InputError
from nearfar.positives._documents import Documents
from nearfar.tasks import Retrieval

FIXED = 20_040  # seeds the looks that never change


def looks(query: View | None, key: View | None) -> dict[str, Augmentation]:
    """Return each side's view; one with a `rest` makes both sides, out of the same random numbers."""
    rest = getattr(query, "rest", None)
    if query is not None and rest is not None:
        if key is not None:
            raise InputError(
                f"positives.views: query {registry.name_of(type(query))} makes the key, too: the rest of the document; "
                "leave key out"
            )
        return {"query": Augmentation(query, 0), "key": Augmentation(cast("View", rest), 0)}
    sides = [("query", query), ("key", key)]
    return {side: Augmentation(view, stream) for stream, (side, view) in enumerate(sides) if view is not None}


def facts(augmentations: Mapping[str, Augmentation]) -> list[Any]:
    """Return names and settings of views, for the fingerprint."""
    found: list[Any] = []
    for side, augmentation in sorted(augmentations.items()):
        part = getattr(augmentation.view, "__self__", augmentation.view)  # of a method: its object
        kept = sorted((name, repr(value)) for name, value in vars(part).items()) if hasattr(part, "__dict__") else []
        found.append([side, augmentation.stream, registry.name_of(type(part)), kept])
    return found


def seen(augmentation: Augmentation | None, texts: Sequence[str], ids: Ids) -> list[str]:
    """Return a fixed look at each text, drawn by its content id (n,); the texts themselves without a view."""
    if augmentation is None:
        return list(texts)
    seeds = ids.view(np.uint64).tolist()
    draws = (np.random.default_rng([FIXED, seed, augmentation.stream]) for seed in seeds)
    return [augmentation.view(text, draw) for text, draw in zip(texts, draws, strict=True)]


def task_of(name: str, documents: Documents, augmentations: Mapping[str, Augmentation]) -> Retrieval:
    """Return the task of finding what a fixed look leaves of each distinct document, or the document.

    Where the look is a part of the text, word for word, the whole text would be found by those words alone: of film
    reviews BM25 finds all by a crop (MRR@10 1.00), and half of what the crops leave (0.49).
    """
    all_ids = content_ids(documents.texts)
    first = np.sort(np.unique(all_ids, return_index=True)[1])
    if len(first) == 0:
        raise InputError(f"split {name!r} has no rows to judge with; hold out more")
    texts, ids = take(documents.texts, first), all_ids[first]
    query = augmentations.get("query")
    paired = query is not None and "key" in augmentations and hasattr(query.view, "rest")
    if query is None:
        query = Augmentation(registry.build("views", {"name": "text_crop"}), 0)
    asked = seen(query, texts, ids)
    answers = [_left(text, look) for text, look in zip(texts, asked, strict=True)]
    if paired:
        answers = seen(augmentations["key"], texts, ids)
    clusters = np.unique(documents.document[first], return_inverse=True)[1]
    return Retrieval(
        name,
        ListColumn("query", asked),
        ListColumn("document", answers),
        [f"q{i}" for i in range(len(first))],
        [f"d{i}" for i in range(len(first))],
        {i: {i: 1} for i in range(len(first))},
        clusters,
        {"queries": len(first), "documents": len(first), "clusters": len(np.unique(clusters))},
    )


def _left(text: str, look: str) -> str:
    """Return a text without a part of it; the text itself, where the look is no part, or leaves less than it takes."""
    before, found, after = text.partition(look)
    left = f"{before.rstrip()} {after.lstrip()}".strip()
    return left if found and len(left) >= len(look) else text
