"""The ranks of a run: which rows each process has, and the collectives (gather, reduce, broadcast) between them.

`torchrun` starts one process for each rank and sets RANK, WORLD_SIZE and LOCAL_RANK. A single process is rank 0 of 1;
then nothing here calls torch.distributed.
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
TIMEOUT = timedelta(hours=12)  # the others wait while rank 0 evaluates; a rank that dies is noticed without delay
BUCKET = 32 << 20  # bytes of one all-reduce: one for each small tensor is slow, one for all copies all


@dataclass(frozen=True)
class Ranks:
    """This process's rank out of `world_size`; `local` is its rank on its machine, the number of its GPU."""

    rank: int = 0
    world_size: int = 1
    local: int = 0

    @classmethod
    def from_environment(cls) -> Ranks:
        """Return the rank that torchrun gave this process; rank 0 of 1 where it did not start several."""
        if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        return cls(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ.get("LOCAL_RANK", "0")))

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, the one that writes files and prints."""
        return self.rank == 0

    def open(self, device: torch.device) -> None:
        """Join the process group: gloo between CPUs, nccl between GPUs. Errors: `InputError` if others do not join.

        The group stays open until the process ends, because one process may train twice; a second call does nothing.
        """
        if self.world_size == 1 or dist.is_initialized():
            return
        backend = "gloo"
        if device.type == "cuda":
            torch.cuda.set_device(device)
            backend = "cpu:gloo,cuda:nccl"
        try:
            dist.init_process_group(backend, rank=self.rank, world_size=self.world_size, timeout=TIMEOUT)
        except (ValueError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise InputError(
                f"rank {self.rank} of {self.world_size} cannot meet the others ({reason}); use torchrun"
            ) from error
        atexit.register(self.close)

    def close(self) -> None:
        """Leave the process group."""
        if self.world_size > 1 and dist.is_initialized():
            dist.destroy_process_group()

    def spans(self, n: int) -> list[slice]:
        """Return each rank's contiguous share of n rows; the first n % world_size ranks have one row more."""
        size, longer = divmod(n, self.world_size)
        ends = [0]
        for rank in range(self.world_size):
            ends.append(ends[-1] + size + (rank < longer))
        return [slice(start, stop) for start, stop in pairwise(ends)]

    def span(self, n: int) -> slice:
        """Return this rank's share of n rows."""
        return self.spans(n)[self.rank]

    def gather_rows(self, rows: Tensor, n: int) -> Tensor:
        """Return the rows of all ranks, stacked (n, ...), given this rank's `span(n)` of them; differentiable.

        The gradient of a row is the sum of its gradients on all ranks: exact where the ranks' losses add up to the
        loss of the batch.
        """
        if self.world_size == 1:
            return rows
        gathered: Tensor = _GatherRows.apply(rows, self, n)
        return gathered

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over the ranks; differentiable: the gradient is summed over the ranks, too."""
        if self.world_size == 1:
            return tensor
        summed: Tensor = _Sum.apply(tensor)
        return summed

    def all_reduce(self, tensors: Iterable[Tensor]) -> None:
        """Sum each tensor over the ranks, in place, in a few flat buckets; every rank gets the same bits."""
        if self.world_size == 1:
            return
        for bucket in _buckets(tensors):
            flat = bucket[0].view(-1) if len(bucket) == 1 else torch.cat([tensor.reshape(-1) for tensor in bucket])
            dist.all_reduce(flat)
            if len(bucket) > 1:
                for tensor, summed in zip(bucket, torch.split(flat, [tensor.numel() for tensor in bucket])):
                    tensor.copy_(summed.view_as(tensor))

    def all_reduce_max(self, number: int) -> int:
        """Return the largest of the ranks' numbers: a flag that one rank raises is raised on all."""
        if self.world_size == 1:
            return number
        largest = torch.tensor(number)
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        return int(largest)

    def all_gather(self, tensor: Tensor) -> list[Tensor]:
        """Return every rank's tensor; all have one shape. Not differentiable."""
        if self.world_size == 1:
            return [tensor]
        gathered = [torch.empty_like(tensor) for _ in range(self.world_size)]
        dist.all_gather(gathered, tensor.contiguous())
        return gathered

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite every rank's tensors with those of rank 0, in place."""
        for tensor in tensors if self.world_size > 1 else ():
            whole = tensor.detach().contiguous()
            if whole.numel():
                dist.broadcast(whole.view(-1).view(torch.uint8), 0)  # as bytes: gloo does not know every type
                tensor.detach().copy_(whole)

    def broadcast_named(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return rank 0's named tensors on every rank; the other ranks need not know their names and shapes."""
        layout = self.on_first_rank(lambda: {name: (str(t.dtype)[6:], list(t.shape)) for name, t in tensors.items()})
        if not self.is_first:
            tensors = {name: torch.empty(shape, dtype=getattr(torch, dtype)) for name, (dtype, shape) in layout.items()}
        self.broadcast(tensors.values())
        return dict(tensors)

    def on_first_rank(self, work: Callable[[], T]) -> T:
        """Run `work` on rank 0 while the others wait; every rank returns its result, or raises its error.

        The result must be what JSON can hold.
        """
        if self.world_size == 1:
            return work()
        if not self.is_first:
            received = json.loads(self._broadcast_bytes(b""))
            if "error" in received:
                raise _error_of_first_rank(*received["error"])
            result: T = received["result"]
            return result
        try:
            result = work()
            message = json.dumps({"result": result}).encode()
        except Exception as error:
            self._broadcast_bytes(json.dumps({"error": [type(error).__name__, str(error)]}).encode())
            raise
        self._broadcast_bytes(message)
        return result

    def first_rank_first(self, work: Callable[[], T]) -> T:
        """Run `work` on rank 0, then on the others: it fills the caches that they read. Its error is raised on all."""
        result: list[T] = []
        self.on_first_rank(lambda: result.append(work()))
        return result[0] if result else work()

    def _broadcast_bytes(self, content: bytes) -> bytes:
        """Return rank 0's bytes."""
        size = torch.tensor(len(content))
        dist.broadcast(size, 0)
        buffer = (
            torch.frombuffer(bytearray(content), dtype=torch.uint8)
            if self.is_first
            else torch.empty(int(size), dtype=torch.uint8)
        )
        dist.broadcast(buffer, 0)
        return buffer.numpy().tobytes()


class _GatherRows(torch.autograd.Function):
    """`Ranks.gather_rows`. Collectives want equal sizes, and shares differ by a row: the shorter ones are padded."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, ranks: Ranks, n: int) -> Tensor:
        ctx.ranks, ctx.n = ranks, n
        spans = ranks.spans(n)
        longest = _length(spans[0])
        padded = rows.new_zeros(longest, *rows.shape[1:])
        padded[: len(rows)] = rows
        shares = [torch.empty_like(padded) for _ in spans]
        dist.all_gather(shares, padded)
        return torch.cat([share[: _length(span)] for share, span in zip(shares, spans)])  # (n, ...)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        ranks, spans, grad = ctx.ranks, ctx.ranks.spans(ctx.n), grads[0]
        span = spans[ranks.rank]
        if grad.device.type != "cuda":  # gloo has no reduce-scatter
            summed = grad.clone(memory_format=torch.contiguous_format)
            dist.all_reduce(summed)
            return summed[span], None, None
        longest = _length(spans[0])
        padded = grad.new_zeros(ranks.world_size, longest, *grad.shape[1:])
        for share, other in zip(padded, spans):
            share[: _length(other)] = grad[other]
        share_grad = torch.empty_like(padded[0])
        dist.reduce_scatter_tensor(share_grad, padded.flatten(0, 1))
        return share_grad[: _length(span)], None, None


class _Sum(torch.autograd.Function):
    """`Ranks.sum`."""

    @staticmethod
    def forward(_: Any, tensor: Tensor) -> Tensor:
        summed = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed

    @staticmethod
    @once_differentiable
    def backward(_: Any, *grads: Tensor) -> Tensor:
        summed = grads[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed


def _length(span: slice) -> int:
    return int(span.stop - span.start)


def _buckets(tensors: Iterable[Tensor]) -> Iterator[Sequence[Tensor]]:
    """Yield groups of tensors of one type and device, up to BUCKET bytes; one that is not contiguous is never alone."""
    open_buckets: dict[Any, list[Tensor]] = {}
    for tensor in tensors:
        bucket = open_buckets.setdefault((tensor.dtype, tensor.device), [])
        bucket.append(tensor)
        if sum(member.nbytes for member in bucket) >= BUCKET and (len(bucket) > 1 or tensor.is_contiguous()):
            yield open_buckets.pop((tensor.dtype, tensor.device))
    for bucket in open_buckets.values():
        yield bucket if len(bucket) > 1 or bucket[0].is_contiguous() else [*bucket, bucket[0].new_empty(0)]


def _error_of_first_rank(name: str, message: str) -> NearfarError:
    """Return rank 0's error by its class name; one that is none of `nearfar.errors` becomes a `RunError`."""
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, NearfarError):
        return kind(message)
    return RunError(f"rank 0 failed: {name}: {message}")
