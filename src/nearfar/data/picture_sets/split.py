"""Which pictures are held out, or are a sample: by a hash of their content, so many of each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nearfar.column import Ids
from nearfar.data.tables.split import seeded_hash

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
