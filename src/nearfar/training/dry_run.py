"""A dry run: the first examples of a run, and an estimate of its time and memory."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch

from nearfar import registry
from nearfar.abilities import HasSample, Minable, notes_of, prepare, with_aliases
from nearfar.compute import hardware
from nearfar.compute.ranks import Ranks
from nearfar.compute.scheduled import value_at
from nearfar.contracts import Encoder, Head, Loss, Objective, Positives
from nearfar.sides import prepare_sides
from nearfar.text.alike import aliases_of
from nearfar.training.batches import BatchReader, PreparedBatch, uncached_stores
from nearfar.training.by_pairs import unit_of, without_auto
from nearfar.training.mixture import mix
from nearfar.training.objective_terms import hidden_views
from nearfar.training.order import Sampler
from nearfar.training.refresh import Miner, refresh_steps, refuse_unminable
from nearfar.training.settings import Settings
from nearfar.training.state import TrainState
from nearfar.training.step import GradientStep
from nearfar.training.train_module import Trained, refuse_incompatible
from nearfar.training.trained_rows import TrainedRows

STEPS = 3  # measured, after one to warm up


@dataclass(frozen=True)
class Estimate:
    """The result of a dry run: `facts` by name, which `reports.console.show_estimate` prints."""

    facts: dict[str, Any]


def dry_run(
    encoder: Encoder,
    positives: Positives | Sequence[Positives],
    loss: Loss | None = None,
    *,
    heads: Mapping[str, Head] | None = None,
    objective: Objective | None = None,
    objective_weight: float = 1.0,
    refresh: Miner | None = None,
    **settings: Any,
) -> Estimate:
    """Return the first examples of the first batch, and time and memory estimated from a few steps on a copy.

    Positives that take long to prepare (`HasSample`) show a sample, and how long all of them would take.
    With mining (`refresh`) the steps have as many negatives as in the run, drawn at random; the time to mine them is
    not in the estimate.
    """
    given = Settings(**registry.coerced_settings(Settings, settings, "training"))
    positives = mix(positives, apart=given.apart)
    training = without_auto(given, len(positives))
    trained = Trained(encoder, loss, heads or {}, objective, objective_weight)
    refuse_incompatible(positives, trained, training)
    trained, hidden = copy.deepcopy(trained), hidden_views(objective, positives)
    encoder = trained.encoder
    refuse_unminable(refresh, positives, training)
    if refresh is not None:
        minable = cast("Minable", positives)
        positives = minable.with_negatives(refresh.random_negatives(minable))
    prepare_sides(encoder, positives)
    prepare(trained.objective, encoder)
    whole, late_seconds = positives, 0.0
    if isinstance(positives, HasSample):
        positives, late_seconds = positives.sample(Sampler.of(positives, training).batch_size * (STEPS + 1))
    aliases = aliases_of(encoder, positives)
    positives = with_aliases(positives, aliases)
    sampler = TrainedRows.of(positives, encoder, training, aliases).sampler
    stores = uncached_stores(encoder, positives)
    started = time.perf_counter()
    read_batch = BatchReader(positives, stores, sampler, training, Ranks(), encoder, hidden)
    batches = [read_batch(step) for step in range(STEPS + 1)]
    cells = sum(sum(batch.sizes.values()) for batch in batches)
    seconds_per_cell = (time.perf_counter() - started) / cells
    seconds_per_step, facts = _measure_steps(trained, positives, batches, training)
    batch, batch_size = positives.describe(sampler.batch(0)[:3]), sampler.batch_size
    if late_seconds:
        sampler = Sampler.of(whole, training)
    seconds_per_step *= sampler.batch_size / batch_size  # where a sample has too few examples for a batch
    steps = training.steps or sampler.steps(training.epochs)
    reading = seconds_per_cell * sum(map(len, whole.views.values()))
    return Estimate(
        {
            "batch": batch,
            "notes": notes_of(whole),
            "pairs": len(whole),
            "unit": unit_of(whole),
            "batch_size": sampler.batch_size,
            "steps": steps,
            "refreshes": 0 if refresh is None else len(refresh_steps(training, steps)),
            "seconds": seconds_per_step * steps,
            "reading_seconds": late_seconds or reading,
            "pairs_per_second": sampler.batch_size / seconds_per_step,
            "memory_mb": hardware.peak_memory_mb(),
            **facts,
        }
    )


def _measure_steps(
    trained: Trained, positives: Positives, batches: list[PreparedBatch], settings: Settings
) -> tuple[float, Mapping[str, Any]]:
    """Return the seconds of a step; and the number of parameters, the precision and the threads."""
    device = hardware.device(settings.device)
    precision = hardware.precision(settings.precision, device)
    train_state = TrainState.of(trained.module(settings).to(device).train(), settings)
    gradient_step = GradientStep(train_state, trained, positives, settings, device, precision)
    started = 0.0
    for i, prepared in enumerate(batches):
        if i == 1:
            started = time.perf_counter()
        output = gradient_step(prepared)
        train_state.clip(settings.clip)
        train_state.step()
        gradient_step.after_optimizer_step(prepared, output, value_at(settings.momentum, i, len(batches)))
        output.loss.item()  # waits for a GPU
    seconds_per_step = (time.perf_counter() - started) / (len(batches) - 1)
    parameters = sum(p.numel() for p in train_state.parameters.values())
    return seconds_per_step, {"parameters": parameters, "precision": precision, "threads": torch.get_num_threads()}
