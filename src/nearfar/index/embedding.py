"""The model of an index, read when it is first needed, and refused where its space is another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.contracts import Role
from nearfar.errors import InputError
from nearfar.figures import mapping
from nearfar.index.folder import Generation
from nearfar.index.incoming import checked_vectors
from nearfar.index.rows import Vectors
from nearfar.query_model import MOST_QUERIES, QueryModel
from nearfar.vectors.embed import embed_by_kind


class Embedding:
    """A model, the folder of one, or none. What has no `fingerprint` is known by its dimension alone."""

    def __init__(self, model: Any) -> None:
        self._folder = Path(model) if isinstance(model, str | Path) else None
        self._model = None if self._folder is not None else model
        self._of_queries: QueryModel | None = None  # of the same folder, while the model itself is not read
        if self._model is not None and not hasattr(model, "embed"):
            raise InputError(f"model: {type(model).__name__} has no embed(cells, role=...); give a model or its folder")

    @property
    def is_there(self) -> bool:
        """Whether there is a model."""
        return self._folder is not None or self._model is not None

    def dim(self, asked: int | None) -> int:
        """Return the dimension of vectors. Errors: `InputError` where nothing says it, or two say different ones."""
        own = getattr(self._loaded(), "dim", None) if self.is_there else None
        if own is None and asked is None:
            raise InputError("create: without a model that knows its dimension, give dim, that of the vectors to come")
        if own is not None and asked is not None and own != asked:
            raise InputError(f"create: dim is {asked}, the model's vectors have {own}; leave dim out")
        found = int(own if own is not None else asked or 0)
        if found < 1:
            raise InputError(f"create: dim must be at least 1, it is {found}")
        return found

    def first_dims(self) -> list[int] | None:
        """Return the lengths to which the model's vectors may be cut (`first_dims`); None: not known."""
        return first_dims(self._loaded()) if self.is_there else None

    def described(self, generation: Generation) -> Generation:
        """Return a generation with what is known of this model."""
        if not self.is_there:
            return generation
        model = self._loaded()
        QueryModel.keep(model)
        folder = self._folder or getattr(model, "folder", None)
        fingerprint = getattr(model, "fingerprint", None)
        return replace(generation, model=None if folder is None else str(folder), fingerprint=fingerprint)

    def check(self, generation: Generation) -> None:
        """Refuse a model of another space than a generation's; one that is not read yet is checked when it is.

        Errors: `InputError` naming both.
        """
        model = self._model
        if model is None:
            return
        fingerprint, dim = getattr(model, "fingerprint", None), getattr(model, "dim", None)
        known = f"{generation.model or 'a model'}, fingerprint {generation.fingerprint}, {generation.dim} dimensions"
        if dim is not None and dim != generation.dim:
            raise InputError(
                f"this index is of {known}; the model given has {dim} dimensions: take that model, or build anew"
            )
        if fingerprint is not None and generation.fingerprint is not None and fingerprint != generation.fingerprint:
            raise InputError(
                f"this index is of {known}; the model given has fingerprint {fingerprint}, another space: take that "
                "model, or build anew"
            )

    def embed(self, cells: Sequence[Any], role: Role, generation: Generation) -> Vectors:
        """Return the unit vectors (n, d) of cells. Errors: `InputError` without a model, and those of the model."""
        if not self.is_there:
            raise InputError(
                f"this index was opened without a model, so it cannot embed a {role}: open it with one "
                f"({generation.model or 'of its vectors'}), or give vectors"
            )
        if not len(cells):
            return np.empty((0, generation.dim), np.float32)
        of_queries = (
            self._for_queries(generation.fingerprint) if role == "query" and len(cells) <= MOST_QUERIES else None
        )
        found = self._embedded(cells, role, generation) if of_queries is None else of_queries.embed(list(cells))
        return checked_vectors(found, len(cells), generation.dim, None, f"embedding a {role}")

    def _embedded(self, cells: Sequence[Any], role: Role, generation: Generation) -> Any:
        model = self._loaded()
        self.check(generation)
        return embed_by_kind(model, cells, role)

    def _for_queries(self, fingerprint: str | None) -> QueryModel | None:
        """Return what embeds queries without torch; None where there is none, or the model itself is read already."""
        if self._model is not None or self._folder is None or fingerprint is None:
            return None
        if self._of_queries is None:
            self._of_queries = QueryModel.load(self._folder, fingerprint)
        return self._of_queries

    def _loaded(self) -> Any:
        if self._model is None:
            from nearfar.static_model import StaticModel

            self._model = StaticModel.load(str(self._folder))
        if self._model is None:
            from nearfar.model import Model  # it imports torch, which takes seconds

            self._model = Model.load(str(self._folder))
            QueryModel.keep(self._model)  # for the next process, of an index that was made elsewhere
        return self._model


def first_dims(model: Any) -> list[int] | None:
    """Return the lengths to which a model's vectors may be cut, by the recipe of its training; None: not known.

    They are those of a matryoshka loss; a recipe of another loss has none.
    """
    recipe = mapping(mapping(getattr(model, "notes", None)).get("recipe"))
    if not recipe:
        return None
    loss, head = mapping(recipe.get("loss")), mapping(recipe.get("heads")).get("projection")
    if loss.get("name") != "matryoshka" or (head is not None and recipe.get("ship") != "projection"):
        return []  # of vectors behind a head that does not ship
    from nearfar.losses.matryoshka import halves  # it imports torch, which takes seconds

    return sorted(loss.get("dims") or halves(model.dim))
