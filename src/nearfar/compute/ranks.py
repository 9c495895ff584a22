"""One process or many: whose rows are whose, and what is gathered, summed or decided together.

`torchrun` starts a process for each rank and tells each who it is (RANK, WORLD_SIZE, LOCAL_RANK). A process alone is a
rank, too, and then nothing here calls torch.distributed.
"""

from __future__ import annotations

import atexit
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from nearfar import errors
from nearfar.errors import InputError, NearfarError, RunError

T = TypeVar("T")
PATIENCE = timedelta(hours=12)  # the others wait while rank 0 evaluates; a rank that dies is noticed at once
BUCKET = 32 << 20  # bytes summed at once: many small tensors cost as much as one, one huge copy costs memory


@dataclass(frozen=True)
class Ranks:
    """This process among its equals: rank `index` of so many, `local` on its machine (which GPU is its own)."""

    rank: int = 0
    world_size: int = 1
    local: int = 0

    @classmethod
    def here(cls) -> Ranks:
        """Return who this process is; alone, unless torchrun has started it with others."""
        if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        return cls(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ.get("LOCAL_RANK", "0")))

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes and speaks."""
        return self.rank == 0

    def open(self, device: torch.device) -> None:
        """Meet the others, once a process: gloo between CPUs, nccl between GPUs. Errors: `InputError` where none come.

        The group stays open until the process ends, for one process may train twice.
        """
        if self.world_size == 1 or dist.is_initialized():
            return
        backend = "gloo"
        if device.type == "cuda":
            torch.cuda.set_device(device)
            backend = "cpu:gloo,cuda:nccl"
        try:
            dist.init_process_group(backend, rank=self.rank, world_size=self.world_size, timeout=PATIENCE)
        except (ValueError, RuntimeError) as error:
            why = str(error).partition("\n")[0]
            raise InputError(
                f"rank {self.rank} of {self.world_size} cannot meet the others ({why}); use torchrun"
            ) from error
        atexit.register(self.close)

    def close(self) -> None:
        """Leave the others."""
        if self.world_size > 1 and dist.is_initialized():
            dist.destroy_process_group()

    def spans(self, n: int) -> list[slice]:
        """Return each rank's contiguous share of n rows; the first ranks have a row more where n is uneven."""
        size, more = divmod(n, self.world_size)
        ends = [0]
        for rank in range(self.world_size):
            ends.append(ends[-1] + size + (rank < more))
        return [slice(start, stop) for start, stop in pairwise(ends)]

    def span(self, n: int) -> slice:
        """Return this rank's share of n rows."""
        return self.spans(n)[self.rank]

    def gather(self, rows: Tensor, n: int) -> Tensor:
        """Return all ranks' rows one after the other (n, ...), given this rank's `span(n)` of them.

        The gradient of a row is the sum of what all ranks give it: exact where each rank's loss is a part of the whole.
        """
        if self.world_size == 1:
            return rows
        gathered: Tensor = _Gather.apply(rows, self, n)
        return gathered

    def sum_(self, tensors: Iterable[Tensor]) -> None:
        """Sum tensors over the ranks, in place and in a few flat buckets; every rank gets the same bits."""
        if self.world_size == 1:
            return
        for bucket in _buckets(tensors):
            flat = bucket[0].view(-1) if len(bucket) == 1 else torch.cat([part.reshape(-1) for part in bucket])
            dist.all_reduce(flat)
            if len(bucket) > 1:
                for part, summed in zip(bucket, torch.split(flat, [part.numel() for part in bucket])):
                    part.copy_(summed.view_as(part))

    def agree(self, flag: int) -> int:
        """Return the largest of the ranks' numbers: a flag that one of them raises is everyone's."""
        if self.world_size == 1:
            return flag
        largest = torch.tensor(flag)
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        return int(largest)

    def stack(self, tensor: Tensor) -> list[Tensor]:
        """Return every rank's tensor, of one shape."""
        if self.world_size == 1:
            return [tensor]
        found = [torch.empty_like(tensor) for _ in range(self.world_size)]
        dist.all_gather(found, tensor.contiguous())
        return found

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Put rank 0's values into everyone's tensors."""
        for tensor in tensors if self.world_size > 1 else ():
            whole = tensor.detach().contiguous()
            if whole.numel():
                dist.broadcast(whole.view(-1).view(torch.uint8), 0)  # as bytes: gloo does not know every type
                tensor.detach().copy_(whole)

    def spread(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return rank 0's named tensors on every rank, which need not know their names and shapes."""
        known = self.lead(lambda: {name: (str(t.dtype)[6:], list(t.shape)) for name, t in tensors.items()})
        if not self.first:
            tensors = {name: torch.empty(shape, dtype=getattr(torch, kind)) for name, (kind, shape) in known.items()}
        self.broadcast(tensors.values())
        return dict(tensors)

    def lead(self, work: Callable[[], T]) -> T:
        """Let rank 0 work while the others wait; all return its result (of what JSON can say), or raise its error."""
        if self.world_size == 1:
            return work()
        if not self.first:
            heard = json.loads(self._said(b""))
            if "error" in heard:
                raise _as_raised(*heard["error"])
            result: T = heard["result"]
            return result
        try:
            result = work()
            said = json.dumps({"result": result}).encode()
        except Exception as error:
            self._said(json.dumps({"error": [type(error).__name__, str(error)]}).encode())
            raise
        self._said(said)
        return result

    def in_turn(self, work: Callable[[], T]) -> T:
        """Let rank 0 work first, then the others: it fills the caches that they read. Its error is everyone's."""
        done: list[T] = []
        self.lead(lambda: done.append(work()))
        return done[0] if done else work()

    def _said(self, text: bytes) -> bytes:
        """Return rank 0's bytes."""
        size = torch.tensor(len(text))
        dist.broadcast(size, 0)
        letters = (
            torch.frombuffer(bytearray(text), dtype=torch.uint8)
            if self.first
            else torch.empty(int(size), dtype=torch.uint8)
        )
        dist.broadcast(letters, 0)
        return letters.numpy().tobytes()


