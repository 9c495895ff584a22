"""A dry run: a batch to look at, and what the whole would cost."""

from __future__ import annotations

import copy
import json
import time
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from nearfar import registry
from nearfar.contracts import Encoder, Loss, Positives
from nearfar.training import hardware
from nearfar.training.optimizer import optimizer
from nearfar.training.sampler import Sampler
from nearfar.training.settings import Settings
from nearfar.training.step import forward, prepare

STEPS = 3  # measured after one to warm up


@dataclass(frozen=True)
class Estimate:
    """What a dry run found; `facts` is for programs, `show` prints it."""

    facts: dict[str, Any]

    def show(self) -> None:
        """Print the batch and the estimate."""
        for example in self.facts["batch"]:
            print(json.dumps(example, ensure_ascii=False)[:400])
        print(
            f"\n{self.facts['pairs']:,} pairs, {self.facts['steps']:,} steps of {self.facts['batch_size']:,}; about "
            f"{self.facts['seconds']:,.0f} s at {self.facts['pairs_per_second']:,.0f} pairs a second, and "
            f"{self.facts['memory_mb']:,.0f} MB of memory. Nothing was trained or written."
        )


def dry_run(encoder: Encoder, positives: Positives, loss: Loss, **settings: Any) -> Estimate:
    """Return the first examples of the first batch, and time and memory estimated from a few real steps on a copy."""
    chosen = Settings(**registry.coerce(Settings, settings, "training"))
    encoder.prepare(list(positives.views.values()))
    stores = {view: encoder.store(column) for view, column in positives.views.items()}
    device = hardware.device(chosen.device)
    precision = hardware.precision(chosen.precision, device)
    encoder, loss = copy.deepcopy(encoder), copy.deepcopy(loss)
    module = nn.ModuleDict({"encoder": cast("nn.Module", encoder), "loss": cast("nn.Module", loss)}).to(device).train()
    optimiser = optimizer(dict(module.named_parameters()), chosen)
    sampler = Sampler(len(positives), chosen.batch_size, chosen.seed)
    began = 0.0
    for step in range(STEPS + 1):
        if step == 1:
            began = time.perf_counter()
        outcome = forward(encoder, loss, positives, prepare(positives, stores, sampler.batch(step)), device, precision)
        outcome.loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        outcome.loss.item()  # waits for a GPU
    each = (time.perf_counter() - began) / STEPS
    steps = chosen.steps or sampler.steps(chosen.epochs)
    facts = {
        "batch": positives.describe(sampler.batch(0)[:3]),
        "pairs": len(positives),
        "batch_size": sampler.batch_size,
        "steps": steps,
        "seconds": each * steps,
        "pairs_per_second": sampler.batch_size / each,
        "memory_mb": hardware.peak_memory_mb(),
        "parameters": sum(p.numel() for p in module.parameters()),
        "precision": precision,
        "threads": torch.get_num_threads(),
    }
    return Estimate(facts)
