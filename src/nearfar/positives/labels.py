"""LabelsAsPositives: all documents of one class are positives of each other; those of other classes are negatives."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Self

import numpy as np
import torch

from nearfar import registry
from nearfar.abilities import Labelled
from nearfar.column import Aliases, Ids, content_id, take
from nearfar.contracts import Augmentation, Batch, Data, Encoder
from nearfar.errors import InputError
from nearfar.positives.relations.labelled import class_name
from nearfar.positives.relations.view import SIMCSE, ViewEntry
from nearfar.positives.views import VIEWS, Views
from nearfar.storage.fingerprint import fingerprint
from nearfar.tasks import Task


class LabelsAsPositives:
    """All documents of one class are positives of each other, in every view; those of other classes are negatives.

    The supervised contrastive setting (Khosla et al. 2020, arXiv:2004.11362, equation 2). What is judged is whether the
    classes of held-out documents are told from those of training. A document is never its own positive; its other views
    are, so a class that has one member in a batch has a positive, too.

    Args:
        data: a table, pictures in folders of classes, or any data set with columns.
        column: the documents' column, as in `views`.
        label: the column of classes; left out, the one called label or class.
        views: a list of views, as in `views`; the default is one unchanged query and one unchanged key, which an
            encoder's dropout makes differ.
        encoder: what reads the views, as in `views`.

    Errors: `InputError` for data without a column of labels, for a row without a label, and for labels that are all the
    same: nothing would be far. Those of `views`, too.

    Example:
        >>> import nearfar as nf
        >>> rows = [{"text": f"note {i}", "label": i % 2} for i in range(4)]
        >>> labels = nf.positives.LabelsAsPositives(nf.data.Table(rows))
        >>> labels.batch(np.arange(4)).pairs.query_group.unique().numel()
        2

    When not to use it: where classes are broad and the search is for single things: everything of a class becomes one
    point. Take `views`, or finer classes.
    """

    takes_queue: bool = True  # see `abilities.TakesQueue`

    def __init__(
        self,
        data: Data,
        column: str | None = None,
        label: str | None = None,
        views: Annotated[Sequence[ViewEntry | Mapping[str, Any] | Augmentation], VIEWS] = SIMCSE,
        encoder: Encoder | None = None,
    ) -> None:
        self.of = Views(data, column, views, label=label, encoder=encoder)
        entries: list[ViewEntry] = registry.build_list(VIEWS, views, "positives.views")
        registry.remember(self, {"column": column, "label": label, "views": entries})
        if self.of.label is None:
            raise InputError(
                "positives (labels): there is no column of classes; name it with positives.label, or put pictures "
                f"into a folder for each class. Columns: {', '.join(data.columns)}"
            )
        labels = data.column(self.of.label)
        names = [class_name(cell) for cell in take(labels, np.arange(len(labels)))]
        documents = self.of.documents
        missing = next((row for row in documents.row.tolist() if names[row] is None), None)
        if missing is not None:
            raise InputError(
                f"positives (labels): row {missing + 1} has no label in column {self.of.label!r}; leave it out"
            )
        own = [str(names[row]) for row in documents.row.tolist()]
        if len(set(own)) < 2:
            raise InputError(
                f"positives (labels): all rows are of one class, {own[0]!r}, so nothing is far; give more classes, or "
                "take positives.name=views"
            )
        self.group: Ids = np.array([content_id(f"class {name}") for name in own], np.int64)
        self.views, self.augmentations = self.of.views, self.of.augmentations
        self.query_views, self.key_views = self.of.query_views, self.of.key_views
        self.fingerprint = fingerprint("labels 1", self.of.fingerprint, self.group)

    def __len__(self) -> int:
        return len(self.of)

    def batch(self, examples: Ids, queued: Ids | None = None) -> Batch:
        """Return the views of some examples (b,) and their pairs, whose groups are the classes; see `Views.batch`."""
        batch = self.of.batch(examples, queued)
        group = self.group[examples]
        of_queue = self.group[:0] if queued is None else self.group[queued]
        pairs = replace(
            batch.pairs,
            query_group=torch.from_numpy(np.tile(group, len(self.query_views))),
            key_group=torch.from_numpy(np.concatenate([*[group] * len(self.key_views), of_queue])),
        )
        return replace(batch, pairs=pairs)

    def with_aliases(self, aliases: Aliases) -> Self:
        """Return the same documents, in whose batches the contents count as the aliases say."""
        result = copy.copy(self)
        result.of = self.of.with_aliases(aliases)
        result.fingerprint = fingerprint("labels 1", result.of.fingerprint, self.group)
        return result

    def task(self, split: str) -> Task:
        """Return a split as a task: tell the class of each document from the training documents."""
        return self.of.tasks(split)[-1]

    def labelled(self) -> Labelled:
        """Return the documents and their classes, to judge by while training."""
        return self.of.labelled()

    def describe(self, examples: Ids) -> list[dict[str, Any]]:
        """Return the views of some examples and their classes, for people to read."""
        labels = self.of.data.column(str(self.of.label))
        shown = self.of.describe(examples)
        names = take(labels, self.of.documents.row[examples])
        return [{**row, "label": name} for row, name in zip(shown, names, strict=True)]
