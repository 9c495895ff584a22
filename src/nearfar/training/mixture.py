"""Several data sets as one: each with its own views, all in one batch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import numpy as np
import torch

from nearfar.column import Column, Ids
from nearfar.contracts import Batch, Minable, MiningPairs, Positives
from nearfar.errors import InputError
from nearfar.pairs import Known, Pairs
from nearfar.positives.relations.known import QUERY_SIDE, KnownPairs
from nearfar.storage.fingerprint import fingerprint
from nearfar.tasks import Task
from nearfar.training.augment import augmented_views
from nearfar.training.merge_batches import BatchPart, MergedPairs, merge_batches, union

CHUNK = 8192  # examples read at once


class Mixture:
    """Positives of several data sets: examples are numbered one data set after the other, views named by number.

    Ids are hashes of content, so equal content in two data sets is one thing: a document of both is one key, and a
    question of both is near the answers of both.

    Args:
        parts: who is near whom in each data set; `0/query` is the view "query" of the first.
        apart: rows of different data sets are ignored, neither near nor far; else they are far, as any other row.

    Errors: `InputError` for no data set at all, or a task of one that is not there.

    Example:
        >>> import nearfar as nf
        >>> tables = [nf.data.Table([{"query": f"near {i}?", "key": f"positives {i}"}]) for i in range(2)]
        >>> both = Mixture([nf.positives.Columns(table) for table in tables])
        >>> len(both), list(both.views), both.batch(np.arange(2)).pairs.shape
        (2, ['0/query', '0/key', '1/query', '1/key'], (2, 2))

    When not to use it: tables with the same columns and no wish to tell them apart are simpler as one table.
    """

    def __init__(self, parts: Sequence[Positives], apart: bool = False) -> None:
        if not parts:
            raise InputError("positives: an empty list; give one data set at least")
        self.parts, self.apart = list(parts), apart
        named = list(enumerate(self.parts))
        self.views: dict[str, Column] = {f"{d}/{name}": view for d, p in named for name, view in p.views.items()}
        self.query_views = [f"{d}/{name}" for d, part in named for name in part.query_views]
        self.key_views = [f"{d}/{name}" for d, part in named for name in part.key_views]
        self.augmentations = {f"{d}/{v}": a for d, part in named for v, a in augmented_views(part).items()}
        self.first = np.cumsum([0, *map(len, self.parts)])
        self.shared = CrossDatasetRelations.of(self.parts)
        self.fingerprint = fingerprint("mixture 1", [part.fingerprint for part in self.parts])

    def __len__(self) -> int:
        return int(self.first[-1])

    def batch(self, examples: Ids, queued: Ids | None = None) -> Batch:
        """Return rows of each view, none of a data set without examples here, and the pairs of all.

        queued: examples whose keys, from earlier batches, come last among the pairs' keys, in this order.
        """
        waiting = examples[:0] if queued is None else queued
        dataset, dataset_waiting = self._dataset_of(examples), self._dataset_of(waiting)
        rows = {view: np.empty(0, np.int64) for view in self.views}
        pieces, places = [], dict[str, Ids]()
        for d in np.union1d(dataset, dataset_waiting).tolist():
            mine, mine_waiting = np.flatnonzero(dataset == d), np.flatnonzero(dataset_waiting == d)
            own, part = examples[mine] - self.first[d], self.parts[d]
            old = waiting[mine_waiting] - self.first[d]
            batch = part.batch(own) if queued is None else part.batch(own, old)
            pieces.append(BatchPart(d, batch, mine, mine_waiting))
            rows |= {f"{d}/{view}": cells for view, cells in batch.rows.items()}
            places |= {
                f"{d}/{v}": mine[batch.example_index.get(v, np.arange(len(mine)))] for v in augmented_views(part)
            }
        found = merge_batches(pieces, apart=self.apart)
        return Batch(rows, self.shared.told(found, apart=self.apart), found.positive_index, places)

    def sides(self) -> list[MiningPairs]:
        """Return what mining looks through, a data set after the other; what each knows holds for all."""
        return [side for part in self.parts for side in cast("Minable", part).sides()]

    def with_negatives(self, rows: Ids) -> Self:
        """Return the same data sets, each with mined negatives from its own keys: (n, k), as its positives take them.

        Errors: those of the data sets' positives.
        """
        result = copy.copy(self)
        shares = np.split(rows, self.first[1:-1])
        result.parts = [cast("Minable", part).with_negatives(own) for part, own in zip(self.parts, shares, strict=True)]
        return result

    def task(self, split: str) -> Task:
        """Return a split as a task: "1/heldout" of the second data set, "heldout" of the first."""
        number, sign, name = split.partition("/")
        if not sign or not number.isdecimal():
            return self.parts[0].task(split)
        if int(number) >= len(self.parts):
            raise InputError(f"split {split!r}: there are data sets 0 to {len(self.parts) - 1}, e.g. 0/{name}")
        return replace(self.parts[int(number)].task(name), name=split)

    def describe(self, examples: Ids) -> list[dict[str, Any]]:
        """Return some examples for people to read, each with its row as "data set/row"."""
        found: dict[int, dict[str, Any]] = {}
        dataset = self._dataset_of(examples)
        for d in np.unique(dataset).tolist():
            mine = np.flatnonzero(dataset == d)
            own = examples[mine] - self.first[d]
            for place, example, facts in zip(mine.tolist(), own.tolist(), self.parts[d].describe(own), strict=True):
                found[place] = {**facts, "row": f"{d}/{facts.get('row', example + 1)}"}
        return [found[place] for place in range(len(examples))]

    def _dataset_of(self, examples: Ids) -> Ids:
        return np.searchsorted(self.first, examples, side="right") - 1


def mix(positives: Positives | Sequence[Positives], *, apart: bool = False) -> Positives:
    """Return several data sets' positives as one; one alone stays what it is."""
    if isinstance(positives, Mixture):
        result = copy.copy(positives)
        result.apart = apart
        return result
    if not isinstance(positives, Sequence):
        return positives
    return positives[0] if len(positives) == 1 else Mixture(positives, apart)


