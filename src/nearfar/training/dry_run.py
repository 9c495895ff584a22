"""A dry run: a batch to look at, and what the whole would cost."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch

from nearfar import registry
from nearfar.compute import hardware
from nearfar.compute.ranks import Ranks
from nearfar.contracts import Encoder, Loss, Minable, Positives
from nearfar.training.batches import BatchReader, PreparedBatch, uncached_stores
from nearfar.training.mixture import mix
from nearfar.training.order import Sampler
from nearfar.training.refresh import Miner, refresh_steps, refuse_unminable
from nearfar.training.settings import Settings
from nearfar.training.state import TrainState
from nearfar.training.step import GradientStep
from nearfar.training.train_module import build_train_module, refuse_unfit

STEPS = 3  # measured after one to warm up


@dataclass(frozen=True)
class Estimate:
    """What a dry run found; `facts` is for programs, `show` prints it."""

    facts: dict[str, Any]

    def show(self) -> None:
        """Print the batch and the estimate."""
        for example in self.facts["batch"]:
            print(json.dumps(example, ensure_ascii=False)[:400])
        mined = f"; mining {self.facts['refreshes']:,} times comes on top" if self.facts["refreshes"] else ""
        print(
            f"\n{self.facts['pairs']:,} pairs, {self.facts['steps']:,} steps of {self.facts['batch_size']:,}; about "
            f"{self.facts['seconds']:,.0f} s at {self.facts['pairs_per_second']:,.0f} pairs a second, "
            f"{self.facts['reading_seconds']:,.0f} s before that for reading, and {self.facts['memory_mb']:,.0f} MB of "
            f"memory{mined}. Nothing was trained, and nothing written but the cache."
        )


def dry_run(
    encoder: Encoder,
    positives: Positives | Sequence[Positives],
    loss: Loss,
    *,
    refresh: Miner | None = None,
    **settings: Any,
) -> Estimate:
    """Return the first examples of the first batch, and time and memory estimated from a few real steps on a copy.

    With mining (`refresh`) the steps have as many negatives as they will, drawn by chance; its own time is not in it.
    """
    chosen = Settings(**registry.coerce(Settings, settings, "training"))
    positives = mix(positives, apart=chosen.apart)
    refuse_unfit(positives, loss, chosen)
    refuse_unminable(refresh, positives, chosen)
    if refresh is not None:
        mined = cast("Minable", positives)
        positives = mined.with_negatives(refresh.by_chance(mined))
    encoder, loss = copy.deepcopy(encoder), copy.deepcopy(loss)
    encoder.prepare(list(positives.views.values()))
    sampler = Sampler.of(positives, chosen)
    stores = uncached_stores(encoder, positives)
    began = time.perf_counter()
    read = BatchReader(positives, stores, sampler, chosen, Ranks(), encoder)
    batches = [read(step) for step in range(STEPS + 1)]
    a_cell = (time.perf_counter() - began) / sum(sum(batch.sizes.values()) for batch in batches)  # s a cell
    each, facts = _steps(encoder, positives, loss, batches, chosen)
    steps = chosen.steps or sampler.steps(chosen.epochs)
    return Estimate(
        {
            "batch": positives.describe(sampler.batch(0)[:3]),
            "pairs": len(positives),
            "batch_size": sampler.batch_size,
            "steps": steps,
            "refreshes": 0 if refresh is None else len(refresh_steps(chosen, steps)),
            "seconds": each * steps,
            "reading_seconds": a_cell * sum(map(len, positives.views.values())),
            "pairs_per_second": sampler.batch_size / each,
            "memory_mb": hardware.peak_memory_mb(),
            **facts,
        }
    )


def _steps(
    encoder: Encoder, positives: Positives, loss: Loss, batches: list[PreparedBatch], settings: Settings
) -> tuple[float, Mapping[str, Any]]:
    """Return the seconds of a step, and what it ran with."""
    device = hardware.device(settings.device)
    precision = hardware.precision(settings.precision, device)
    train_state = TrainState.of(build_train_module(encoder, loss, settings).to(device).train(), settings)
    step = GradientStep(train_state, positives, settings, device, precision)
    began = 0.0
    for i, prepared in enumerate(batches):
        if i == 1:
            began = time.perf_counter()
        outcome = step(prepared)
        train_state.clip(settings.clip)
        train_state.step()
        step.moved(prepared, outcome)
        outcome.loss.item()  # waits for a GPU
    each = (time.perf_counter() - began) / (len(batches) - 1)
    parameters = sum(p.numel() for p in train_state.parameters.values())
    return each, {"parameters": parameters, "precision": precision, "threads": torch.get_num_threads()}
