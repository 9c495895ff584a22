"""fit: the training loop, top to bottom."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LambdaLR

from nearfar import registry
from nearfar.compute import hardware
from nearfar.compute.ranks import Ranks
from nearfar.contracts import Encoder, Loss, Positives, Store
from nearfar.errors import InputError, Interrupted, RunError
from nearfar.model import Model
from nearfar.storage.folders import made
from nearfar.text.prompts import prompted, side_of
from nearfar.training.augment import augmented_views
from nearfar.training.batches import BatchReader, PreparedBatch
from nearfar.training.checkpoint import Checkpointer
from nearfar.training.identity import run_identity
from nearfar.training.log import RunLogger, RunPlan
from nearfar.training.mixture import mix
from nearfar.training.order import Sampler
from nearfar.training.refresh import Miner, NegativeRefresh, refuse_unminable
from nearfar.training.settings import Settings
from nearfar.training.state import TrainState, schedule
from nearfar.training.step import GradientStep
from nearfar.training.train_module import build_train_module, refuse_unfit
from nearfar.training.validation import Evaluate, Evaluator, HeldoutLoss, due, with_heldout_loss


@dataclass(frozen=True)
class Run:
    """A finished training: the model, what was measured, and where it lies.

    train_pairs_per_second counts everything between the first and the last step; seconds is the whole of `fit`, with
    tokenisation; peak_memory_mb is the process's (on a GPU, the device's).
    """

    model: Model
    metrics: dict[str, float]
    folder: Path
    train_pairs_per_second: float
    peak_memory_mb: float
    seconds: float
    warnings: list[str]


def fit(
    encoder: Encoder,
    positives: Positives | Sequence[Positives],
    loss: Loss,
    *,
    out: str | Path,
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

    positives: of one data set, or a sequence of several, mixed as the settings say (`Mixture`). evaluate: called with
    the model as it is, every `evaluate_every` steps and at the end; returns metrics. heldout: positives of a held-out
    split, whose loss is one more metric there (`heldout_loss`). refresh: mines negatives on the model as it is, every
    `refresh_every` steps (`nearfar.mining.rising`). resume: go on from the newest whole checkpoint, to the same weights
    as if never stopped. overwrite: an older run in `out` goes. settings: those of `Settings`.

    Started by `torchrun`, each process trains on its share of every batch, to the same model as one process but for the
    last digits. Rank 0 writes and evaluates; all return a run.

    Errors: `InputError` for settings, a used folder, or a checkpoint of another run; `RunError` for a loss that is not
    finite (the batch's rows and the last good checkpoint are named) or a full disk; `Interrupted` after a signal, with
    a checkpoint written.

    Example: `run = nf.fit(nf.encoders.Static(), faq, nf.losses.InfoNCE(), out="runs/a", epochs=3)`
    """
    began = time.perf_counter()
    chosen = Settings(**registry.coerce(Settings, settings, "training"))
    ranks, folder = Ranks.here(), Path(out)
    positives = mix(positives, apart=chosen.apart)
    refuse_unfit(positives, loss, chosen, ranks)
    refuse_unminable(refresh, positives, chosen)
    device = hardware.device(chosen.device, ranks)
    precision = hardware.precision(chosen.precision, device)
    ranks.open(device)
    ranks.lead(lambda: refuse_used(made(folder), resume or overwrite))
    stores = ranks.in_turn(lambda: _stores(encoder, positives))
    sampler = Sampler.of(positives, chosen)
    steps = chosen.steps or sampler.steps(chosen.epochs)
    train_state = _initial_state(encoder, loss, chosen, device, ranks)
    identity = run_identity(encoder, positives, loss, chosen, refresh)
    machine = _machine(chosen, device, precision, ranks)
    checkpointer = Checkpointer(folder / "checkpoints", train_state, identity, machine, chosen.keep, ranks)
    first = checkpointer.begin(resume=resume)
    rate = schedule(train_state.optimiser, chosen, steps, first)
    start = RunPlan(
        steps, first, len(positives), sampler.batch_size, precision, torch.get_num_threads(), ranks.world_size
    )
    logger = RunLogger(folder, chosen, start, checkpointer.memory, quiet=quiet, silent=not ranks.first)
    read = BatchReader(positives, stores, sampler, chosen, ranks, encoder)
    gradient_step = GradientStep(train_state, positives, chosen, device, precision, ranks)
    train_step = TrainStep(gradient_step, rate, positives, chosen.clip, checkpointer, logger)
    fresh = NegativeRefresh(refresh, encoder, positives, chosen, checkpointer, logger, ranks)
    held = HeldoutLoss.of(heldout, loss, chosen, gradient_step.encode)
    judge = Evaluator(with_heldout_loss(evaluate, held, logger), encoder, chosen, checkpointer, logger)
    last = first if checkpointer.memory["stopped"] and chosen.patience else steps
    with logger, Interrupts() as signals, closing(fresh.batches(read, first, last)) as batches:
        for step, prepared in enumerate(batches, first + 1):
            loss_and_norm = train_step(step, prepared)
            caught = signals.agreed(ranks)  # looked at once a step: one from here on stops the next, with a checkpoint
            keep = caught is not None or step == steps or due(step, chosen.checkpoint_every)
            if keep or due(step, chosen.evaluate_every) or fresh.due(step):
                train_step.check(step, prepared, *loss_and_norm)
            keep = judge(step, ranks) or keep or checkpointer.memory["stopped"]
            if caught is None and not checkpointer.memory["stopped"]:
                fresh(step)
            if keep:
                checkpointer.save(step)  # after judging and mining, so that a resumed run knows what was found
            if caught is not None:
                logger.note("interrupted", step=step, signal=caught)
                raise Interrupted(f"stopped by {caught} at step {step} of {steps}; go on with --resume")
            if checkpointer.memory["stopped"]:
                break
        if chosen.patience:
            checkpointer.restore_best()
        model = Model(encoder, notes={"data": {"pairs": len(positives)}, **(notes or {})})
        ranks.lead(lambda: str(model.save(folder / "model")))
        seconds = time.perf_counter() - began
        logger.ended(seconds)
    peak = hardware.peak_memory_mb()
    return Run(model, checkpointer.memory["metrics"], folder, logger.pairs_per_second, peak, seconds, logger.warnings)


