"""The training loop, `fit`: data, state, and what happens in and between steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nearfar import registry
from nearfar.abilities import keep_learnt, prepare, store_at, with_aliases
from nearfar.compute import hardware
from nearfar.compute.ranks import Ranks
from nearfar.contracts import Encoder, Head, Loss, Objective, Positives
from nearfar.errors import Interrupted
from nearfar.model import Model
from nearfar.storage.locks import run_folder
from nearfar.text.alike import aliases_of
from nearfar.training.batch_statistics import synchronised
from nearfar.training.batches import BatchReader
from nearfar.training.by_pairs import auto_settings, too_short, unit_of, without_auto
from nearfar.training.checkpoint import Checkpointer
from nearfar.training.identity import may_grow, run_identity
from nearfar.training.inputs import prepare_data
from nearfar.training.interrupts import Interrupts
from nearfar.training.log import RunLogger, RunPlan
from nearfar.training.mixture import mix
from nearfar.training.objective_terms import hidden_views
from nearfar.training.online_knn import OnlineKnn
from nearfar.training.refresh import Miner, NegativeRefresh, refuse_unminable
from nearfar.training.schedules import Schedules
from nearfar.training.selection import WeightSelection
from nearfar.training.settings import Settings
from nearfar.training.ship import Ship, shipped_encoder
from nearfar.training.start_lines import start_lines
from nearfar.training.state import TrainState, build_schedule
from nearfar.training.step import GradientStep, TrainStep
from nearfar.training.train_module import Trained, refuse_incompatible
from nearfar.training.trained_rows import TrainedRows
from nearfar.training.validation import Evaluate, Evaluator, HeldoutCurve, HeldoutLoss, due
from nearfar.training.validation_rows import NO_VALIDATION


@dataclass(frozen=True)
class Run:
    """A finished run: the model, its metrics, and the folder with all files.

    train_pairs_per_second: examples a second between the first and the last step, with all that happened in between.
    Of a resumed run, of its last part alone. peak_memory_mb: of the process, or of the GPU where one is used. seconds:
    of all of `fit`, tokenisation included, and of all parts of a resumed run; seconds_before: of those before the last.
    selected: the step whose weights validation chose, 0 for those of the start; None without validation. online: the
    last kNN while training, and of how many pictures it is; {} without it.
    """

    model: Model
    metrics: dict[str, float]
    folder: Path
    train_pairs_per_second: float
    peak_memory_mb: float
    seconds: float
    warnings: list[str]
    seconds_before: float = 0.0
    selected: int | None = None
    online: dict[str, float] = field(default_factory=dict)


def fit(
    encoder: Encoder,
    positives: Positives | Sequence[Positives],
    loss: Loss | None = None,
    *,
    out: str | Path,
    heads: Mapping[str, Head] | None = None,
    objective: Objective | None = None,
    objective_weight: float = 1.0,
    ship: Ship = "encoder",
    before: Callable[[Model], None] | None = None,
    evaluate: Evaluate | None = None,
    heldout: Positives | Sequence[Positives] | None = None,
    refresh: Miner | None = None,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    notes: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Run:
    """Train an encoder to pull positives together and push negatives apart; write everything under `out`.

    Args:
        positives: of one data set, or a sequence of several, mixed as the settings say (`Mixture`).
        loss: None where an objective is trained alone.
        out: the run's folder.
        heads: "projection", between the encoder and the loss, and "prediction", of the queries only.
        objective: trained alone (with `positives.Unpaired`), or beside the loss, to which it is added
            `objective_weight` times.
        ship: what the model is, the encoder or the encoder with its projection.
        before: called once with the encoder as it is given, prepared and not yet trained, also when a run goes on.
        evaluate: called with the current model every `evaluate_every` steps and at the end; returns metrics.
        heldout: positives of a held-out split, whose loss becomes one more metric (`heldout_loss`), and whose hit
            rates stand in events (`HeldoutCurve`).
        refresh: mines negatives with the current model every `refresh_every` steps (`nearfar.mining.scheduled`).
        resume: go on from the newest whole checkpoint; the run ends at the same weights as if it had never stopped.
            It may be longer than before (epochs, steps) under a constant schedule without warmup.
        overwrite: replace an older run in `out`. quiet: no progress bar. notes: kept with the model.
        settings: those of `Settings`.

    Started by `torchrun`, each process encodes its share of every batch; the model is that of one process but for the
    last digits. Rank 0 evaluates and writes files; every rank returns a run.

    Errors: `InputError` for settings, a folder that is used or that another process writes in, or a checkpoint of
    another run; `RunError` for a loss that is not finite (the batch's rows and the last good checkpoint are named) or a
    full disk; `Interrupted` after a signal, with a checkpoint written.

    Example: `run = nf.fit(nf.encoders.Static(), faq, nf.losses.InfoNCE(), out="runs/a", epochs=3)`
    """
    started = time.perf_counter()
    given = Settings(**registry.coerced_settings(Settings, settings, "training"))
    positives = mix(positives, apart=given.apart)
    training = without_auto(given, len(positives))
    ranks, folder = Ranks.from_environment(), Path(out)
    trained = Trained(encoder, loss, heads or {}, objective, objective_weight)
    shipped = shipped_encoder(trained, ship)
    hidden = hidden_views(objective, positives)
    refuse_incompatible(positives, trained, training, ranks)
    refuse_unminable(refresh, positives, training)
    RunLogger.refuse_missing(training)
    Evaluator.refuse_unjudged(training, judged=evaluate is not None or heldout is not None)
    device = hardware.device(training.device, ranks)
    precision = hardware.precision(training.precision, device)
    hardware.keep_freed_memory()
    ranks.open(device)
    with ExitStack() as stack:
        ranks.on_first_rank(lambda: stack.enter_context(run_folder(folder, allowed=resume or overwrite)))
        # Data: the inputs of every view, and the examples of every step.
        stores = prepare_data(encoder, positives, heldout, before, device, ranks)
        aliases = aliases_of(encoder, positives)
        positives = with_aliases(positives, aliases)
        trained_rows = TrainedRows.of(positives, encoder, training, aliases)
        kept, knn_rows, sampler = trained_rows.kept, trained_rows.knn, trained_rows.sampler
        steps = training.steps or sampler.steps(training.epochs)
        read_batch = BatchReader(positives, stores, sampler, training, ranks, encoder, hidden, steps)
        # State: new, or that of a checkpoint.
        train_state = _initial_state(trained, training, device, ranks)
        identity = run_identity(trained, positives, training, refresh, None if knn_rows is None else knn_rows.queries)
        machine = _machine(training, device, precision, ranks)
        schedules = Schedules(training, train_state.optimiser, loss, steps)
        scheduled = schedules.are_any or any(store_at(store, 0) is not store for store in stores.values())
        grows, place = may_grow(training, refresh, scheduled=scheduled), folder / "checkpoints"
        checkpointer = Checkpointer(
            place, train_state, identity, machine, training.keep, ranks, may_grow=grows, started=started
        )
        steps_done = checkpointer.begin(resume=resume)
        learning_rate = build_schedule(train_state.optimiser, training, steps, steps_done)
        unit, sizes, threads = unit_of(positives), (sampler.n, sampler.batch_size), torch.get_num_threads()
        plan, silent = RunPlan(steps, steps_done, *sizes, precision, threads, ranks.world_size), not ranks.is_first
        logger = RunLogger(folder, training, plan, checkpointer.memory, quiet=quiet, silent=silent, unit=unit)
        # What happens in a step, and between steps.
        gradient_step = GradientStep(train_state, trained, positives, training, device, precision, ranks)
        train_step = TrainStep(gradient_step, learning_rate, schedules, positives, training.clip, checkpointer, logger)
        negatives = NegativeRefresh(refresh, encoder, positives, training, checkpointer, logger, ranks, kept)
        heldout_loss = HeldoutLoss.of(heldout, gradient_step)
        curve = None if heldout_loss is None else HeldoutCurve(heldout_loss, training, logger)
        selection = None if kept is None else WeightSelection(gradient_step, shipped, kept, checkpointer, logger)
        online = None if knn_rows is None else OnlineKnn(knn_rows, gradient_step, shipped, logger)
        evaluator = Evaluator(evaluate, shipped, training, checkpointer, logger, curve, selects=selection is None)
        had_stopped = checkpointer.memory["stopped"] and training.patience  # a resumed run that had run out of patience
        last_step = steps_done if had_stopped else steps
        of_rows = gradient_step.of_rows  # heads and loss take the whole batch on every rank
        reading = closing(negatives.batches(read_batch, steps_done, last_step))
        with logger, synchronised(of_rows, ranks), Interrupts() as interrupts, reading as batches:
            automatic = auto_settings(given, training, len(positives))
            for line in (automatic, *start_lines(encoder, positives), trained_rows.no_knn):
                logger.say(line)
            logger.warn(steps_done, too_short(steps, given, sampler.n, unit))
            logger.warn(steps_done, NO_VALIDATION if training.validation and selection is None else None)
            if selection is not None:
                selection.begin(steps_done)
            evaluator.begin(ranks)
            for step, batch in enumerate(batches, steps_done + 1):
                loss_value, gradient_norm = train_step(step, batch)
                signal_name = interrupts.on_any_rank(ranks)  # asked once a step: a later signal stops the next step
                save = signal_name is not None or step == steps or due(step, training.checkpoint_every)
                is_judged = due(step, training.evaluate_every) or (selection is not None and selection.due(step))
                if save or is_judged or negatives.due(step):
                    train_step.refuse_infinite_weights(step, batch, loss_value, gradient_norm)
                is_best = evaluator(step, ranks)
                if online is not None and online.due(step):
                    ranks.on_first_rank(partial(online.log, step))
                is_best |= selection is not None and selection(step)
                out_of_patience = checkpointer.memory["stopped"]
                if signal_name is None and not out_of_patience:
                    negatives.refresh(step)
                if save or is_best or out_of_patience:
                    checkpointer.save(step)  # after evaluation and mining, whose results a resumed run needs
                if signal_name is not None:
                    logger.log("interrupted", step=step, signal=signal_name)
                    raise Interrupted(f"stopped by {signal_name} at step {step} of {steps}; go on with --resume")
                if out_of_patience:
                    break
            selected = None
            if selection is not None:
                selected = selection.finish()
                evaluator.now(selected, ranks)
            elif training.patience:
                checkpointer.restore_best()
            keep_learnt(shipped, loss)
            of_heads = {"shipped": ship} if heads else {}
            model = Model(shipped, notes={"data": {"pairs": len(positives)}, **of_heads, **(notes or {})})
            ranks.on_first_rank(lambda: str(model.save(folder / "model")))
            seconds = checkpointer.seconds()
            logger.log_end(seconds)
        metrics, speed = checkpointer.memory["metrics"], logger.pairs_per_second
        memory, earlier = hardware.peak_memory_mb(), checkpointer.seconds_before
        of_knn = {**online.last, **online.of} if online is not None and online.last else {}
        return Run(model, metrics, folder, speed, memory, seconds, logger.warnings, earlier, selected, of_knn)


def _initial_state(trained: Trained, settings: Settings, device: torch.device, ranks: Ranks) -> TrainState:
    """Return the initial weights, alike on every rank, and seed each rank's random numbers (dropout) differently."""
    torch.manual_seed(settings.seed)
    prepare(trained.objective, trained.encoder)
    trained.refuse_batch_statistics(settings, ranks.world_size)  # again: data may have made layers
    train_state = TrainState.of(trained.module(settings).to(device).train(), settings)
    ranks.broadcast(train_state.module.state_dict().values())
    if not ranks.is_first:  # rank 0 goes on with the numbers of a single process
        torch.manual_seed(int(np.random.default_rng([settings.seed, ranks.rank]).integers(2**62)))
    return train_state


def _machine(settings: Settings, device: torch.device, precision: str, ranks: Ranks) -> dict[str, Any]:
    """Return what may differ when a run is resumed, at the price of the last digits."""
    micro = {"micro_batch": settings.micro_batch, "micro_cost": settings.micro_cost}
    threads = torch.get_num_threads()
    return {"threads": threads, "precision": precision, "device": device.type, "ranks": ranks.world_size, **micro}
