"""Several data sets trained on as one: each with its own views, mixed in one batch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import numpy as np
import torch

from nearfar.abilities import Minable, augmented_views, batch_of, takes_passes, tasks_of, with_aliases
from nearfar.column import Aliases, Column, Ids
from nearfar.contracts import Batch, MiningPairs, Positives
from nearfar.errors import InputError
from nearfar.pairs import Known, Pairs
from nearfar.positives.relations.known import QUERY_SIDE, KnownPairs
from nearfar.storage.fingerprint import fingerprint
from nearfar.tasks import Task
from nearfar.training.merge_batches import BatchPart, MergedPairs, concatenate_known, merge_batches

CHUNK = 1024  # examples of one call of `batch` where the ids of all are read


def parts_of(positives: Positives | Sequence[Positives]) -> Sequence[Positives]:
    """Return the positives of each data set."""
    if isinstance(positives, Mixture):
        return positives.parts
    return positives if isinstance(positives, Sequence) else [positives]


class Mixture:
    """Positives of several data sets: examples are numbered one data set after the other, views named by number.

    Ids are hashes of content, so equal content in two data sets is one item: a document of both is one key, and a
    question of both has the answers of both as its positives.

    Args:
        parts: the positives of each data set; `0/query` is the view "query" of the first.
        apart: a query and a key of different data sets are ignored; else they are negatives, as any other two.

    Errors: `InputError` for no data set at all, or a task of one that does not exist.

    Example:
        >>> import nearfar as nf
        >>> tables = [nf.data.Table([{"query": f"question {i}?", "key": f"answer {i}"}]) for i in range(2)]
        >>> both = Mixture([nf.positives.Columns(table) for table in tables])
        >>> len(both), list(both.views), both.batch(np.arange(2)).pairs.shape
        (2, ['0/query', '0/key', '1/query', '1/key'], (2, 2))

    When not to use it: tables with the same columns and no wish to tell them apart are simpler as one table.
    """

    takes_queue: bool = True  # as far as its data sets do

    def __init__(self, parts: Sequence[Positives], apart: bool = False) -> None:
        if not parts:
            raise InputError("positives: an empty list; give one data set at least")
        self.parts, self.apart = list(parts), apart
        named = list(enumerate(self.parts))
        self.views: dict[str, Column] = {f"{d}/{name}": view for d, p in named for name, view in p.views.items()}
        self.query_views = [f"{d}/{name}" for d, part in named for name in part.query_views]
        self.key_views = [f"{d}/{name}" for d, part in named for name in part.key_views]
        self.augmentations = {f"{d}/{v}": a for d, part in named for v, a in augmented_views(part).items()}
        self.offsets = np.cumsum([0, *map(len, self.parts)])  # number of each data set's first example
        self.across = CrossDatasetRelations.of(self.parts)
        self.fingerprint = fingerprint("mixture 1", [part.fingerprint for part in self.parts])

    def __len__(self) -> int:
        return int(self.offsets[-1])

    @property
    def takes_passes(self) -> bool:
        """Whether the pairs of any data set depend on the pass."""
        return any(map(takes_passes, self.parts))

    def batch(self, examples: Ids, queued: Ids | None = None, passes: Ids | None = None) -> Batch:
        """Return the rows of each view, none of a data set without examples here, and the pairs of all.

        queued: examples whose keys, from earlier batches, come last among the pairs' keys, in this order. passes: (b,)
        in which each example is seen (`abilities.TakesPasses`).
        """
        in_queue = examples[:0] if queued is None else queued
        dataset, queue_dataset = self._dataset_of(examples), self._dataset_of(in_queue)
        rows = {view: np.empty(0, np.int64) for view in self.views}
        parts, example_index = [], dict[str, Ids]()
        for d in np.union1d(dataset, queue_dataset).tolist():
            batch_index, queue_index = np.flatnonzero(dataset == d), np.flatnonzero(queue_dataset == d)
            positives = self.parts[d]
            part_examples = examples[batch_index] - self.offsets[d]
            part_queued = in_queue[queue_index] - self.offsets[d]
            part_passes = None if passes is None else passes[batch_index]
            batch = batch_of(positives, part_examples, None if queued is None else part_queued, part_passes)
            parts.append(BatchPart(d, batch, batch_index, queue_index))
            rows |= {f"{d}/{view}": cells for view, cells in batch.rows.items()}
            for view in augmented_views(positives):
                of_part = batch.example_index.get(view, np.arange(len(batch_index)))
                example_index[f"{d}/{view}"] = batch_index[of_part]
        merged = merge_batches(parts, apart=self.apart)
        return Batch(rows, self.across.add_to(merged, apart=self.apart), merged.positive_index, example_index)

    def mining_pairs(self) -> list[MiningPairs]:
        """Return what to mine from, one for each data set, in order; the positives of each hold for all."""
        return [pairs for part in self.parts for pairs in cast("Minable", part).mining_pairs()]

    def with_negatives(self, rows: Ids) -> Self:
        """Return the same data sets, each with mined negatives from its own keys: (n, k), as its positives take them.

        Errors: those of the data sets' positives.
        """
        result = copy.copy(self)
        parts = zip(self.parts, np.split(rows, self.offsets[1:-1]), strict=True)
        result.parts = [cast("Minable", part).with_negatives(part_rows) for part, part_rows in parts]
        return result

    def with_aliases(self, aliases: Aliases) -> Self:
        """Return the same data sets, in whose batches the contents count as the aliases say, as far as they take it."""
        result = copy.copy(self)
        result.parts = [with_aliases(part, aliases) for part in self.parts]
        result.across = CrossDatasetRelations.of(result.parts)
        result.fingerprint = fingerprint(self.fingerprint, "aliases", aliases.ids, aliases.representatives)
        return result

    def task(self, split: str) -> Task:
        """Return a split as a task: "1/heldout" of the second data set, "heldout" of the first."""
        return self.tasks(split)[0]

    def tasks(self, split: str) -> list[Task]:
        """Return all tasks of a split, the usual one first; see `task` for the split's name."""
        number, sign, name = split.partition("/")
        if not sign or not number.isdecimal():
            return list(tasks_of(self.parts[0], split))
        if int(number) >= len(self.parts):
            raise InputError(f"split {split!r}: there are data sets 0 to {len(self.parts) - 1}, e.g. 0/{name}")
        return [replace(task, name=split) for task in tasks_of(self.parts[int(number)], name)]

    def describe(self, examples: Ids) -> list[dict[str, Any]]:
        """Return some examples for people to read, each with its row as "data set/row"."""
        described: dict[int, dict[str, Any]] = {}
        dataset = self._dataset_of(examples)
        for d in np.unique(dataset).tolist():
            index = np.flatnonzero(dataset == d)
            numbers = examples[index] - self.offsets[d]
            for i, number, facts in zip(index.tolist(), numbers.tolist(), self.parts[d].describe(numbers), strict=True):
                described[i] = {**facts, "row": f"{d}/{facts.get('row', number + 1)}"}
        return [described[i] for i in range(len(examples))]

    def _dataset_of(self, examples: Ids) -> Ids:
        return np.searchsorted(self.offsets, examples, side="right") - 1


