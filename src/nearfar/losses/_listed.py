"""Lists of pairs in which copies count once: of the positives, and of what is known with its grade."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nearfar.errors import InputError
from nearfar.losses._checks import check_positives, with_positives
from nearfar.losses._relations import Relations, join
from nearfar.pairs import Pairs

BLOCK = 4096  # listed pairs whose vectors are held at once


@dataclass(frozen=True)
class Listed:
    """Pairs of rows. `weight` (e,) holds what each pair counts, `query_share` (n,) and `key_share` (m,) each row."""

    relations: Relations
    i: Tensor  # (e,) query rows
    j: Tensor  # (e,) key rows
    weight: Tensor
    query_share: Tensor
    key_share: Tensor

    @classmethod
    def positives(cls, q: Tensor, k: Tensor, pairs: Pairs) -> Listed:
        """List all positives by query; the weights (near weight times both shares) add up to one.

        Errors: `InputError`: queries without a positive, by row.
        """
        relations = Relations.of(pairs, list_all=True).to(q.device)
        check_positives(with_positives(relations))
        order = torch.argsort(relations.near[0], stable=True)
        i, j = relations.near[0][order], relations.near[1][order]
        a, b = _shares(q, k, relations)
        weight = relations.near_weight[order].to(q.dtype) * a[i] * b[j]
        return cls(relations, i, j, weight / weight.sum(), a, b)

    @classmethod
    def known(cls, q: Tensor, k: Tensor, pairs: Pairs, name: str) -> tuple[Listed, Tensor]:
        """List what is known of pairs, spread over copies, weighing both shares; and the grades (e,), 0 among them.

        Errors: `InputError`: nothing is known; `name` is the loss that asks.
        """
        relations = Relations.of(pairs).to(q.device)
        known = relations.known
        if len(known.rows) == 0:
            raise InputError(f"{name} wants graded pairs: pairs.known holds none (its weights are the grades)")
        query_share, key_share = _shares(q, k, relations)
        i, j = known.rows, known.columns
        weight = query_share[i] * key_share[j]
        return cls(relations, i, j, weight, query_share, key_share), known.weight.to(q.dtype)

    def sum_of_keys(self, k: Tensor) -> Tensor:
        """Return for each query the weighted sum of its keys, (n, d)."""
        shape = self.relations.pairs.shape
        entries = torch.stack([self.i, self.j])  # (2, e)
        matrix = torch.sparse_coo_tensor(entries, self.weight, shape, check_invariants=False)
        total: Tensor = torch.sparse.mm(matrix, k)  # never holds (e, d)
        return total

    def far(self, rows: Tensor) -> Tensor:
        """Return which keys are negatives of some query rows (r,), as a mask (r, m)."""
        pairs, known = self.relations.pairs, self.relations.known
        mask = pairs.query_group[rows][:, None] != pairs.key_group  # (r, m)
        mask &= pairs.query_item[rows][:, None] != pairs.key_item
        if pairs.query_scope is not None and pairs.key_scope is not None:
            mask &= pairs.query_scope[rows][:, None] == pairs.key_scope
        said = join(rows, known.rows, len(rows) * len(known.rows))
        assert said is not None
        mask[said[0], known.columns[said[1]]] = False  # what is known is near or ignored
        return mask


def squared_distances(q: Tensor, k: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """Return |q[i] - k[j]|^2 for listed rows, (e,), never holding more than a block of (e, d)."""
    distances: Tensor = _SquaredDistances.apply(q, k, i, j)
    return distances


class _SquaredDistances(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, i: Tensor, j: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, i, j)
        return torch.cat([(q[a] - k[b]).square().sum(1) for _, a, b in _blocks(i, j)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        q, k, i, j = ctx.saved_tensors
        grad_q, grad_k = torch.zeros_like(q), torch.zeros_like(k)
        for part, a, b in _blocks(i, j):
            slope = 2 * grads[0][part][:, None] * (q[a] - k[b])  # (block, d)
            grad_q.index_add_(0, a, slope)
            grad_k.index_add_(0, b, slope, alpha=-1)
        return grad_q, grad_k, None, None


def _blocks(i: Tensor, j: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield a list of pairs in blocks: where each lies, its query rows and its key rows."""
    for start in range(0, len(i), BLOCK):
        part = slice(start, start + BLOCK)
        yield part, i[part], j[part]


def _shares(q: Tensor, k: Tensor, relations: Relations) -> tuple[Tensor, Tensor]:
    shares = (q, relations.query_share), (k, relations.key_share)
    query, key = (x.new_ones(len(x)) if share is None else share.to(x.dtype) for x, share in shares)
    return query, key
