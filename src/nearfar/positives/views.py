"""Views: two looks at one document are near, looks at different documents are far. No labels are needed."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import torch

from nearfar.column import Column, Ids, content_ids, equal_pairs, take
from nearfar.contracts import Augmentation, Batch, Data
from nearfar.errors import InputError
from nearfar.pairs import Known, Pairs
from nearfar.positives.relations.documents import Documents
from nearfar.positives.relations.known import KEY_SIDE, QUERY_SIDE
from nearfar.positives.relations.tasks import augment_fixed, augmentation_settings, augmented_views, view_task
from nearfar.registry import PartOf
from nearfar.storage.fingerprint import fingerprint
from nearfar.tasks import Retrieval


class Views:
    """Each document's query view is near its key view and far from the views of other documents.

    Views are drawn anew in every pass over the data, from (seed, pass, example, view): a resumed run, and one on
    several processes, sees the same. With no view at all the two sides are the same text, and the encoder's dropout
    makes them differ: unsupervised SimCSE (Gao et al. 2021, arXiv:2104.08821). A view with a `rest` (`text_cloze`)
    makes both sides. Copies of a document are one document, and never false negatives.

    Args:
        data: a table, or any data set with columns.
        column: of the documents; left out, it is the only one, or called text, document, passage, sentence, content,
            body, code or key. A list in a cell is so many documents.
        query, key: how each side looks at the document, `{name: text_crop, ...}`; None is the text as it is.
        chunk: words of a passage, 0 for whole documents. Each passage of a long document is an example then; passages
            of one document are neither near nor far.

    Errors: `InputError` for a column that is not there, a cell that is empty or no text, by row; a key beside a query
    that makes both; data without rows.

    Example:
        >>> import nearfar as nf
        >>> notes = nf.data.Table([{"text": f"note {i} says how to pull near and push far"} for i in range(3)])
        >>> crop = nf.augmentations.TextCrop(fewest=2)
        >>> near = nf.positives.Views(notes, query=crop, key=crop)
        >>> near.batch(np.arange(3)).pairs.shape
        (3, 3)

    When not to use it: where people have said what answers what; such pairs teach more. And no views with an encoder
    without dropout (static): both sides are one vector then.
    """

    def __init__(
        self,
        data: Data,
        column: str | None = None,
        query: Annotated[Augmentation | None, PartOf("augmentations")] = None,
        key: Annotated[Augmentation | None, PartOf("augmentations")] = None,
        chunk: int = 0,
    ) -> None:
        if chunk < 0:
            raise InputError(f"positives.views.chunk is a number of words, 0 for whole documents; it is {chunk}")
        self.data, self.column, self.chunk = data, column, chunk
        self.augmentations = augmented_views(query, key)
        self.documents = Documents.of(data, column, chunk)
        if len(self.documents.texts) == 0:
            raise InputError("positives.views: the data has no rows, so nothing is near anything; give some documents")
        self.views: dict[str, Column] = {"query": self.documents.texts, "key": self.documents.texts}
        self.query_views, self.key_views = ["query"], ["key"]
        self.ids = content_ids(self.documents.texts)
        self.fingerprint = fingerprint(
            "views 1", self.ids, self.documents.document, augmentation_settings(self.augmentations)
        )

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, examples: Ids, queued: Ids | None = None) -> Batch:
        """Return both views of some examples (b,) and their pairs: b queries, b keys, then the queued examples' keys.

        Keys of equal text are one key.
        """
        others = examples if queued is None else np.concatenate([examples, queued])
        queries, keys = self.ids[examples], self.ids[others]
        pairs = Pairs(
            query_group=torch.from_numpy(queries),
            query_item=torch.from_numpy(queries ^ QUERY_SIDE),
            key_group=torch.from_numpy(keys),
            key_item=torch.from_numpy(keys ^ KEY_SIDE),
            known=self._siblings(examples, others) if self.chunk else None,
        )
        return Batch({"query": examples, "key": examples}, pairs)

    def _siblings(self, examples: Ids, others: Ids) -> Known | None:
        """Return the other passages of the queries' documents, as neither near nor far."""
        row, column = equal_pairs(self.documents.document[examples], self.documents.document[others])
        apart = self.ids[examples][row] != self.ids[others][column]
        if not apart.any():
            return None
        rows, columns = torch.from_numpy(row[apart]), torch.from_numpy(column[apart])
        return Known(rows, columns, torch.zeros(len(rows)))

    def task(self, split: str) -> Retrieval:
        """Return a split as a task: from a look at each document, always the same one, find the document.

        The look is the query view, and a crop where there is none. Where it is a stretch of the text, the document is
        searched without it, as long as that leaves half: else the same words alone would find it.
        """
        held = Documents.of(self.data.split(split), self.column, self.chunk)
        found = view_task(split, held, self.augmentations)
        return replace(found, notes={**found.notes, "split": dict(getattr(self.data, "notes", {}))})

    def describe(self, examples: Ids) -> list[dict[str, Any]]:
        """Return some examples as two texts, seen as they could be in training, for people."""
        texts = take(self.documents.texts, examples)
        sides = [augment_fixed(self.augmentations.get(side), texts, self.ids[examples]) for side in ("query", "key")]
        rows = self.documents.row[examples].tolist()
        return [{"row": row + 1, "query": q, "key": k} for row, q, k in zip(rows, *sides, strict=True)]
