"""Unpaired: rows of a data set without any pairs, for an objective that is trained alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from nearfar.column import Column, Ids, content_ids, take
from nearfar.contracts import Batch, Data, Objective, Positives
from nearfar.errors import InputError
from nearfar.pairs import Pairs
from nearfar.positives.relations.documents import Documents
from nearfar.storage.fingerprint import fingerprint
from nearfar.tasks import Task


class Unpaired:
    """The cells of one column of a data set; a batch has rows and no pairs.

    column: left out, it is the only one, or one of the names that `positives.views` recognises, too.

    Errors: `InputError` for a column that does not exist, and for data without rows.
    """

    def __init__(self, data: Data, column: str | None = None) -> None:
        self.cells: Column = Documents.of(data, column, 0).cells
        if len(self.cells) == 0:
            raise InputError("objective: the data has no rows, so there is nothing to learn from; give some")
        self.views: dict[str, Column] = {self.cells.name: self.cells}
        self.query_views: list[str] = []
        self.key_views: list[str] = []
        self.fingerprint = fingerprint("unpaired 1", content_ids(self.cells))

    def __len__(self) -> int:
        return len(self.cells)

    def batch(self, examples: Ids) -> Batch:
        """Return the rows of some examples, without queries and keys."""
        none = torch.empty(0, dtype=torch.int64)
        pairs = Pairs(query_group=none, query_item=none, key_group=none, key_item=none)
        return Batch({self.cells.name: examples}, pairs)

    def task(self, split: str) -> Task:
        """Refuse, as without pairs there is nothing to judge by."""
        raise InputError(
            f"split {split!r}: an objective alone has no pairs to judge by; leave `evaluate` out (the loss on held-out "
            "rows is measured), or judge the model with nearfar evaluate MODEL DATA"
        )

    def describe(self, examples: Ids) -> list[dict[str, Any]]:
        """Return some cells for people to read."""
        cells = take(self.cells, examples)
        return [{"row": row + 1, self.cells.name: cell} for row, cell in zip(np.asarray(examples).tolist(), cells)]


def hidden_views(objective: Objective | None, positives: Positives) -> Sequence[str]:
    """Return the views that an objective reads; of a mixture, those of every data set.

    Errors: `InputError` for a view that it needs and that does not exist.
    """
    if objective is None:
        return []
    if not objective.needs:
        return list(positives.views)
    found = [view for view in positives.views for need in objective.needs if view == need or view.endswith(f"/{need}")]
    for need in objective.needs:
        if not any(view == need or view.endswith(f"/{need}") for view in found):
            raise InputError(f"objective: it needs the view {need!r}; there are {', '.join(positives.views)}")
    return found
