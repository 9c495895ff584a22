"""Views: two views of one document are a positive pair, those of different documents are negatives. No labels."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

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
    """The two views of a document are a positive pair; the views of other documents are negatives.

    Augmentations are drawn in every epoch from (seed, epoch, example, view), so a resumed run, and one on several
    processes, draws the same. Without any augmentation both views are the same text, and the encoder's dropout makes
    them differ: unsupervised SimCSE (Gao et al. 2021, arXiv:2104.08821). An augmentation with a `rest` (`text_cloze`)
    makes both views. Copies of a document are one document, and never false negatives.

    Args:
        data: a table, or any data set with columns.
        column: the documents' column; left out, it is the only one, or the one called text, document, passage,
            sentence, content, body, code or key. Each text of a list in a cell is a document.
        query, key: the augmentation of each view, `{name: text_crop, ...}`; None is the text as it is.
        chunk: words of a passage, 0 for whole documents. Each passage of a long document is an example; two passages of
            one document are ignored as a pair.

    Errors: `InputError` for a column that does not exist, a cell that is empty or no text, by row; a key augmentation
    beside a query augmentation that makes both views; data without rows.

    Example:
        >>> import nearfar as nf
        >>> notes = nf.data.Table([{"text": f"note {i} says how to pull near and push far"} for i in range(3)])
        >>> crop = nf.augmentations.TextCrop(fewest=2)
        >>> views = nf.positives.Views(notes, query=crop, key=crop)
        >>> views.batch(np.arange(3)).pairs.shape
        (3, 3)

    When not to use it: with labelled pairs of queries and keys, which teach more. Without augmentations, an encoder
    without dropout (static) gives both views the same vector.
    """

    takes_queue: Literal[True] = True

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
            raise InputError("positives.views: the data has no rows, so there is no positive pair; give some documents")
        self.views: dict[str, Column] = {"query": self.documents.texts, "key": self.documents.texts}
        self.query_views, self.key_views = ["query"], ["key"]
        self.ids = content_ids(self.documents.texts)
        self.fingerprint = fingerprint(
            "views 1", self.ids, self.documents.document_ids, augmentation_settings(self.augmentations)
        )

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, examples: Ids, queued: Ids | None = None) -> Batch:
        """Return both views of some examples (b,) and their pairs: b queries, b keys, then the keys of queued examples.

        Keys of equal text are one key.
        """
        key_examples = examples if queued is None else np.concatenate([examples, queued])
        queries, keys = self.ids[examples], self.ids[key_examples]
        pairs = Pairs(
            query_group=torch.from_numpy(queries),
            query_item=torch.from_numpy(queries ^ QUERY_SIDE),
            key_group=torch.from_numpy(keys),
            key_item=torch.from_numpy(keys ^ KEY_SIDE),
            known=self._passages_of_one_document(examples, key_examples) if self.chunk else None,
        )
        return Batch({"query": examples, "key": examples}, pairs)

    def task(self, split: str) -> Retrieval:
        """Return a split as a task: find each document by its query view, which is always the same.

        The query view is a crop where it has no augmentation. Where it is a part of the text, it is removed from the
        document, as long as that leaves half of it: otherwise the same words alone would find the document.
        """
        documents = Documents.of(self.data.split(split), self.column, self.chunk)
        task = view_task(split, documents, self.augmentations)
        return replace(task, notes={**task.notes, "split": dict(getattr(self.data, "notes", {}))})

    def describe(self, examples: Ids) -> list[dict[str, Any]]:
        """Return both texts of some examples, augmented as they could be in training, for people to read."""
        texts = take(self.documents.texts, examples)
        views = [augment_fixed(self.augmentations.get(view), texts, self.ids[examples]) for view in ("query", "key")]
        rows = self.documents.row[examples].tolist()
        return [{"row": row + 1, "query": q, "key": k} for row, q, k in zip(rows, *views, strict=True)]

    def _passages_of_one_document(self, examples: Ids, key_examples: Ids) -> Known | None:
        """Return the pairs of different passages of one document, as ignored; None without any."""
        row, column = equal_pairs(self.documents.document_ids[examples], self.documents.document_ids[key_examples])
        different = self.ids[examples][row] != self.ids[key_examples][column]
        if not different.any():
            return None
        rows, columns = torch.from_numpy(row[different]), torch.from_numpy(column[different])
        return Known(rows, columns, torch.zeros(len(rows)))
