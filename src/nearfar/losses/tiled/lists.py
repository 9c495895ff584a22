"""Lists of pairs in which copies count once: the positives, or the graded pairs of `Pairs.known`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nearfar.compute.fp32_products import product
from nearfar.errors import InputError
from nearfar.losses.tiled.checks import check_positives
from nearfar.losses.tiled.positive_terms import has_positive
from nearfar.losses.tiled.relations import Relations, join
from nearfar.pairs import Pairs

ROW_BLOCK = 256  # rows whose similarities to all keys are held together


@dataclass(frozen=True)
class ListedPairs:
    """A list of e pairs of a query and a key, with what each pair and each row counts.

    A row's share is one over the number of its copies.
    """

    relations: Relations
    i: Tensor  # (e,) query rows
    j: Tensor  # (e,) key rows
    weight: Tensor  # (e,)
    query_share: Tensor  # (n,)
    key_share: Tensor  # (m,)

    @classmethod
    def positives(cls, q: Tensor, k: Tensor, pairs: Pairs) -> ListedPairs:
        """List all positives by query. Weights are those of the positives times both shares, and add up to one.

        Errors: `InputError`: queries without a positive, by row.
        """
        relations = Relations.of(pairs, list_all=True).to(q.device)
        check_positives(has_positive(relations))
        order = torch.argsort(relations.positives[0], stable=True)
        i, j = relations.positives[0][order], relations.positives[1][order]
        query_share, key_share = _shares(q, k, relations)
        weight = relations.positive_weight[order].to(q.dtype) * query_share[i] * key_share[j]
        return cls(relations, i, j, weight / weight.sum(), query_share, key_share)

    @classmethod
    def known(cls, q: Tensor, k: Tensor, pairs: Pairs, name: str) -> tuple[ListedPairs, Tensor]:
        """List the pairs of `Pairs.known` and all their copies, each weighed by both shares; and their grades, (e,).

        name: of the loss, for errors. Errors: `InputError`: nothing is known.
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
        """Return for each query the weighted sum of its listed keys, (n, d); k: (m, d)."""
        shape = self.relations.pairs.shape
        entries = torch.stack([self.i, self.j])  # (2, e)
        matrix = torch.sparse_coo_tensor(entries, self.weight, shape, check_invariants=False)
        total: Tensor = torch.sparse.mm(matrix, k)  # never holds (e, d)
        return total

    def negatives(self, rows: Tensor) -> Tensor:
        """Return which keys are negatives of some queries, (r, m) bool; rows: (r,) of the queries."""
        pairs, known = self.relations.pairs, self.relations.known
        _, mask = pairs.by_ids(rows[:, None], slice(None))  # (r, m)
        overridden = join(rows, known.rows, len(rows) * len(known.rows))
        assert overridden is not None
        row, entry = overridden
        mask[row, known.columns[entry]] = False  # what is known is a positive or ignored
        return mask


def _shares(q: Tensor, k: Tensor, relations: Relations) -> tuple[Tensor, Tensor]:
    """Return the shares of the queries (n,) and keys (m,), in the type of the vectors."""
    shares = (q, relations.query_share), (k, relations.key_share)
    query, key = (x.new_ones(len(x)) if share is None else share.to(x.dtype) for x, share in shares)
    return query, key


def mean_hinge(q: Tensor, k: Tensor, listed: ListedPairs, margin: float) -> Tensor:
    """Return the mean of max(0, s_il - s_ij + margin) over the listed positives (i, j) and all negatives l of i."""
    mean: Tensor = _MeanHinge.apply(q, k, listed, margin)
    return mean


def row_blocks(listed: ListedPairs) -> Iterator[tuple[Tensor, slice]]:
    """Yield the queries in blocks: their rows (r,), and the slice of the list that holds their pairs."""
    n, i = len(listed.query_share), listed.i
    edges = torch.searchsorted(i, torch.arange(0, n + ROW_BLOCK, ROW_BLOCK, device=i.device)).tolist()
    for block, (start, stop) in enumerate(itertools.pairwise(edges)):
        yield torch.arange(block * ROW_BLOCK, min((block + 1) * ROW_BLOCK, n), device=i.device), slice(start, stop)


def count_below(ordered: Tensor, row: Tensor, values: Tensor) -> Tensor:
    """Return for each value the number of smaller entries in its row, (e,) int64.

    ordered: (r, m) with ascending rows; row: (e,) the rows of the values, ascending; values: (e,).
    """
    rank = torch.arange(len(row), device=row.device) - torch.searchsorted(row, row)  # among the values of its row
    by_row = values.new_zeros(len(ordered), int(rank.max()) + 1)  # searchsorted wants as many values in each row
    by_row[row, rank] = values
    return torch.searchsorted(ordered, by_row)[row, rank]


class _MeanHinge(torch.autograd.Function):
    """The forward pass computes the gradients, too, block by block of rows, so that it sorts each block only once."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, listed: ListedPairs, margin: float) -> Tensor:
        total, count = q.new_zeros((), dtype=torch.float64), q.new_zeros((), dtype=torch.float64)
        grad_q, grad_k = torch.zeros_like(q), torch.zeros_like(k)
        for rows, part in row_blocks(listed):
            negatives = listed.negatives(rows) * listed.key_share  # (r, m) shares of the negatives, else 0
            weight, row = listed.weight[part].double(), listed.i[part] - rows[0]  # (e,)
            wanted = any(ctx.needs_input_grad)
            with torch.set_grad_enabled(wanted):
                x, y = (t.detach().requires_grad_(wanted) for t in (q[rows], k))
                s = product(x, y)  # (r, m)
                value = weight @ _hinges(s, negatives, row, s[row, listed.j[part]] - margin)
            if wanted:
                grad_q[rows], grad_y = torch.autograd.grad(value, (x, y))
                grad_k += grad_y
            total, count = total + value.detach(), count + weight @ negatives.sum(1).double()[row]
        ctx.save_for_backward((grad_q / count).to(q.dtype), (grad_k / count).to(q.dtype))
        return (total / count).to(q.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_q, grad_k = ctx.saved_tensors
        return grads[0] * grad_q, grads[0] * grad_k, None, None


def _hinges(s: Tensor, negatives: Tensor, row: Tensor, limit: Tensor) -> Tensor:
    """Return sum_l a_l max(0, s_l - limit) over the negatives l of a row, for each (row, limit), (e,) float64.

    s: (r, m) similarities; negatives: (r, m) their shares a_l, 0 for other keys; row, limit: (e,).
    """
    distance, order = torch.where(negatives > 0, -s, torch.inf).sort(1)  # (r, m)
    share = negatives.gather(1, order).double()  # (r, m), float64 for differences of sums of many
    active = count_below(distance.detach(), row, -limit.detach())  # (e,) negatives above the limit
    some, last = active > 0, (active - 1).clamp_min(0)
    number, summed = share.cumsum(1), (share * distance.masked_fill(share == 0, 0.0)).cumsum(1)  # (r, m)
    return torch.where(some, -limit * number[row, last] - summed[row, last], 0.0)
