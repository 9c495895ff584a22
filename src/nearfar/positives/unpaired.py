"""Unpaired: the cells of a column without any pairs, for an objective that is trained alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from nearfar.abilities import notes_of
from nearfar.column import Column, Ids, exact_ids, take
from nearfar.contracts import Batch, Data
from nearfar.errors import InputError
from nearfar.pairs import Pairs
from nearfar.positives.relations.augmented import shown
from nearfar.positives.relations.documents import Documents
from nearfar.storage.fingerprint import fingerprint
from nearfar.tasks import Language, Task


class Unpaired:
    """The cells of one column; a batch has rows and no pairs, so there is nothing for a loss to compare.

    What a recipe with an objective and no loss takes by default: masked language modelling (Devlin et al. 2018,
    arXiv:1810.04805) and its kind need texts, not pairs.

    Args:
        data: a table, or any data set with columns.
        column: left out, it is the only one, or the one that `views` recognises: text, document, ..., image, series.
        chunk: words of a passage, 0 for whole documents. Of a longer text an encoder reads the beginning alone, so
            that it learns from all of it only in passages.

    A split of texts is judged by its tokens (`tasks.Language`); of other cells the loss on held-out rows is measured.

    Errors: `InputError` for a column that does not exist, for a cell that is empty, by row, and for data without rows.

    Example:
        >>> import nearfar as nf
        >>> notes = nf.data.Table([{"text": f"note {i} says how to pull near"} for i in range(3)])
        >>> nf.positives.Unpaired(notes).batch(np.arange(2)).rows
        {'text': array([0, 1])}

    When not to use it: beside a loss, which needs pairs; the objective then reads the views of its positives.
    """

    def __init__(self, data: Data, column: str | None = None, chunk: int = 0) -> None:
        if chunk < 0:
            raise InputError(f"positives.chunk is a number of words, 0 for whole documents; it is {chunk}")
        self.data, self.column, self.chunk = data, column, chunk
        documents = Documents.of(data, column, chunk)
        self.cells: Column = documents.cells
        self.are_texts = documents.are_texts
        if len(self.cells) == 0:
            raise InputError("positives (unpaired): the data has no rows, so there is nothing to learn from; give some")
        self.views: dict[str, Column] = {self.cells.name: self.cells}
        self.query_views: list[str] = []
        self.key_views: list[str] = []
        self.fingerprint = fingerprint("unpaired 1", exact_ids(self.cells))

    def __len__(self) -> int:
        return len(self.cells)

    def batch(self, examples: Ids) -> Batch:
        """Return the rows of some examples, without queries and keys."""
        none = torch.empty(0, dtype=torch.int64)
        pairs = Pairs(query_group=none, query_item=none, key_group=none, key_item=none)
        return Batch({self.cells.name: examples}, pairs)

    def task(self, split: str) -> Task:
        """Return a split of texts as a task: to predict their tokens. The passages of a document are one cluster.

        Errors: `InputError` for other cells, as without pairs there is nothing to judge those by.
        """
        if not self.are_texts:
            raise InputError(
                f"split {split!r}: there are no pairs to judge by; leave `evaluate` out (the loss on held-out "
                "rows is measured), or judge the model with nearfar evaluate MODEL DATA"
            )
        documents = Documents.of(self.data.split(split), self.column, self.chunk)
        cells = documents.cells
        if not len(cells):
            raise InputError(f"split {split!r}: there are no texts to judge by; hold some out, e.g. data.heldout=0.05")
        clusters = np.unique(documents.document_ids, return_inverse=True)[1].astype(np.int64)
        return Language(split, cells, self.cells, clusters, notes_of(self.data))

    def describe(self, examples: Ids) -> list[dict[str, Any]]:
        """Return some cells for people to read."""
        cells = map(shown, take(self.cells, examples))
        return [{"row": row + 1, self.cells.name: cell} for row, cell in zip(np.asarray(examples).tolist(), cells)]
