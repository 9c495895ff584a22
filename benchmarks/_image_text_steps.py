"""A whole training step over pictures and captions: nearfar's `fit`, and open_clip's own loop over the same towers.

Captions, pictures, towers, batch, precision and optimiser are the same. open_clip's loop is that of its training code.
What it reads is decoded, resized and tokenised before the clock begins ("prepared"), or made by the workers of its
loader from files, as its documentation has it ("files"). The first third of the steps is not timed.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from _flickr8k import captions
from _image_text_towers import RATE, TEMPERATURE, TOWERS, Towers, ours, parameters
from _machine import PeakMemory, status_mb, untimed
from torch import nn


def train(
    contestant: str, towers: str, batch: int, steps: int, data: str, limit: int, precision: str, **variant: Any
) -> dict[str, Any]:
    """Return pairs a second, memory, losses and sizes of one training in this process."""
    torch.manual_seed(0)
    read, before = captions(Path(data), limit=limit), mapped_mb()
    with PeakMemory() as memory:
        given = TOWERS[towers], batch, steps, read, precision
        found = _ours(*given, **variant) if contestant == "nearfar" else _open_clip(*given, data=data, **variant)
    clock: Clock = found.pop("clock")
    found |= {"peak_mb": memory.peak_mb, "extra_mb": memory.extra_mb, "mapped_mb": mapped_mb() - before}
    return {**clock.speed(batch), **found}


class Clock:
    """Stamps each call of a loss, once a step: from one to the next is a whole step."""

    def __init__(self, loss: nn.Module) -> None:
        self.times: list[tuple[float, float]] = []
        loss.register_forward_pre_hook(self._stamp)

    def _stamp(self, *_: Any) -> None:
        self.times.append((time.perf_counter(), time.process_time()))

    def speed(self, batch: int) -> dict[str, float]:
        """Return pairs a second, and pairs a second of one core, which hardly depend on the load of the machine."""
        first, last = self.times[untimed(len(self.times)) - 1], self.times[-1]
        pairs = batch * (len(self.times) - untimed(len(self.times)))
        return {"pairs_per_second": pairs / (last[0] - first[0]), "pairs_per_cpu_second": pairs / (last[1] - first[1])}


def mapped_mb() -> float:
    """Return how much of this process's memory is files that it has mapped, such as decoded pictures; 0 if unknown."""
    try:
        return status_mb("RssFile")
    except (OSError, StopIteration):
        return 0.0


def _ours(towers: Towers, batch: int, steps: int, rows: Any, precision: str, micro_batch: int = 0) -> dict[str, Any]:
    import nearfar as nf

    encoder = ours(towers)
    positives = nf.positives.Columns(rows, query="image", key="caption", cluster="path")
    loss = nf.losses.InfoNCE(temperature=TEMPERATURE, learnable=True)
    clock = Clock(loss)
    with tempfile.TemporaryDirectory() as folder:
        given: dict[str, Any] = {"batch_size": batch, "steps": steps, "learning_rate": RATE, "precision": precision}
        given |= {"micro_batch": micro_batch}
        run = nf.fit(encoder, positives, loss, out=Path(folder) / "run", quiet=True, **given)
        lines = (run.folder / "events.jsonl").read_text("utf-8").splitlines()
    events = [event for event in map(json.loads, lines) if event["event"] == "step"]
    sides = {role: parameters(tower) for role, tower in encoder.towers.items()}
    return {
        "clock": clock,
        "losses": [event["loss"] for event in events],
        "parameters": {"picture": sides["query"], "text": sides["key"]},
    }


def _open_clip(towers: Towers, batch: int, steps: int, rows: Any, precision: str, **variant: Any) -> dict[str, Any]:
    from _image_text_peer import train_one
    from open_clip import ClipLoss

    loss = ClipLoss()
    return {"clock": Clock(loss), **train_one(loss, towers, batch, steps, rows, precision, **variant)}
