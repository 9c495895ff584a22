"""The positives' side of a pairwise loss: their similarities and how they add to the negatives, one way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nearfar.losses._relations import Relations, codes


@dataclass(frozen=True)
class Near:
    """The positives of each query, from a list where there is one, else summed by class in O(n d).

    found: (n,) bool, has a positive; mean: (n,) weighted mean of its positives' similarities; mass: (n,) log-sum-exp of
    them, None where the tiles hold the positives already; excess: (n,) mass - mean, known without a gradient where no
    query has two positives.
    """

    found: Tensor
    mean: Tensor
    mass: Tensor | None
    excess: Tensor | None

    @classmethod
    def of(cls, z: Tensor, k: Tensor, relations: Relations) -> Near:
        """z: (n, d) queries times the scale; k: (m, d) keys."""
        return cls._from_list(z, k, relations) if relations.near is not None else cls._from_classes(z, k, relations)

    @classmethod
    def _from_list(cls, z: Tensor, k: Tensor, relations: Relations) -> Near:
        assert relations.near is not None and relations.near_weight is not None
        i, j = relations.near
        s = listed_products(z, k, i, j)  # (e,)
        share = torch.ones_like(s) if relations.key_share is None else relations.key_share[j].to(s.dtype)
        weight = relations.near_weight.to(s.dtype) * share
        count = torch.bincount(i, minlength=len(z))
        total = s.new_zeros(len(z)).index_add(0, i, weight)  # (n,)
        mean = s.new_zeros(len(z)).index_add(0, i, weight * s) / torch.where(count > 0, total, 1.0)
        mass = torch.where(count > 0, segment_log_sum_exp(s + share.log(), i, len(z)), 0.0)
        # one positive each: its similarity cancels on paper, so let it not come back as rounding in the gradient
        excess = mass - mean if int(count.max()) > 1 else s.new_zeros(len(z)).index_add(0, i, share.log())
        return cls(count > 0, mean, mass, excess)

    @classmethod
    def _from_classes(cls, z: Tensor, k: Tensor, relations: Relations) -> Near:
        pairs, known = relations.pairs, relations.known
        share = k.new_ones(len(k)) if relations.key_share is None else relations.key_share.to(k.dtype)
        own, others = codes(pairs, "group", "scope"), codes(pairs, "group", "scope", "item")
        centre = class_sum(k * share[:, None], *own) - class_sum(k * share[:, None], *others)  # (n, d)
        total = class_sum(share[:, None], *own) - class_sum(share[:, None], *others)  # (n, 1)
        if len(known.rows):
            i, j = known.rows, known.columns
            by_ids = (own[0][i] == own[1][j]) & (pairs.query_item[i] != pairs.key_item[j])
            change = ((known.weight.to(k.dtype) - by_ids.to(k.dtype)) * share[j])[:, None]  # (e, 1)
            centre = centre.index_add(0, i, change * k[j])
            total = total.index_add(0, i, change)
        found = total[:, 0] > 1e-6  # shares are at least one over the batch: this is rounding
        return cls(found, (z * centre).sum(1) / torch.where(found, total[:, 0], 1.0), None, None)

    def cross_entropy(self, tiled: Tensor) -> Tensor:
        """Return log-sum-exp over all candidates minus the positives' mean (n,), given the tiles' log-sum-exp."""
        if self.mass is None or self.excess is None:
            return tiled - self.mean
        # log(e^tiled + e^mass) - mean, in the form whose gradient keeps its digits where the positive wins
        return torch.logaddexp(tiled - self.mass, torch.zeros_like(tiled)) + self.excess


def listed_products(z: Tensor, k: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """Return z[i] . k[j] for listed rows, (e,), never holding more than a block of (e, d)."""
    products: Tensor = _ListedProducts.apply(z, k, i, j)
    return products


class _ListedProducts(torch.autograd.Function):
    BLOCK = 4096

    @staticmethod
    def forward(ctx: Any, z: Tensor, k: Tensor, i: Tensor, j: Tensor) -> Tensor:
        ctx.save_for_backward(z, k, i, j)
        blocks = _ListedProducts.blocks(i, j)
        return torch.cat([(z[a] * k[b]).sum(1) for _, a, b in blocks]) if len(i) else z.new_zeros(0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        z, k, i, j = ctx.saved_tensors
        grad_z, grad_k = torch.zeros_like(z), torch.zeros_like(k)
        for part, a, b in _ListedProducts.blocks(i, j):
            g = grads[0][part][:, None]  # (block, 1)
            grad_z.index_add_(0, a, g * k[b])
            grad_k.index_add_(0, b, g * z[a])
        return grad_z, grad_k, None, None

    @staticmethod
    def blocks(i: Tensor, j: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        for start in range(0, len(i), _ListedProducts.BLOCK):
            part = slice(start, start + _ListedProducts.BLOCK)
            yield part, i[part], j[part]


def segment_log_sum_exp(values: Tensor, segment: Tensor, n: int) -> Tensor:
    """Return log-sum-exp of the values (e,) of each of n segments, minus infinity for an empty one."""
    top = values.detach().new_full((n,), -torch.inf).scatter_reduce(0, segment, values.detach(), "amax")
    base = torch.where(torch.isneginf(top), 0.0, top)
    return base + values.new_zeros(n).index_add(0, segment, (values - base[segment]).exp()).log()


def class_sum(rows: Tensor, query_codes: Tensor, key_codes: Tensor) -> Tensor:
    """Return for each query the sum of the rows (m, d) of its class, (n, d)."""
    classes = int(max(query_codes.max(), key_codes.max())) + 1
    return rows.new_zeros(classes, rows.shape[1]).index_add(0, key_codes, rows)[query_codes]