@dataclass(frozen=True)
class CrossDatasetRelations:
    """The relation of all queries of all data sets.

    Built from ids alone, so it holds for whatever says who is near whom: the same query item is the same query, and
    near every group that it is near in any data set, in whichever data set a key of that group lies. A key that
    repeats another data set's query word for word, and is no answer to it, is neither near nor far, as within one data
    set (`Columns`).
    """

    relation: KnownPairs

    @classmethod
    def of(cls, parts: Sequence[Positives]) -> Self:
        """Read the ids of all examples once."""
        query, group = (np.concatenate(column) for column in zip(*map(_ids, parts), strict=True))
        return cls(KnownPairs(query, group))

    def told(self, found: MergedPairs, *, apart: bool) -> Pairs:
        """Return the pairs with what the data sets know of each other; what one says itself stays.

        apart: nothing is said of a query and a key of two data sets.
        """
        pairs = found.pairs
        n, m = pairs.shape
        groups = torch.cat([pairs.query_group, pairs.key_group]).numpy()
        known = self.relation.known(pairs.query_item.numpy() ^ QUERY_SIDE, groups)
        if known is None:
            return pairs
        rows, columns, weight = known[0], known[1] - n, known[2]
        new = columns >= 0  # the others tell of the groups that stand for the queries' own keys
        if apart:
            new[new] = found.query_data[rows[new]] == found.key_data[columns[new]]
        if pairs.known is not None:
            said = (pairs.known.rows * m + pairs.known.columns).numpy()
            new &= ~np.isin(rows * m + columns, said)
        if not new.any():
            return pairs
        more = Known(*(torch.from_numpy(part[new]) for part in (rows, columns, weight)))
        return replace(pairs, known=union([more] if pairs.known is None else [pairs.known, more]))


def _ids(part: Positives) -> tuple[Ids, Ids]:
    """Return all queries' contents and groups."""
    found = [part.batch(np.arange(i, min(i + CHUNK, len(part)))).pairs for i in range(0, len(part), CHUNK)]
    items = torch.cat([pairs.query_item for pairs in found])
    return items.numpy() ^ QUERY_SIDE, torch.cat([pairs.query_group for pairs in found]).numpy()
