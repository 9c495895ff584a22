"""One step: encode this rank's rows, gather the vectors of all, compare, and leave the gradients in the parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from nearfar.contracts import Loss, Positives
from nearfar.pairs import Pairs
from nearfar.ranks import Ranks
from nearfar.training.encode import Cached, Encode, Whole
from nearfar.training.micro import micro_batches
from nearfar.training.momentum import follow_
from nearfar.training.read import Prepared, Share
from nearfar.training.settings import Settings
from nearfar.training.state import Moving

Views = dict[str, Tensor]


@dataclass(frozen=True)
class Outcome:
    """What a step compared: the loss (a scalar) of queries (n, d) and keys (m, d), those of all ranks."""

    loss: Tensor
    queries: Tensor
    keys: Tensor


class Step:
    """The machinery around encoder and loss: ranks, gradient cache, momentum keys, queue.

    Every rank holds the whole batch's vectors and computes its part of the loss. Parts add up to the loss, so gradients
    are summed over ranks, never averaged: the same single synchronisation as DistributedDataParallel's, which stands
    aside because it averages, and because cached micro-batches go back through the encoder many times a step.
    """

    def __init__(
        self,
        moving: Moving,
        positives: Positives,
        settings: Settings,
        device: torch.device,
        precision: str,
        ranks: Ranks | None = None,
    ) -> None:
        self.moving, self.settings, self.ranks = moving, settings, ranks or Ranks()
        self.query_views, self.key_views = positives.query_views, positives.key_views
        parts: Any = dict(cast("Any", moving.module).items())
        self.loss: Loss = parts["loss"]
        self.queue, self.momentum, self.encoder = parts.get("queue"), parts.get("momentum"), parts["encoder"]
        self.encode = Encode(self.encoder, self.loss.unit, device, precision)
        self.encode_keys = Encode(self.momentum, self.loss.unit, device, precision)

    def __call__(self, prepared: Prepared) -> Outcome:
        """Return the loss; its gradient, summed over the ranks, is in the parameters."""
        encoded = self._encoded(prepared.learnt)
        outcome = self._compared(encoded.vectors, prepared)
        encoded.back()
        self.moving.sum_gradients(self.ranks)
        return outcome

    def moved(self, prepared: Prepared, outcome: Outcome) -> None:
        """Do what follows the optimiser's step: bring the loss back into its range, the average and the queue on."""
        clamp(self.loss)
        if self.momentum is not None:
            follow_(self.momentum, self.encoder, self.settings.momentum)
        if self.queue is not None:
            size = len(prepared.examples)
            own = slice(size) if prepared.own is None else torch.from_numpy(prepared.own).to(outcome.keys.device)
            self.queue.put(prepared.step * size, outcome.keys[own])

    def _encoded(self, share: Share) -> Whole | Cached:
        if not (self.settings.micro_batch or self.settings.micro_cost):
            return Whole(self.encode, share.inputs)
        return Cached(self.encode, share.inputs, micro_batches(share.inputs, self.settings))

    def _compared(self, vectors: Tensor, prepared: Prepared) -> Outcome:
        """Return the loss of this rank's vectors with all the others'; each vector has its gradient then."""
        whole = self._gathered(vectors, prepared.learnt, prepared.sizes)
        # The graph is cut where ranks meet: a part of the loss may not reach every view, but all must gather gradients.
        cut = whole if self.ranks.of == 1 else {v: t.detach().requires_grad_(t.requires_grad) for v, t in whole.items()}
        queries = stacked(cut, self.query_views)  # (n, d)
        keys = self._keys(cut, queries, prepared)  # (m, d)
        with torch.autocast(self.encode.device.type, torch.bfloat16, enabled=self.encode.precision == "bf16"):
            loss = self._part(queries, keys, prepared.pairs)
        torch.autograd.backward(loss)
        reached = [view for view, tensor in cut.items() if tensor is not whole[view] and tensor.requires_grad]
        grads = [torch.zeros_like(cut[v]) if (g := cut[v].grad) is None else g for v in reached]
        if reached:
            torch.autograd.backward([whole[view] for view in reached], grads)
        value = loss.detach().clone()
        self.ranks.sum_([value])
        return Outcome(value, queries.detach(), keys.detach())

    def _keys(self, views: Views, queries: Tensor, prepared: Prepared) -> Tensor:
        """Return the keys (m, d): the batch's, by the momentum encoder where there is one, then the queued ones."""
        if prepared.averaged is not None:
            share = prepared.averaged
            vectors = self.encode_keys.without_graph(share.inputs, micro_batches(share.inputs, self.settings))
            views = self._gathered(vectors, share, prepared.sizes)
        elif self.key_views == self.query_views and not prepared.queued:
            return queries  # the very same tensor: a loss then visits half of its tiles
        keys = stacked(views, self.key_views)
        return torch.cat([keys, self.queue.vectors[: prepared.queued]]) if prepared.queued else keys

    def _gathered(self, vectors: Tensor, share: Share, sizes: Mapping[str, int]) -> Views:
        """Return each view's vectors of all ranks, from this rank's of all views."""
        parts = torch.split(vectors, list(share.sizes.values()))
        return {view: self.ranks.gather(part, sizes[view]) for view, part in zip(share.sizes, parts, strict=True)}

    def _part(self, queries: Tensor, keys: Tensor, pairs: Pairs) -> Tensor:
        """Return this rank's summand of the loss: of one that cannot be divided, which all compute, a share."""
        index, of = self.ranks.index, self.ranks.of
        if of == 1:
            return self.loss(queries, keys, pairs)
        if hasattr(self.loss, "part"):
            part: Tensor = cast("Any", self.loss).part(queries, keys, pairs, index, of)
            return part
        return self.loss(queries, keys, pairs) / of


def stacked(views: Views, names: Sequence[str]) -> Tensor:
    """Return the vectors of some views one after the other."""
    here = [views[name] for name in names if name in views]  # a data set of several may have no rows in this batch
    return here[0] if len(here) == 1 else torch.cat(here)


def clamp(loss: Any) -> None:
    """Let a loss, and the modules in it, bring learnt parameters back into their range, where they have such."""
    for part in loss.modules():
        if hasattr(part, "clamp_"):
            part.clamp_()