class _Gather(torch.autograd.Function):
    """Rows of all ranks; shares differ by a row, and collectives want equal ones, so the shorter are padded."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, ranks: Ranks, n: int) -> Tensor:
        ctx.ranks, ctx.n = ranks, n
        spans = ranks.spans(n)
        longest = _length(spans[0])
        padded = rows.new_zeros(longest, *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in spans]
        dist.all_gather(parts, padded)
        return torch.cat([part[: _length(span)] for part, span in zip(parts, spans)])  # (n, ...)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        ranks, spans, grad = ctx.ranks, ctx.ranks.spans(ctx.n), grads[0]
        own = spans[ranks.rank]
        if grad.device.type != "cuda":  # gloo scatters no sums
            whole = grad.clone(memory_format=torch.contiguous_format)
            dist.all_reduce(whole)
            return whole[own], None, None
        longest = _length(spans[0])
        padded = grad.new_zeros(ranks.world_size, longest, *grad.shape[1:])
        for part, span in zip(padded, spans):
            part[: _length(span)] = grad[span]
        mine = torch.empty_like(padded[0])
        dist.reduce_scatter_tensor(mine, padded.flatten(0, 1))
        return mine[: _length(own)], None, None


def _length(span: slice) -> int:
    return int(span.stop - span.start)


def _buckets(tensors: Iterable[Tensor]) -> Iterator[Sequence[Tensor]]:
    """Yield tensors of one type and place together, up to BUCKET bytes; one that is not contiguous is never alone."""
    kinds: dict[Any, list[Tensor]] = {}
    for tensor in tensors:
        bucket = kinds.setdefault((tensor.dtype, tensor.device), [])
        bucket.append(tensor)
        if sum(part.nbytes for part in bucket) >= BUCKET and (len(bucket) > 1 or tensor.is_contiguous()):
            yield kinds.pop((tensor.dtype, tensor.device))
    for bucket in kinds.values():
        yield bucket if len(bucket) > 1 or bucket[0].is_contiguous() else [*bucket, bucket[0].new_empty(0)]


def _as_raised(kind: str, message: str) -> NearfarError:
    """Return rank 0's error; one that is no user's is a failure of the run."""
    part = getattr(errors, kind, None)
    if isinstance(part, type) and issubclass(part, NearfarError):
        return part(message)
    return RunError(f"rank 0 failed: {kind}: {message}")