def refuse_used(folder: Path, allowed: bool) -> None:
    """Refuse a folder in which a run lies, unless it is to be resumed or replaced."""
    if not allowed and (folder / "events.jsonl").exists():
        raise InputError(f"{folder}: a run lies there already; go on with --resume, or choose another --out")


def _stores(encoder: Encoder, positives: Positives) -> dict[str, Store]:
    """Let the encoder learn what it needs, and read every view's inputs."""
    encoder.prepare(list(positives.views.values()))
    anew = augmented_views(positives)  # read by the step, each time changed
    seen = [view for view in positives.views if view not in anew]
    return {view: side_of(encoder, positives, view).store(prompted(encoder, positives, view)) for view in seen}


def _initial_state(encoder: Encoder, loss: Loss, settings: Settings, device: torch.device, ranks: Ranks) -> TrainState:
    """Return what is trained, alike on every rank; what is drawn from here on (dropout) differs from rank to rank."""
    torch.manual_seed(settings.seed)
    train_state = TrainState.of(build_train_module(encoder, loss, settings).to(device).train(), settings)
    ranks.broadcast(train_state.module.state_dict().values())
    if not ranks.first:  # rank 0 goes on as a process alone does
        torch.manual_seed(int(np.random.default_rng([settings.seed, ranks.rank]).integers(2**62)))
    return train_state


def _machine(settings: Settings, device: torch.device, precision: str, ranks: Ranks) -> dict[str, Any]:
    """Return what may differ when a run is resumed, at the price of the last digits."""
    cut = {"micro_batch": settings.micro_batch, "micro_cost": settings.micro_cost}
    threads = torch.get_num_threads()
    return {"threads": threads, "precision": precision, "device": device.type, "ranks": ranks.world_size, **cut}


@dataclass(frozen=True)
class TrainStep:
    """Moves the weights by one batch; clip: the longest gradient.

    Errors: `RunError` where the loss, the gradient or, when asked, a weight is not finite: with the batch's rows and
    the last good checkpoint.
    """

    gradient_step: GradientStep
    rate: LambdaLR
    positives: Positives
    clip: float
    checkpointer: Checkpointer
    logger: RunLogger

    def __call__(self, step: int, prepared: PreparedBatch) -> tuple[float, float]:
        """Make step `step` (from 1); return the loss and the gradient's norm."""
        train_state = self.gradient_step.train_state
        outcome = self.gradient_step(prepared)
        norm, loss = train_state.clip(self.clip), outcome.loss.item()
        if not math.isfinite(loss + norm):
            raise self._failed(step, prepared, loss, norm)
        used = float(self.rate.get_last_lr()[0])
        train_state.step()
        self.rate.step()
        self.gradient_step.moved(prepared, outcome)
        self.logger.stepped(step, outcome, prepared.pairs, norm, used)
        return loss, norm

    def check(self, step: int, prepared: PreparedBatch, loss: float, norm: float) -> None:
        """Look whether this step went too far, before the weights are kept or used."""
        if not self.gradient_step.train_state.finite():
            raise self._failed(step, prepared, loss, norm)

    def _failed(self, step: int, prepared: PreparedBatch, loss: float, norm: float) -> RunError:
        return self.logger.failed(step, loss, norm, self._rows(prepared), self.checkpointer.last)

    def _rows(self, prepared: PreparedBatch) -> list[Any]:
        """Return the rows of the data that a batch holds."""
        told = zip(prepared.examples.tolist(), self.positives.describe(prepared.examples), strict=True)
        return [facts.get("row", example + 1) for example, facts in told]


class Interrupts:
    """While it is open, the first signal is noted in `caught`; a second one stops at once."""

    def __init__(self) -> None:
        self.caught: str | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():  # Python hands signals to no other
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.caught is not None:
            raise KeyboardInterrupt
        self.caught = signal.Signals(number).name

    def agreed(self, ranks: Ranks) -> str | None:
        """Return the signal that this rank or another has caught: all stop at the same step."""
        number = ranks.agree(0 if self.caught is None else signal.Signals[self.caught].value)
        return signal.Signals(number).name if number else None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, signal.SIG_DFL if before is None else before)  # None: set by no Python
