"""The map of a corpus: where each row lies, how far the picture is to be trusted, and where a query lies on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from nearfar.column import Ids
from nearfar.errors import InputError, nearest
from nearfar.vectors.kept import NeighboursKept, neighbours_kept
from nearfar.vectors.projection import Blocks, PrincipalAxes, Values, principal_axes, umap_places

Method = Literal["pca", "umap"]
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True)
class CorpusMap:
    """n rows on a map.

    ids: of the rows. places: (n, 2) float32. axes: those of PCA; None of UMAP. kept: how far it is to be trusted.
    """

    method: Method
    ids: Sequence[str]
    places: Values
    axes: PrincipalAxes | None
    kept: NeighboursKept

    @cached_property
    def rows(self) -> dict[str, int]:
        """The row of each id."""
        return {name: row for row, name in enumerate(self.ids)}

    def locate(self, vector: Values, neighbours: Ids) -> Values:
        """Return where a query's unit vector (d,) lies, (2,): by PCA its projection, by UMAP its neighbours' mean.

        neighbours: the rows nearest to it in space. UMAP has no formula for what it has not seen, so a query
        lies in the middle of what is near to it in space, also where these lie apart.

        Errors: `InputError` for another dimension,
        and for no neighbours where they are needed.
        """
        if self.axes is None:
            if not len(neighbours):
                raise InputError("a query lies among its neighbours on a map by UMAP, and it has none")
            middle: Values = self.places[neighbours].mean(0, dtype=np.float64)
            return middle
        if vector.shape != self.axes.mean.shape:
            raise InputError(f"the query's vector is {vector.shape}, the map's are {self.axes.mean.shape}")
        found: Values = self.axes.places(vector[None])[0]
        return found


def map_of(vectors: Values | Blocks, ids: Sequence[str], method: str = "pca", seed: int = 0) -> CorpusMap:
    """Return the map of vectors (n, d). vectors: an array, or a callable that gives its blocks, four times.

    Errors: those of `principal_axes` and `umap_places`; `InputError` for an unknown method.
    """
    if method == "umap":
        places, axes = umap_places(vectors, seed), None
        return CorpusMap("umap", ids, places.astype(np.float32), axes, neighbours_kept(vectors, places, seed=seed))
    refuse_method(method)
    places, found = principal_axes(vectors)
    return CorpusMap("pca", ids, places.astype(np.float32), found, neighbours_kept(vectors, places, seed=seed))


def refuse_method(method: str) -> None:
    """Refuse an unknown method."""
    if method not in METHODS:
        raise InputError(f"--method {method}: no such one; {nearest(method, METHODS)}")