def mix(positives: Positives | Sequence[Positives], *, apart: bool = False) -> Positives:
    """Return the positives of several data sets as one; those of a single data set are returned as they are."""
    if isinstance(positives, Mixture):
        result = copy.copy(positives)
        result.apart = apart
        return result
    if not isinstance(positives, Sequence):
        return positives
    return positives[0] if len(positives) == 1 else Mixture(positives, apart)


@dataclass(frozen=True)
class CrossDatasetRelations:
    """The positives across data sets, from the ids of all queries of all data sets.

    The same query item is the same query: every group that is its positive in one data set is so in all, in whichever
    data set a key of that group lies. A key that repeats another data set's query word for word, and is no answer to
    it, is ignored, as within one data set (`Columns`). This holds for any positives, because only ids are compared.
    """

    relation: KnownPairs

    @classmethod
    def of(cls, parts: Sequence[Positives]) -> Self:
        """Read the ids of all examples once."""
        query, group = (np.concatenate(column) for column in zip(*map(_query_ids, parts), strict=True))
        return cls(KnownPairs(query, group))

    def add_to(self, merged: MergedPairs, *, apart: bool) -> Pairs:
        """Return the merged pairs with the relations across data sets; those that a data set states itself stay.

        apart: none are added between a query and a key of two data sets.
        """
        pairs = merged.pairs
        n, m = pairs.shape
        groups = torch.cat([pairs.query_group, pairs.key_group]).numpy()  # (n + m,)
        known = self.relation.known(pairs.query_item.numpy() ^ QUERY_SIDE, groups)
        if known is None:
            return pairs
        rows, columns, weight = known[0], known[1] - n, known[2]
        new = columns >= 0  # the others are of the first n groups, which stand for the queries' own positives
        if apart:
            new[new] = merged.query_dataset[rows[new]] == merged.key_dataset[columns[new]]
        if pairs.known is not None:
            stated = (pairs.known.rows * m + pairs.known.columns).numpy()
            new &= ~np.isin(rows * m + columns, stated)
        if not new.any():
            return pairs
        added = Known(*(torch.from_numpy(part[new]) for part in (rows, columns, weight)))
        return replace(pairs, known=concatenate_known([added] if pairs.known is None else [pairs.known, added]))


def _query_ids(positives: Positives) -> tuple[Ids, Ids]:
    """Return the content id and the group of every query."""
    n = len(positives)
    chunks = [positives.batch(np.arange(start, min(start + CHUNK, n))).pairs for start in range(0, n, CHUNK)]
    items = torch.cat([pairs.query_item for pairs in chunks])
    return items.numpy() ^ QUERY_SIDE, torch.cat([pairs.query_group for pairs in chunks]).numpy()
