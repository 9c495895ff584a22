"""The queue: keys of earlier batches, compared with this batch's queries as further keys."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nearfar.column import Ids
from nearfar.training.sampler import Sampler


class Queue(nn.Module):
    """The vectors of the last `size` keys, a buffer that travels with the checkpoint.

    With momentum it is MoCo's (He et al. 2020, arXiv:1911.05722), without it the cross-batch memory (Wang et al. 2020,
    arXiv:1912.06798). A key's place is its place in the run's row of examples modulo the size: so whose key lies where
    depends on seed and step only, and is known while the batch is read.
    """

    vectors: Tensor

    def __init__(self, size: int, dim: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(size, dim, dtype=dtype))

    def put(self, start: int, keys: Tensor) -> None:
        """Keep the keys (b, d) of the examples from place `start` of the run on, in place of the oldest."""
        size = len(self.vectors)
        kept = keys[-size:].detach().to(self.vectors.dtype)
        places = torch.arange(start + len(keys) - len(kept), start + len(keys), device=kept.device) % size
        self.vectors.index_copy_(0, places, kept)


def queued(sampler: Sampler, step: int, size: int) -> Ids:
    """Return the examples whose keys lie in the queue when a step (from 0) begins, by their places there."""
    stop = step * sampler.batch_size
    start = max(0, stop - size)
    return torch.from_numpy(sampler.row(start, stop)).roll(start % size).numpy()
