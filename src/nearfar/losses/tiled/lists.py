"""Lists of pairs in which copies count once: of the positives, and of what is known with its grade."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nearfar.errors import InputError
from nearfar.losses.tiled.checks import check_positives
from nearfar.losses.tiled.positive_terms import has_positive
from nearfar.losses.tiled.relations import Relations, join
from nearfar.pairs import Pairs

ROW_BLOCK = 256  # rows whose similarities to all keys are held at once


@dataclass(frozen=True)
class ListedPairs:
    """Pairs of rows. `weight` (e,) holds what each pair counts, `query_share` (n,) and `key_share` (m,) each row."""

    relations: Relations
    i: Tensor  # (e,) query rows
    j: Tensor  # (e,) key rows
    weight: Tensor
    query_share: Tensor
    key_share: Tensor

    @classmethod
    def positives(cls, q: Tensor, k: Tensor, pairs: Pairs) -> ListedPairs:
        """List all positives by query; the weights (near weight times both shares) add up to one.

        Errors: `InputError`: queries without a positive, by row.
        """
        relations = Relations.of(pairs, list_all=True).to(q.device)
        check_positives(has_positive(relations))
        order = torch.argsort(relations.near[0], stable=True)
        i, j = relations.near[0][order], relations.near[1][order]
        a, b = _shares(q, k, relations)
        weight = relations.near_weight[order].to(q.dtype) * a[i] * b[j]
        return cls(relations, i, j, weight / weight.sum(), a, b)

    @classmethod
    def known(cls, q: Tensor, k: Tensor, pairs: Pairs, name: str) -> tuple[ListedPairs, Tensor]:
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
        _, mask = pairs.by_ids(rows[:, None], slice(None))  # (r, m)
        said = join(rows, known.rows, len(rows) * len(known.rows))
        assert said is not None
        mask[said[0], known.columns[said[1]]] = False  # what is known is near or ignored
        return mask


def _shares(q: Tensor, k: Tensor, relations: Relations) -> tuple[Tensor, Tensor]:
    shares = (q, relations.query_share), (k, relations.key_share)
    query, key = (x.new_ones(len(x)) if share is None else share.to(x.dtype) for x, share in shares)
    return query, key


def mean_hinge(q: Tensor, k: Tensor, listed: ListedPairs, margin: float) -> Tensor:
    """Return the mean of max(0, s_il - s_ij + margin) over the listed positives (i, j) and all negatives l of i."""
    mean: Tensor = _MeanHinge.apply(q, k, listed, margin)
    return mean


def row_blocks(listed: ListedPairs) -> Iterator[tuple[Tensor, slice]]:
    """Yield some query rows (r,) and where their positives are listed."""
    n, i = len(listed.query_share), listed.i
    edges = torch.searchsorted(i, torch.arange(0, n + ROW_BLOCK, ROW_BLOCK, device=i.device)).tolist()
    for panel, (start, stop) in enumerate(itertools.pairwise(edges)):
        yield torch.arange(panel * ROW_BLOCK, min((panel + 1) * ROW_BLOCK, n), device=i.device), slice(start, stop)


def count_below(ordered: Tensor, row: Tensor, values: Tensor) -> Tensor:
    """Return how many of an ascending row's entries are below a value, for each (row, value), rows in order."""
    rank = torch.arange(len(row), device=row.device) - torch.searchsorted(row, row)  # among its row's values
    asked = values.new_zeros(len(ordered), int(rank.max()) + 1)
    asked[row, rank] = values
    return torch.searchsorted(ordered, asked)[row, rank]


class _MeanHinge(torch.autograd.Function):
    """The way forth, panel by panel, computes the gradients too: a panel is sorted once."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, listed: ListedPairs, margin: float) -> Tensor:
        total, count = q.new_zeros((), dtype=torch.float64), q.new_zeros((), dtype=torch.float64)
        by_query, by_key = torch.zeros_like(q), torch.zeros_like(k)
        for rows, part in row_blocks(listed):
            far, weight = listed.far(rows) * listed.key_share, listed.weight[part].double()  # (r, m), (e,)
            row, learns = listed.i[part] - rows[0], any(ctx.needs_input_grad)
            with torch.set_grad_enabled(learns):
                x, y = (t.detach().requires_grad_(learns) for t in (q[rows], k))
                s = x @ y.T  # (r, m)
                value = weight @ _hinges(s, far, row, s[row, listed.j[part]] - margin)
            if learns:
                by_query[rows], by_panel = torch.autograd.grad(value, (x, y))
                by_key += by_panel
            total, count = total + value.detach(), count + weight @ far.sum(1).double()[row]
        ctx.save_for_backward((by_query / count).to(q.dtype), (by_key / count).to(q.dtype))
        return (total / count).to(q.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        by_query, by_key = ctx.saved_tensors
        return grads[0] * by_query, grads[0] * by_key, None, None


def _hinges(s: Tensor, far: Tensor, row: Tensor, limit: Tensor) -> Tensor:
    """Return sum_l far_l max(0, s_l - limit) of a row of similarities (r, m) for each (row, limit), (e,) float64."""
    distance, order = torch.where(far > 0, -s, torch.inf).sort(1)  # (r, m)
    share = far.gather(1, order).double()  # (r, m), for differences of sums of many
    active = count_below(distance.detach(), row, -limit.detach())  # (e,)
    some, last = active > 0, (active - 1).clamp_min(0)
    number, summed = share.cumsum(1), (share * distance.masked_fill(share == 0, 0.0)).cumsum(1)  # (r, m)
    return torch.where(some, -limit * number[row, last] - summed[row, last], 0.0)
