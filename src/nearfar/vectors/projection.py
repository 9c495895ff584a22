"""Vectors on the two axes along which they vary most, block by block; and UMAP, where it is installed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

from nearfar.errors import InputError

LEAST = 3  # vectors of a map
_AT_ONCE = 4096  # rows of an array that are read at a time
_SAME = 1 - 1e-9  # of the farthest place: what is as far up to rounding
Values = npt.NDArray[np.floating[Any]]
Blocks = Callable[[], Iterable[Values]]  # each call gives all vectors again, (b, d) at a time, in the same order


def blocks(vectors: Values | Blocks) -> Blocks:
    """Return an array (n, d), memory-mapped or not, as blocks of rows; blocks as they are."""
    if callable(vectors):
        return vectors
    given: Values = vectors
    return lambda: (given[start : start + _AT_ONCE] for start in range(0, len(given), _AT_ONCE))


@dataclass(frozen=True)
class PrincipalAxes:
    """The middle of vectors (d,), two axes through it (d, 2), and the share of the variance along each (2,)."""

    mean: Values
    axes: Values
    shares: Values

    def places(self, vectors: Values) -> Values:
        """Return where vectors (n, d) lie on the axes, (n, 2)."""
        found: Values = (np.asarray(vectors, np.float64) - self.mean) @ self.axes
        return found


def principal_axes(vectors: Values | Blocks) -> tuple[Values, PrincipalAxes]:
    """Return n places (n, 2) on the first two principal axes of vectors (n, d), and the axes.

    Principal component analysis in float64. The covariance is summed block by block, so memory is that of a block,
    of (d, d) and of (n, 2), and how the rows are cut changes nothing but the last bits. The sign of an axis is
    chosen so that the place farthest from the middle lies on its positive side, so the same vectors give the same
    map. Vectors that are one point have shares of 0 and lie in the middle.

    Args:
        vectors: an array, or a callable that gives its blocks, twice.

    Errors: `InputError` for fewer than three vectors, and for one that is not finite, by its row.

    Source: Pearson 1901, "On lines and planes of closest fit to systems of points in space"; the sum over blocks is of
    Chan, Golub and LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances".

    When not to use it: to measure. Two of d axes hold a part of the variance, and places that lie on each other may
    be far apart in space (`kept.neighbours_kept`).
    """
    given = blocks(vectors)
    count, mean, scatter = _moments(given)
    if count < LEAST:
        raise InputError(f"a map needs at least {LEAST} vectors, there {'is' if count == 1 else 'are'} {count}")
    found = _leading(mean, scatter, count)
    places = np.concatenate([found.places(block) for block in given()])
    distance = np.abs(places)
    farthest = (distance >= distance.max(0) * _SAME).argmax(0)  # the first of those that are as far
    signs = np.where(places[farthest, [0, 1]] < 0, -1.0, 1.0)
    return places * signs, PrincipalAxes(mean, found.axes * signs, found.shares)


def umap_places(vectors: Values | Blocks, seed: int = 0) -> Values:
    """Return n places (n, 2) by UMAP over cosines: near vectors stay together, distances between groups say little.

    All vectors are held in memory. With a seed it takes one thread, and gives the same places again on the same
    machine.

    Errors: `InputError` where umap-learn is not installed, for fewer than three vectors, and for ones not finite.

    Source: McInnes, Healy and Melville 2018, arXiv:1802.03426.
    """
    held = [np.asarray(block, np.float32) for block in _checked(blocks(vectors))]
    whole = np.concatenate(held) if held else np.empty((0, 1), np.float32)
    if len(whole) < LEAST:
        raise InputError(
            f"a map needs at least {LEAST} vectors, there {'is' if len(whole) == 1 else 'are'} {len(whole)}"
        )
    try:
        with warnings.catch_warnings(action="ignore"):  # it says that there is no TensorFlow
            from umap import UMAP  # it compiles for seconds when it is imported
    except ImportError as error:
        raise InputError("UMAP needs umap-learn: pip install 'nearfar[umap]'; or take --method pca") from error
    few = len(whole) <= 3 * 15  # its spectral start needs more
    reducer = UMAP(
        n_components=2,
        n_neighbors=min(15, len(whole) - 1),
        metric="cosine",
        init="random" if few else "spectral",
        random_state=seed,
        n_jobs=1,
    )
    places: Values = np.asarray(reducer.fit_transform(whole), np.float64)
    return places


def _checked(given: Blocks) -> Iterator[Values]:
    """Yield blocks of finite rows of one length. Errors: `InputError` naming the row."""
    first, dim = 0, None
    for block in given():
        if block.ndim != 2 or (dim is not None and block.shape[1] != dim):
            raise InputError(f"a map is of vectors (n, d); rows from {first + 1} on are {block.shape}")
        finite = np.isfinite(block).all(1)
        if not finite.all():
            raise InputError(f"vector {first + int(finite.argmin()) + 1}: is not finite; leave it out of the map")
        first, dim = first + len(block), block.shape[1]
        yield block


def _moments(given: Blocks) -> tuple[int, Values, Values]:
    """Return the number of vectors, their mean (d,) and the sum of the products of what differs from it, (d, d)."""
    count, mean, scatter = 0, np.zeros(1), np.zeros((1, 1))
    for block in _checked(given):
        if not len(block):
            continue
        own = block.mean(0, dtype=np.float64)
        centred = block - own
        if not count:
            mean, scatter = np.zeros(len(own)), np.zeros((len(own), len(own)))
        total, gap = count + len(block), own - mean
        scatter += centred.T @ centred + np.outer(gap, gap) * (count * len(block) / total)
        mean = mean + gap * (len(block) / total)
        count = total
    return count, mean, scatter


def _leading(mean: Values, scatter: Values, count: int) -> PrincipalAxes:
    """Return the axes of the two largest eigenvalues, the largest first; zeros for what there is not."""
    dim, total = len(mean), float(np.trace(scatter))
    axes, shares = np.zeros((dim, 2)), np.zeros(2)
    if total > 1e-12 * count:  # else all vectors are one point, up to rounding
        most = min(2, dim)
        values, vectors = eigh(scatter, subset_by_index=[dim - most, dim - 1])
        axes[:, :most] = vectors[:, ::-1]
        shares[:most] = np.maximum(values[::-1], 0) / total
    return PrincipalAxes(mean, axes, shares)
