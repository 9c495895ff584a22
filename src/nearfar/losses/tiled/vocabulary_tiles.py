"""The tiles of the logits of tokens: some rows of states by the whole vocabulary, as exponentials, block by block."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nearfar.compute.fp32_products import product
from nearfar.losses.tiled.tiles import UNSHIFTED_LIMIT

TILE_BYTES = 64 << 20  # of the exponentials of one tile of rows
BLOCK = 2048  # tokens whose logits are made, exponentiated and summed together, while they are in the cache
LEAST_ROWS = 128  # of a tile: with fewer, products would wait for the embeddings to be read


@dataclass(frozen=True)
class RowTile:
    """Exponentials of some rows: of the other tokens, `blocks` (r, c) by columns, and of the targets, positive (r,).

    Both are divided by one factor for each row. others (r,): the sum of the former. best (r,): the greatest of them.
    """

    blocks: list[tuple[slice, Tensor]]
    positive: Tensor
    others: Tensor
    losses: Tensor
    best: Tensor

    @property
    def hits(self) -> Tensor:
        """Whether the target is above all other tokens, (r,)."""
        return self.positive > self.best


@dataclass(frozen=True)
class OutputLayer:
    """The vocabulary's layer: embeddings (v, d) and bias in the type of the products, and both as they are given."""

    embeddings: Tensor
    bias: Tensor | None
    given: tuple[Tensor, Tensor | None]
    exact: torch.dtype  # of sums
    unshifted: bool  # exp(S) is small enough to sum without a shift by the maximum

    @classmethod
    def of(cls, states: Tensor, embeddings: Tensor, bias: Tensor | None, dtype: torch.dtype) -> OutputLayer:
        """Return the layer for some states."""
        exact = torch.promote_types(dtype, torch.float32)
        norms = (torch.linalg.vector_norm(x, dim=1, dtype=exact) for x in (states, embeddings))
        bound = math.prod(float(norm.amax()) if len(norm) else 0.0 for norm in norms)  # of every |S|
        bound += 0.0 if bias is None else float(bias.abs().amax())
        products = embeddings.to(dtype), None if bias is None else bias.to(dtype)
        return cls(*products, (embeddings, bias), exact, bound <= UNSHIFTED_LIMIT[dtype])

    def row_tiles(self, states: Tensor, targets: Tensor, *, count_hits: bool) -> Iterator[tuple[slice, RowTile]]:
        """Yield the tiles of states (n, d), equally long; each ends the one before it, and takes its memory."""
        n, v, dtype = len(states), len(self.embeddings), self.embeddings.dtype
        most = max(LEAST_ROWS, TILE_BYTES // (v * dtype.itemsize))
        size = -(-n // max(1, -(-n // most)))  # rows of a tile
        scratch = states.new_empty(size * v, dtype=dtype)
        wide = states.new_empty(size * min(v, BLOCK) if dtype != self.exact else 0, dtype=self.exact)
        for start in range(0, n, max(1, size)):
            rows = slice(start, min(start + size, n))
            tile = self._row_tile(states[rows], targets[rows], scratch, wide, count_hits=count_hits)
            yield rows, tile
            tile.blocks.clear()  # where a library took memory of its own for them, the next tile does so, too

    def _row_tile(self, h: Tensor, targets: Tensor, scratch: Tensor, wide: Tensor, *, count_hits: bool) -> RowTile:
        """Return the exponentials of rows h (r, d)."""
        s = self._logits_of(h, targets)  # (r,)
        shift, others, best = torch.zeros_like(s), torch.zeros_like(s), torch.zeros_like(s)
        blocks = []
        for columns, block in self._exponentials(h, targets, s, shift, scratch):
            others += _row_sums(block, wide)
            best = torch.maximum(best, block.amax(1)) if count_hits else best
            blocks.append((columns, block))
        losses = torch.logaddexp(others.log() - (s - shift), torch.zeros_like(s))  # keeps its digits near 0
        return RowTile(blocks, (s - shift).exp(), others, losses, best)

    def _exponentials(
        self, h: Tensor, targets: Tensor, s: Tensor, shift: Tensor, scratch: Tensor
    ) -> Iterator[tuple[slice, Tensor]]:
        """Yield exp(S - shift) of all blocks (r, c), 0 at the targets; shift (r,) is set before the first one.

        A block is yielded as it is made, unless the maximum of the rows must be known before.
        """
        left, logits = h.to(self.embeddings.dtype), []
        for columns, own in _blocks_of(targets, len(self.embeddings)):
            memory = scratch[len(h) * columns.start : len(h) * columns.stop].view(len(h), -1)  # (r, c)
            bias = None if self.bias is None else self.bias[columns]
            block = product(left, self.embeddings[columns], memory, bias)  # (r, c)
            block[own, targets[own] - columns.start] = -torch.inf
            if self.unshifted:
                yield columns, block.exp_()
            else:
                logits.append((columns, block))
        if logits:
            shift.copy_(torch.stack([s, *(block.amax(1) for _, block in logits)]).amax(0))
        for columns, block in logits:
            yield columns, block.sub_(shift[:, None]).exp_()

    def _logits_of(self, h: Tensor, targets: Tensor) -> Tensor:
        """Return the exact logits of the targets, (r,)."""
        embeddings, bias = self.given
        s = (h.to(self.exact) * embeddings[targets]).sum(1, dtype=self.exact)
        return s if bias is None else s + bias[targets]


def _blocks_of(targets: Tensor, v: int) -> Iterator[tuple[slice, Tensor]]:
    """Yield the vocabulary in blocks: their tokens, and the rows whose targets lie in each."""
    order, starts = targets.argsort(), [*range(0, v, BLOCK), v]
    edges = torch.searchsorted(targets[order], targets.new_tensor(starts)).tolist()
    for tokens, rows in zip(itertools.pairwise(starts), itertools.pairwise(edges), strict=True):
        yield slice(*tokens), order[slice(*rows)]


def _row_sums(block: Tensor, wide: Tensor) -> Tensor:
    """Return the sums of the rows of a block (r, c), which is copied to the wider type first, if there is one."""
    if len(wide):  # torch would do the same in memory of its own, whose allocation takes longer than the sum
        block = wide[: block.numel()].view(block.shape).copy_(block)
    return block.sum(1)
