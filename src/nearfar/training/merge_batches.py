"""The batches of several data sets merged into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nearfar.column import Ids, content_id
from nearfar.contracts import Batch
from nearfar.pairs import Known, Pairs


@dataclass(frozen=True)
class BatchPart:
    """One data set's part of a batch.

    dataset: its number; batch: of its examples alone; batch_index: their places in the whole batch; queue_index: the
    places of its queued keys among all queued ones.
    """

    dataset: int
    batch: Batch
    batch_index: Ids
    queue_index: Ids


@dataclass(frozen=True)
class MergedPairs:
    """The pairs of all parts: their queries stacked, their keys likewise, then the queued keys in the queue's order.

    positive_index (b,): the place of each example's positive among the keys, see `Batch`; query_dataset (n,) and
    key_dataset (m,): the data set of each query and key.
    """

    pairs: Pairs
    positive_index: Ids
    query_dataset: Ids
    key_dataset: Ids


def merge_batches(parts: Sequence[BatchPart], *, apart: bool) -> MergedPairs:
    """Merge the parts of a batch; apart: a query and a key of different data sets are ignored, not negatives."""
    dataset = np.array([part.dataset for part in parts])
    sizes = [part.batch.pairs.shape[0] for part in parts]
    rows = [np.arange(stop - size, stop) for size, stop in zip(sizes, np.cumsum(sizes))]  # each part's queries
    columns = _key_positions(parts)  # each part's keys
    positive_index = np.zeros(sum(len(part.batch_index) for part in parts), np.int64)
    for part, column in zip(parts, columns, strict=True):
        if len(column):  # rows without pairs have no keys
            positive_index[part.batch_index] = column[_positive_index(part)]
    all_pairs = [part.batch.pairs for part in parts]
    scoped = apart or any(pairs.query_scope is not None for pairs in all_pairs)
    scopes = [_scopes(part, apart=apart) for part in parts]
    return MergedPairs(
        Pairs(
            query_group=_scatter([pairs.query_group for pairs in all_pairs], rows),
            query_item=_scatter([pairs.query_item for pairs in all_pairs], rows),
            key_group=_scatter([pairs.key_group for pairs in all_pairs], columns),
            key_item=_scatter([pairs.key_item for pairs in all_pairs], columns),
            query_scope=_scatter([queries for queries, _ in scopes], rows) if scoped else None,
            key_scope=_scatter([keys for _, keys in scopes], columns) if scoped else None,
            known=_merged_known(all_pairs, rows, columns),
        ),
        positive_index,
        np.repeat(dataset, sizes),
        _scatter([torch.full((len(c),), int(d)) for d, c in zip(dataset, columns, strict=True)], columns).numpy(),
    )


def concatenate_known(relations: Sequence[Known]) -> Known | None:
    """Return known relations one after the other; None where there are none."""
    if not relations:
        return None
    return Known(
        torch.cat([known.rows for known in relations]),
        torch.cat([known.columns for known in relations]),
        torch.cat([known.weight.float() for known in relations]),
    )


def _positive_index(part: BatchPart) -> Ids:
    return np.arange(len(part.batch_index)) if part.batch.positive_index is None else part.batch.positive_index


def _key_positions(parts: Sequence[BatchPart]) -> list[Ids]:
    """Return the places of each part's keys in the whole batch: part after part, then the queued ones as queued."""
    sizes = [part.batch.pairs.shape[1] - len(part.queue_index) for part in parts]
    ends, total = np.cumsum(sizes), sum(sizes)
    return [
        np.concatenate([np.arange(end - size, end), total + part.queue_index])
        for part, size, end in zip(parts, sizes, ends)
    ]


def _scopes(part: BatchPart, *, apart: bool) -> tuple[Tensor, Tensor]:
    """Return a part's scopes of queries and of keys; without scopes of their own, all rows share one."""
    pairs = part.batch.pairs
    salt = content_id(f"data set {part.dataset}") if apart else 0
    query, key = pairs.query_scope, pairs.key_scope
    if query is None or key is None:
        query, key = (torch.zeros(size, dtype=torch.int64) for size in pairs.shape)
    return query ^ salt, key ^ salt


def _scatter(parts: Sequence[Tensor], places: Sequence[Ids]) -> Tensor:
    """Return the values of all parts, each at its place."""
    result = torch.empty(sum(map(len, parts)), dtype=torch.int64)
    for part, place in zip(parts, places, strict=True):
        result[torch.from_numpy(place)] = part
    return result


def _merged_known(all_pairs: Sequence[Pairs], rows: Sequence[Ids], columns: Sequence[Ids]) -> Known | None:
    """Return the known relations of all parts, with the rows and columns of the whole batch."""
    return concatenate_known(
        [
            Known(torch.from_numpy(row)[known.rows], torch.from_numpy(column)[known.columns], known.weight)
            for pairs, row, column in zip(all_pairs, rows, columns, strict=True)
            if (known := pairs.known) is not None
        ]
    )
