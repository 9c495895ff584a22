"""The batches of several data sets as one."""

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
    """One data set's share of a batch: which of the batch's examples, and of the queued ones, are its own."""

    data: int
    batch: Batch
    places: Ids
    waiting: Ids


@dataclass(frozen=True)
class MergedPairs:
    """Pairs of all pieces: their queries one after the other, their keys likewise, then the queued keys as queued.

    positive_index: each example's own key; query_data (n,), key_data (m,): which data set a query or key is of.
    """

    pairs: Pairs
    positive_index: Ids
    query_data: Ids
    key_data: Ids


def merge_batches(pieces: Sequence[BatchPart], *, apart: bool) -> MergedPairs:
    """Join pieces; apart: rows of different data sets are ignored, neither near nor far."""
    data = np.array([piece.data for piece in pieces])
    sizes = [piece.batch.pairs.shape[0] for piece in pieces]
    columns = _columns(pieces)
    rows = [np.arange(stop - size, stop) for size, stop in zip(sizes, np.cumsum(sizes))]
    positive_index = np.empty(sum(len(piece.places) for piece in pieces), np.int64)
    for piece, column in zip(pieces, columns, strict=True):
        positive_index[piece.places] = column[_positive_index(piece)]
    all_pairs = [piece.batch.pairs for piece in pieces]
    scoped = apart or any(pairs.query_scope is not None for pairs in all_pairs)
    scopes = [_scopes(piece, apart=apart) for piece in pieces]
    return MergedPairs(
        Pairs(
            query_group=_laid([pairs.query_group for pairs in all_pairs], rows),
            query_item=_laid([pairs.query_item for pairs in all_pairs], rows),
            key_group=_laid([pairs.key_group for pairs in all_pairs], columns),
            key_item=_laid([pairs.key_item for pairs in all_pairs], columns),
            query_scope=_laid([queries for queries, _ in scopes], rows) if scoped else None,
            key_scope=_laid([keys for _, keys in scopes], columns) if scoped else None,
            known=_known(all_pairs, rows, columns),
        ),
        positive_index,
        np.repeat(data, sizes),
        _laid([torch.full((len(c),), int(d)) for d, c in zip(data, columns, strict=True)], columns).numpy(),
    )


def _positive_index(piece: BatchPart) -> Ids:
    return np.arange(len(piece.places)) if piece.batch.positive_index is None else piece.batch.positive_index


def _columns(pieces: Sequence[BatchPart]) -> list[Ids]:
    """Return where each piece's keys come to lie: those with rows one after the other, the queued as queued."""
    sizes = [piece.batch.pairs.shape[1] - len(piece.waiting) for piece in pieces]
    ends, total = np.cumsum(sizes), sum(sizes)
    return [
        np.concatenate([np.arange(end - size, end), total + piece.waiting])
        for piece, size, end in zip(pieces, sizes, ends)
    ]


def _scopes(piece: BatchPart, *, apart: bool) -> tuple[Tensor, Tensor]:
    """Return a piece's scopes of queries and keys; rows that have none share one."""
    pairs = piece.batch.pairs
    salt = content_id(f"data set {piece.data}") if apart else 0
    query, key = pairs.query_scope, pairs.key_scope
    if query is None or key is None:
        query, key = (torch.zeros(size, dtype=torch.int64) for size in pairs.shape)
    return query ^ salt, key ^ salt


def _laid(parts: Sequence[Tensor], places: Sequence[Ids]) -> Tensor:
    """Return the parts' values, each at its place."""
    result = torch.empty(sum(map(len, parts)), dtype=torch.int64)
    for part, place in zip(parts, places, strict=True):
        result[torch.from_numpy(place)] = part
    return result


def _known(all_pairs: Sequence[Pairs], rows: Sequence[Ids], columns: Sequence[Ids]) -> Known | None:
    moved = [
        Known(torch.from_numpy(row)[known.rows], torch.from_numpy(column)[known.columns], known.weight)
        for pairs, row, column in zip(all_pairs, rows, columns, strict=True)
        if (known := pairs.known) is not None
    ]
    return union(moved)


def union(relations: Sequence[Known]) -> Known | None:
    """Return relations one after the other; None where there are none."""
    if not relations:
        return None
    return Known(
        torch.cat([known.rows for known in relations]),
        torch.cat([known.columns for known in relations]),
        torch.cat([known.weight.float() for known in relations]),
    )
