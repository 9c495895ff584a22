"""Lists of pairs in which copies count once: of the positives, and of what is known with its grade."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nearfar.errors import InputError
from nearfar.losses._checks import check_positives
from nearfar.losses._near import with_positives
from nearfar.losses._relations import Relations, join
from nearfar.pairs import Pairs


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
        _, mask = pairs.by_ids(rows[:, None], slice(None))  # (r, m)
        said = join(rows, known.rows, len(rows) * len(known.rows))
        assert said is not None
        mask[said[0], known.columns[said[1]]] = False  # what is known is near or ignored
        return mask


def _shares(q: Tensor, k: Tensor, relations: Relations) -> tuple[Tensor, Tensor]:
    shares = (q, relations.query_share), (k, relations.key_share)
    query, key = (x.new_ones(len(x)) if share is None else share.to(x.dtype) for x, share in shares)
    return query, key
