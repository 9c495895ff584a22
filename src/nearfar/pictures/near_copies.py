"""Near copies of pictures: the same picture saved again, resized, brightened or, if asked for, mirrored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import avg_pool2d, interpolate

from nearfar.column import Ids
from nearfar.pictures.decode import Picture
from nearfar.pictures.resize import by_shape, resized

COARSE, DETAIL = 0.96, 0.7  # least correlations of two pictures that are one, see `near_copies`
SIDE, GRID = 32, 8  # pixels of a side at which details are compared, and of the coarse form
_FLAT = 1.5  # standard deviation, in 255 levels of grey, below which there is nothing to correlate
_AXES = 8  # principal axes by which pairs are looked for
_BLOCK = 1_024  # pictures that are read together
_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601

Floats = npt.NDArray[np.float32]
Read = Callable[[Ids], Sequence[Picture]]


@dataclass(frozen=True)
class NearCopies:
    """Pairs (e, 2) of pictures i < j that are one, ascending; the correlation of their details (e,), the less of both.

    mirrored (e,): whether one is the other from right to left.
    """

    pairs: Ids
    similarity: Floats
    mirrored: npt.NDArray[np.bool_]


def near_copies(read: Read, n: int, *, mirrored: bool = False) -> NearCopies:
    """Return all pairs among n pictures that are one picture, saved again, resized, brightened or of other contrast.

    Two grey forms of each are correlated, so brightness and contrast do not count: 8 x 8 means, at least 0.96, which
    few pairs of different pictures reach; and of those pairs what 32 x 32 pixels hold beyond these means, at least 0.7.
    Different pictures of one mood agree in the first, but hardly ever in the second. All pairs are looked at, by a
    k-d tree over the leading principal axes of the first form, on which a distance is never more than in whole: none is
    missed for it. The shape of a picture is not kept, so a squeezed one is found, too.

    Args:
        read: returns pictures (h, w, 3) by their numbers.
        mirrored: look for pairs of which one is the other from right to left, too.

    When not to use it: for cut or turned pictures, frames or captions around them, two photographs of one thing; for
    pictures of one colour, which have nothing to correlate and are passed over.
    """
    coarse, flat = _coarse_of_all(read, n)
    found = [_confirmed(read, _candidates(coarse, flat, coarse), flip=False)]
    if mirrored:
        flipped = np.ascontiguousarray(coarse.reshape(n, GRID, GRID)[:, :, ::-1]).reshape(n, -1)
        found.append(_confirmed(read, _candidates(coarse, flat, flipped), flip=True))
    pairs = np.concatenate([pairs for pairs, _ in found])
    similarity = np.concatenate([values for _, values in found])
    is_mirrored = np.repeat([False, True][: len(found)], [len(pairs) for pairs, _ in found])
    order = np.lexsort((is_mirrored, pairs[:, 1], pairs[:, 0]))
    pairs, similarity, is_mirrored = pairs[order], similarity[order], is_mirrored[order]
    first = np.ones(len(pairs), bool)  # a symmetric picture is found twice
    first[1:] = (pairs[1:] != pairs[:-1]).any(1)
    return NearCopies(pairs[first], similarity[first], is_mirrored[first])


def grey_forms(pictures: Sequence[Picture]) -> tuple[Floats, Floats]:
    """Return of n pictures the coarse form (n, 64), and the details of 32 x 32 pixels (n, 1024): grey, 0 to 255.

    Details are what is left without the coarse form, which is enlarged smoothly. Neither has a mean of zero.
    """
    grey = torch.empty(len(pictures), 1, SIDE, SIDE)
    for rows in by_shape(pictures):
        grey[rows] = _grey(np.stack([pictures[row] for row in rows]))
    coarse = avg_pool2d(grey, SIDE // GRID)
    detail = grey - interpolate(coarse, (SIDE, SIDE), mode="bilinear", align_corners=False)
    return coarse.flatten(1).numpy(), detail.flatten(1).numpy()


def _coarse_of_all(read: Read, n: int) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return the coarse forms (n, 64), less their means and of unit length, and which have nothing to correlate."""
    coarse = np.zeros((n, GRID * GRID), np.float32)
    flat = np.zeros(n, bool)
    for start in range(0, n, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, n))
        forms = grey_forms(read(rows))[0]
        flat[rows] = forms.std(1) < _FLAT
        coarse[rows] = _unit(forms)
    return coarse, flat


def _candidates(coarse: Floats, flat: npt.NDArray[np.bool_], others: Floats) -> Ids:
    """Return the pairs i < j (e, 2), neither flat, where the coarse form i correlates with the other form j."""
    from scipy.spatial import KDTree

    usable = np.flatnonzero(~flat)
    if len(usable) < 2:
        return np.zeros((0, 2), np.int64)
    mine, theirs = coarse[usable], others[usable]
    axes = np.linalg.eigh(mine.T.astype(np.float64) @ mine)[1][:, -_AXES:]  # (64, 8)
    radius = float(np.sqrt(2 - 2 * COARSE)) + 1e-5  # between unit vectors of that correlation
    tree, place = KDTree(mine @ axes), theirs @ axes
    pairs = []
    for start in range(0, len(usable), _BLOCK):
        near = tree.query_ball_point(place[start : start + _BLOCK], radius, workers=-1, return_sorted=False)
        j = np.repeat(np.arange(start, start + len(near)), [len(one) for one in near])
        i = np.fromiter((row for one in near for row in one), np.int64, len(j))
        i, j = i[i < j], j[i < j]
        kept = np.einsum("ed,ed->e", mine[i], theirs[j]) >= COARSE
        pairs.append(np.stack([usable[i[kept]], usable[j[kept]]], 1))
    return np.concatenate(pairs)


def _confirmed(read: Read, pairs: Ids, *, flip: bool) -> tuple[Ids, Floats]:
    """Return the pairs whose details correlate, and how much."""
    kept, values = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.float32)]
    for start in range(0, len(pairs), _BLOCK):
        block = pairs[start : start + _BLOCK]
        rows, place = np.unique(block, return_inverse=True)
        details = grey_forms(read(rows))[1]
        first, second = (details[at] for at in place.reshape(-1, 2).T)
        if flip:
            second = second.reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(len(second), -1)
        similarity = np.einsum("ed,ed->e", _unit(first), _unit(second))
        similarity[(first.std(1) < _FLAT) | (second.std(1) < _FLAT)] = 0
        kept.append(block[similarity >= DETAIL])
        values.append(similarity[similarity >= DETAIL])
    return np.concatenate(kept), np.concatenate(values)


def _unit(forms: Floats) -> Floats:
    """Return rows (n, d) less their means, of unit length; a row of equal values becomes zeros."""
    centred = forms - forms.mean(1, keepdims=True)
    unit: Floats = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)
    return unit


def _grey(pictures: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Return pictures of one shape in grey, 32 x 32 pixels, (b, 1, 32, 32)."""
    planes = resized(torch.from_numpy(pictures), SIDE, SIDE)  # (b, 3, 32, 32)
    return (planes * torch.tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True) * 255
