"""Views: the views of one document are positives, those of different documents are negatives. No labels."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

import numpy as np
import torch

from nearfar import registry
from nearfar.abilities import Labelled, for_reader, notes_of, side
from nearfar.column import Aliases, Column, Ids, content_ids, equal_pairs, exact_ids, take
from nearfar.contracts import Augmentation, Batch, Data, Encoder, StreamedAugmentation
from nearfar.errors import InputError
from nearfar.pairs import Known, Pairs
from nearfar.positives.relations.augmented import augment_fixed, shown
from nearfar.positives.relations.documents import Documents
from nearfar.positives.relations.labelled import LabelledCells, class_numbers, label_column, labels_task
from nearfar.positives.relations.view import SIMCSE, BatchView, ViewEntry, batch_views
from nearfar.positives.relations.view_tasks import documents_to_judge, view_task
from nearfar.registry import PartsOf
from nearfar.storage.fingerprint import fingerprint
from nearfar.tasks import Retrieval, Task

VIEWS = PartsOf("augmentations", ViewEntry)


class Views:
    """The views of a document are positives of each other; the views of other documents are negatives.

    A document is a text, a picture, a recording: whatever the column holds. Augmentations are drawn in every epoch from
    (seed, epoch, example, view), so a resumed run, and one on several processes, draws the same. Copies of a document
    are one document, and never false negatives; a view is never its own positive.

    Args:
        data: a table, or any data set with columns.
        column: the documents' column; left out, it is the only one, or the one called text, document, passage,
            sentence, content, body, code, key, image, picture, array, recording or series. Each text of a list in a
            cell is a document.
        views: a list of views, each {name: an augmentation, its settings, times: 1, side: both}; without a name, the
            cell as it is. side: both, query or key. In Python an entry may also be an augmentation by itself, or
            {"augmentation": crop, "times": 2}. The default is one unchanged query and one unchanged key, which the
            encoder's dropout makes differ: unsupervised SimCSE (Gao et al. 2021, arXiv:2104.08821).
        chunk: words of a passage, 0 for whole documents. Each passage of a long text is an example; two passages of one
            document are ignored as a pair.
        label: column of classes to judge by, not to train on; left out, the one called label or class, if there is one.
        encoder: what reads the views, which the recipe's encoder is; views of pictures without a size have its size.

    | method | views |
    |---|---|
    | SimCLR (NT-Xent): all 2n views are queries and keys | [{name: ..., times: 2}] |
    | MoCo, Contriever: crops against crops | [{name: ..., side: query}, {name: ..., side: key}] |
    | multi-crop (SwAV, DINO): 2 large crops, 6 small | [{name: ..., times: 2}, {name: ..., times: 6, side: query}] |
    | inverse cloze: a sentence and the rest | [{name: text_cloze}], which makes both views |

    Errors: `InputError` for a column that does not exist, a cell that is empty, by row; a query view without another
    view as its key; `times` or `side` beside an augmentation that makes both views; data without rows.

    Example:
        >>> import nearfar as nf
        >>> notes = nf.data.Table([{"text": f"note {i} says how to pull near and push far"} for i in range(3)])
        >>> crop = nf.augmentations.TextCrop(fewest=2)
        >>> views = nf.positives.Views(notes, views=[{"augmentation": crop, "times": 2}])
        >>> views.batch(np.arange(3)).pairs.shape  # 3 documents, 2 views of each, as queries and as keys
        (6, 6)

    When not to use it: with labelled pairs of queries and keys, which teach more. Without augmentations, an encoder
    without dropout (static) gives all views the same vector.
    """

    takes_queue: bool = True  # see `abilities.TakesQueue`

    def __init__(
        self,
        data: Data,
        column: str | None = None,
        views: Annotated[Sequence[ViewEntry | Mapping[str, Any] | Augmentation], VIEWS] = SIMCSE,
        chunk: int = 0,
        label: str | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        if chunk < 0:
            raise InputError(f"positives.chunk is a number of words, 0 for whole documents; it is {chunk}")
        self.data, self.column, self.chunk, self.encoder = data, column, chunk, encoder
        entries: list[ViewEntry] = registry.build_list(VIEWS, views, "positives.views")
        registry.remember(self, {"column": column, "views": entries, "chunk": chunk, "label": label})
        self.batch_views = batch_views(entries)
        self.documents = Documents.of(data, column, chunk)
        self.label = label_column(data, label)
        if len(self.documents.cells) == 0:
            raise InputError("positives (views): the data has no rows, so there is no pair; give some documents")
        self.views: dict[str, Column] = {view.name: self.documents.cells for view in self.batch_views}
        self.query_views = [view.name for view in self.batch_views if view.is_query]
        self.key_views = [view.name for view in self.batch_views if view.is_key]
        self.augmentations = {view.name: view.augmented for view in self.batch_views if view.augmented is not None}
        self.ids = content_ids(self.documents.cells)
        settings = str([registry.settings_of_record(VIEWS, entry) for entry in entries])
        self.fingerprint = fingerprint(
            "views 2", exact_ids(self.documents.cells), self.documents.document_ids, settings
        )

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, examples: Ids, queued: Ids | None = None) -> Batch:
        """Return the views of some examples (b,) and their pairs.

        The queries are the b rows of each query view, view after view, and so are the keys; then come the keys of
        queued examples, of the first key view. A view of a copy of a document is the same view of that document.
        """
        ids = self.ids[examples]
        queries = [view.salt for view in self.batch_views if view.is_query]
        keys = [view.salt for view in self.batch_views if view.is_key]
        queued_ids = self.ids[:0] if queued is None else self.ids[queued]
        pairs = Pairs(
            query_group=torch.from_numpy(np.tile(ids, len(queries))),
            query_item=torch.from_numpy(np.concatenate([ids ^ salt for salt in queries])),
            key_group=torch.from_numpy(np.concatenate([*[ids] * len(keys), queued_ids])),
            key_item=torch.from_numpy(np.concatenate([*(ids ^ salt for salt in keys), queued_ids ^ keys[0]])),
            known=self._passages_of_one_document(examples, examples[:0] if queued is None else queued)
            if self.chunk
            else None,
        )
        return Batch(dict.fromkeys(self.views, examples), pairs)

    def with_aliases(self, aliases: Aliases) -> Self:
        """Return the same documents, in whose batches the contents count as the aliases say."""
        result = copy.copy(self)
        result.ids = aliases(self.ids)
        result.fingerprint = fingerprint(self.fingerprint, "aliases", aliases.ids, aliases.representatives)
        return result

    def task(self, split: str) -> Retrieval:
        """Return a split as a task: find each document by a view of it, which is always the same.

        The documents are those of the split, then of the data's other splits (`abilities.HasPool`), all made alike.
        Of texts, the query is the first query view, a crop where that has no augmentation. Where it is a part of the
        text, it is removed from the document, as long as that leaves half of it: otherwise the same words alone would
        find the document. Of other cells, it is the first view with an augmentation, and the document is the cell
        itself.

        Errors: `InputError` for other cells without any augmentation, and for a split without rows.
        """
        documents, pool, train = documents_to_judge(self.data, split, self.column, self.chunk)
        query = next(view for view in self.batch_views if view.is_query)
        augmented = self._as_read(query) if documents.are_texts else self._first_augmented()
        task = view_task(split, documents, augmented, query.rest, pool=pool, train=train)
        task.notes["split"] = notes_of(self.data)
        return task

    def tasks(self, split: str) -> list[Task]:
        """Return all tasks of a split: to find the document, where `task` can be made; to tell the class, with labels.

        Errors: those of `task`, where there is no column of labels either.
        """
        label = self.label
        if label is None:
            return [self.task(split)]
        rows = self.data.split(split)
        of_split = LabelledCells.of(Documents.of(rows, self.column, self.chunk), rows.column(label))
        train = LabelledCells.of(self.documents, self.data.column(label))
        labels = labels_task(split, train, of_split, label, notes_of(self.data))
        finds = self.documents.are_texts or self._first_augmented() is not None
        return [self.task(split), labels] if finds else [labels]

    def labelled(self) -> Labelled:
        """Return the documents and their classes, to judge by while training."""
        cells, label = self.documents.cells, self.label
        if label is None:
            return Labelled(cells, None)
        return Labelled(cells, class_numbers(self.data.column(label))[self.documents.row])

    def describe(self, examples: Ids) -> list[dict[str, Any]]:
        """Return the views of some examples, augmented as they could be in training, for people to read."""
        cells, ids, rows = take(self.documents.cells, examples), self.ids[examples], self.documents.row[examples]
        columns = [augment_fixed(self._as_read(view), cells, ids, view.name, rows) for view in self.batch_views]
        by_example = zip(rows.tolist(), *columns, strict=True)
        return [{"row": row + 1, **dict(zip(self.views, map(shown, views)))} for row, *views in by_example]

    def _first_augmented(self) -> StreamedAugmentation | None:
        """Return the augmentation of the first view that has one, of a query rather than of a key."""
        ordered = sorted(self.batch_views, key=lambda view: not view.is_query)
        return next((self._as_read(view) for view in ordered if view.augmented is not None), None)

    def _as_read(self, view: BatchView) -> StreamedAugmentation | None:
        """Return a view's augmentation, of the size that the encoder's side reads."""
        if view.augmented is None or self.encoder is None:
            return view.augmented
        return for_reader(view.augmented, side(self.encoder, "query" if view.is_query else "key"))

    def _passages_of_one_document(self, examples: Ids, queued: Ids) -> Known | None:
        """Return the pairs of different passages of one document, in any two views, as ignored; None without any."""
        b, queries, keys = len(examples), np.arange(len(self.query_views)), np.arange(len(self.key_views))
        row, column = self._ignored(examples, examples)
        queued_row, queued_column = self._ignored(examples, queued)
        rows = np.concatenate([np.repeat(row, len(keys)), queued_row])  # each in every query view below
        columns = np.concatenate([(column[:, None] + b * keys).ravel(), queued_column + b * len(keys)])
        if len(rows) == 0:
            return None
        rows, columns = (rows[:, None] + b * queries).ravel(), np.repeat(columns, len(queries))
        return Known(torch.from_numpy(rows), torch.from_numpy(columns), torch.zeros(len(rows)))

    def _ignored(self, examples: Ids, others: Ids) -> tuple[Ids, Ids]:
        """Return the places (i, j) of different passages of one document."""
        row, column = equal_pairs(self.documents.document_ids[examples], self.documents.document_ids[others])
        different = self.ids[examples][row] != self.ids[others][column]
        return row[different], column[different]
