"""nearfar search INDEX QUERY: what is asked of an index, and how its hits are shown."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nearfar.cli._early import refuse_model
from nearfar.errors import InputError, NearfarError
from nearfar.storage.places import expanded

if TYPE_CHECKING:
    from nearfar.index.hybrid import Hit


def is_index(path: str) -> bool:
    """Return whether a path is the folder of an index."""
    from nearfar.index.folder import IndexFolder

    return IndexFolder(expanded(path)).is_there()


def found(
    path: str,
    queries: list[str],
    k: int,
    *,
    like: list[str],
    model: str | None,
    how: dict[str, Any],
) -> list[list[dict[str, Any]]]:
    """Return the hits of each query, or, without one, of what is like some rows. how: further arguments of the search.

    Errors: those of `Index.search`; `InputError` where the index's model is needed and not there.
    """
    from nearfar.index.folder import IndexFolder
    from nearfar.index.index import Index

    folder = expanded(path)
    given = model or IndexFolder(folder).contents().searched.model
    needed = not like and how["mode"] != "words"
    if needed and given is not None:
        try:
            refuse_model(given)
        except NearfarError as error:
            raise InputError(f"{error}; it embeds the queries of {path}: say where it is by --model") from error
    with Index.open(folder, given if needed else None) as index:
        if like:
            return [_facts(index.search(like=like, k=k, **how))]
        asked = [_query(query) for query in queries]
        return [_facts(hits) for hits in index.search(asked, k=k, **how)]


def _facts(hits: list[Hit]) -> list[dict[str, Any]]:
    """Return hits as plain values, without what they have not."""
    return [{name: value for name, value in asdict(hit).items() if value is not None} for hit in hits]


def _query(given: str) -> Any:
    """Return a query: the picture of a path, or the words."""
    from nearfar.pictures.decode import is_picture_name

    if is_picture_name(given) and expanded(given).is_file():
        from nearfar.evaluation.sources import picture

        return picture(given)
    return given
