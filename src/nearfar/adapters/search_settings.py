"""How an adapter searches: the arguments of `Index.search` that hold for each query, which a call may change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nearfar.errors import InputError, nearest
from nearfar.index.hybrid import Hit
from nearfar.index.index import Index

NAMES = ("k", "where", "mode", "fusion", "rerank", "depth", "explain")


def search(index: Index, query: str, settings: Mapping[str, Any], changed: Mapping[str, Any]) -> list[Hit]:
    """Return the hits of a query. changed: settings of this call alone. Errors: of `Index.search`; another name."""
    hits: list[Hit] = index.search(query, **checked({**settings, **changed}))
    return hits


def checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings that are arguments of `Index.search`. Errors: `InputError` for another name."""
    for name in settings:
        if name not in NAMES:
            raise InputError(f"retriever: no setting {name!r:.40} of a search; {nearest(name, NAMES)}")
    return dict(settings)
