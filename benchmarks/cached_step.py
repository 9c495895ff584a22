"""The cached step beside the plain one: what a batch beyond the memory costs in time, and what it needs.

python benchmarks/cached_step.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from _encoders import encoder_and_inputs
from _machine import RESULTS, PeakMemory, bound, conclude, facts, free_memory_mb, fresh, tell
from rich.table import Table

from nearfar.compute.hardware import cpu_bf16
from nearfar.losses.infonce import InfoNCE
from nearfar.pairs import Pairs
from nearfar.training.batches import PreparedBatch, StackedInputs
from nearfar.training.settings import Settings
from nearfar.training.state import TrainState
from nearfar.training.step import GradientStep
from nearfar.training.train_module import Trained

TIME_LIMIT, MEMORY_LIMIT = 1.4, 1.1
MICRO = {"static": 1024, "transformer": 128}  # rows encoded at once
PLAIN = {"static": [16_384], "transformer": [256, 512, 1024, 2048, 4096]}  # pairs: the largest that fits is taken
SMALL, LARGE = 1024, 8192
Row = dict[str, Any]


def measure(encoder: str, n: int, micro: int, repeats: int) -> Row:
    """Return seconds and memory of a step on n pairs: encode, compare, go back, move the weights."""
    module, inputs = encoder_and_inputs(encoder, 2 * n)
    settings = Settings(batch_size=n, learning_rate=1e-4, micro_batch=micro)
    loss = InfoNCE(0.05, learnable=True)
    trained = Trained(cast("Any", module), loss)
    train_state = TrainState.of(trained.module(settings).train(), settings)
    views: Any = SimpleNamespace(query_views=["query"], key_views=["key"])
    precision = "bf16" if cpu_bf16() else "fp32"
    step = GradientStep(train_state, trained, views, settings, torch.device("cpu"), precision)
    sizes = {"query": n, "key": n}
    stacked, pairs = StackedInputs(inputs, sizes), Pairs.aligned(n)
    prepared = PreparedBatch(0, torch.arange(n).numpy(), stacked, None, sizes, 0, pairs)
    seconds = []
    with PeakMemory() as memory:
        for _ in range(repeats):
            start = time.perf_counter()
            step(prepared)
            train_state.step()
            seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, "peak_mb": memory.peak_mb, "extra_mb": memory.extra_mb}


def run(encoder: str, n: int, micro: int, repeats: int) -> Row:
    found = fresh(__file__, {"encoder": encoder, "n": n, "micro": micro, "repeats": repeats})
    how = f"micro-batches of {micro}" if micro else "plain"
    tell(f"{encoder}, {n:,} pairs, {how}: {min(found['seconds']):.2f} s, {found['peak_mb']:,.0f} MB")
    return {"encoder": encoder, "n": n, "micro": micro, **found}


def largest(encoder: str) -> int:
    """Return the largest batch whose plain step fits into memory, predicted from the smallest, which grows in line."""
    sizes = PLAIN[encoder]
    if len(sizes) == 1:
        return sizes[0]
    each = run(encoder, sizes[0], 0, 1)["extra_mb"] / sizes[0]
    return max(n for n in sizes if n * each < 0.8 * free_memory_mb())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--encoders", nargs="+", choices=list(MICRO), default=list(MICRO))
    parser.add_argument("--rounds", type=int, default=3, help="processes for each of plain and cached, taking turns")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measure(**json.loads(given.child))))
        return
    machine, rows, kept = facts(), [], []
    for encoder in given.encoders:
        n, micro = largest(encoder), MICRO[encoder]
        turns = [[run(encoder, n, size, 2) for size in (0, micro)] for _ in range(given.rounds)]
        ratio = statistics.median(min(cached["seconds"]) / min(plain["seconds"]) for plain, cached in turns)
        rows += [row for turn in turns for row in turn]
        small, large = (run(encoder, size, micro, 1) for size in (SMALL, LARGE))
        rows += [small, large]
        kept.append(bound(f"{encoder}, {n:,} pairs: time, cached / plain", ratio, TIME_LIMIT, least=False))
        grown = large["peak_mb"] / small["peak_mb"]
        kept.append(bound(f"{encoder}: memory at {LARGE:,} pairs / at {SMALL:,}", grown, MEMORY_LIMIT, least=False))
    conclude(given.out, "cached_step", {"machine": machine, "rows": rows, "bounds": kept}, table(rows))


def table(rows: list[Row]) -> Table:
    shown = Table(title="One step, forward and backward, 32 tokens a row, 384 dimensions")
    for name in ("encoder", "pairs", "rows at once", "s", "peak MB", "beyond the start MB"):
        shown.add_column(name, justify="left" if name == "encoder" else "right")
    for row in rows:
        at_once = f"{row['micro']:,}" if row["micro"] else "all"
        memory = f"{row['peak_mb']:,.0f}", f"{row['extra_mb']:,.0f}"
        shown.add_row(row["encoder"], f"{row['n']:,}", at_once, f"{min(row['seconds']):.2f}", *memory)
    return shown


if __name__ == "__main__":
    main()
