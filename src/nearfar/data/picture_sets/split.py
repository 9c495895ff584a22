"""Which pictures are of which split: held out or sampled by a hash of their content, and no copy on two sides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nearfar.column import Ids
from nearfar.data.picture_sets.layout import TRAIN
from nearfar.data.tables.split import seeded_hash
from nearfar.errors import InputError

HELD = "heldout"
COPIES = "training pictures equal to one of another split, left out"  # a note
Mask = npt.NDArray[np.bool_]


def drawn(ids: Ids, classes: Ids, share: float, seed: int, *, leave: bool) -> Mask:
    """Return which of n pictures are drawn, (n,): about a share of each class, at least one, those of the lowest hash.

    Equal pictures (by their content ids) are drawn together; such a group counts for the class of its first picture.

    Args:
        ids: content ids (n,). classes (n,): the class of each, -1 for none, which is a class, too.
        share: of the distinct pictures of each class.
        leave: whether at least one distinct picture of each class is left, too; a class of one is then not drawn.
    """
    _, first, group = np.unique(ids, return_index=True, return_inverse=True)  # (g,), (n,)
    of_group, key = classes[first], seeded_hash(ids[first], seed)
    order = np.lexsort((key, of_group))  # groups, class after class, in the order of their hash
    _, start, count = np.unique(of_group[order], return_index=True, return_counts=True)
    wanted = np.clip(np.rint(share * count), 1, count - leave)  # (c,)
    rank = np.arange(len(order)) - np.repeat(start, count)
    chosen = np.zeros(len(order), bool)
    chosen[order] = rank < np.repeat(wanted, count)
    mask: Mask = chosen[group.reshape(-1)]
    return mask


def codes(labels: Sequence[str | None]) -> Ids:
    """Return classes as numbers (n,), -1 for none."""
    known = {label: code for code, label in enumerate(sorted({label for label in labels if label is not None}))}
    return np.array([-1 if label is None else known[label] for label in labels], np.int64)


def split_rows(splits: Sequence[str]) -> dict[str, Ids]:
    """Return the rows of each split, those of training first. splits (n,): the split of each row."""
    names = sorted(set(splits), key=lambda name: (name != TRAIN, name))
    of_row = np.array([names.index(name) for name in splits])
    return {name: np.flatnonzero(of_row == i) for i, name in enumerate(names)}


def without_copies(where: str, splits: dict[str, Ids], ids: Ids) -> tuple[dict[str, Ids], Ids]:
    """Return the rows of each split, no training picture equal to one of another, and the rows that are left out.

    where: what errors call the data. ids: content ids (n,) of the pictures of all rows; rows may share one.

    Errors: `InputError` where no training picture is left.
    """
    if TRAIN not in splits or len(splits) == 1:
        return splits, np.empty(0, np.int64)
    rows = splits[TRAIN]
    others = np.concatenate([of_split for name, of_split in splits.items() if name != TRAIN])
    copies = np.isin(ids[rows], ids[others])
    if copies.all():
        raise InputError(f"{where}: every training picture is equal to one of another split; give others")
    return {**splits, TRAIN: rows[~copies]}, rows[copies]
