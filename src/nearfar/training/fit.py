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
from nearfar.training.augment import augmentations
from nearfar.training.batches import Prepared, Reader
from nearfar.training.checkpoint import Keeper
from nearfar.training.identity import run_identity
from nearfar.training.log import Start, Watch
from nearfar.training.mixture import together
from nearfar.training.order import Sampler
from nearfar.training.refresh import Fresh, Refresh, refuse_unminable
from nearfar.training.settings import Settings
from nearfar.training.state import Moving, schedule
from nearfar.training.step import Step
from nearfar.training.train_module import refuse_unfit, trained
from nearfar.training.validation import Evaluate, HeldOut, Judge, due, with_heldout_loss


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
    refresh: Refresh | None = None,
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
    positives = together(positives, apart=chosen.apart)
    refuse_unfit(positives, loss, chosen, ranks)
    refuse_unminable(refresh, positives, chosen)
    device = hardware.device(chosen.device, ranks)
    precision = hardware.precision(chosen.precision, device)
    ranks.open(device)
    ranks.lead(lambda: refuse_used(made(folder), resume or overwrite))
    stores = ranks.in_turn(lambda: _stores(encoder, positives))
    sampler = Sampler.of(positives, chosen)
    steps = chosen.steps or sampler.steps(chosen.epochs)
    moving = _begun(encoder, loss, chosen, device, ranks)
    identity = run_identity(encoder, positives, loss, chosen, refresh)
    machine = _machine(chosen, device, precision, ranks)
    keeper = Keeper(folder / "checkpoints", moving, identity, machine, chosen.keep, ranks)
    first = keeper.begin(resume=resume)
    rate = schedule(moving.optimiser, chosen, steps, first)
    start = Start(steps, first, len(positives), sampler.batch_size, precision, torch.get_num_threads(), ranks.of)
    watch = Watch(folder, chosen, start, keeper.memory, quiet=quiet, silent=not ranks.first)
    read = Reader(positives, stores, sampler, chosen, ranks, encoder)
    forth_and_back = Step(moving, positives, chosen, device, precision, ranks)
    advance = Advance(forth_and_back, rate, positives, chosen.clip, keeper, watch)
    fresh = Fresh(refresh, encoder, positives, chosen, keeper, watch, ranks)
    held = HeldOut.of(heldout, loss, chosen, forth_and_back.encode)
    judge = Judge(with_heldout_loss(evaluate, held, watch), encoder, chosen, keeper, watch)
    last = first if keeper.memory["stopped"] and chosen.patience else steps
    with watch, Interrupts() as signals, closing(fresh.batches(read, first, last)) as batches:
        for step, prepared in enumerate(batches, first + 1):
            loss_and_norm = advance(step, prepared)
            caught = signals.agreed(ranks)  # looked at once a step: one from here on stops the next, with a checkpoint
            keep = caught is not None or step == steps or due(step, chosen.checkpoint_every)
            if keep or due(step, chosen.evaluate_every) or fresh.due(step):
                advance.check(step, prepared, *loss_and_norm)
            keep = judge(step, ranks) or keep or keeper.memory["stopped"]
            if caught is None and not keeper.memory["stopped"]:
                fresh(step)
            if keep:
                keeper.save(step)  # after judging and mining, so that a resumed run knows what was found
            if caught is not None:
                watch.note("interrupted", step=step, signal=caught)
                raise Interrupted(f"stopped by {caught} at step {step} of {steps}; go on with --resume")
            if keeper.memory["stopped"]:
                break
        if chosen.patience:
            keeper.restore_best()
        model = Model(encoder, notes={"data": {"pairs": len(positives)}, **(notes or {})})
        ranks.lead(lambda: str(model.save(folder / "model")))
        seconds = time.perf_counter() - began
        watch.ended(seconds)
    peak = hardware.peak_memory_mb()
    return Run(model, keeper.memory["metrics"], folder, watch.pairs_per_second, peak, seconds, watch.warnings)


def refuse_used(folder: Path, allowed: bool) -> None:
    """Refuse a folder in which a run lies, unless it is to be resumed or replaced."""
    if not allowed and (folder / "events.jsonl").exists():
        raise InputError(f"{folder}: a run lies there already; go on with --resume, or choose another --out")


def _stores(encoder: Encoder, positives: Positives) -> dict[str, Store]:
    """Let the encoder learn what it needs, and read every view's inputs."""
    encoder.prepare(list(positives.views.values()))
    anew = augmentations(positives)  # read by the step, each time changed
    seen = [view for view in positives.views if view not in anew]
    return {view: side_of(encoder, positives, view).store(prompted(encoder, positives, view)) for view in seen}


def _begun(encoder: Encoder, loss: Loss, settings: Settings, device: torch.device, ranks: Ranks) -> Moving:
    """Return what is trained, alike on every rank; what is drawn from here on (dropout) differs from rank to rank."""
    torch.manual_seed(settings.seed)
    moving = Moving.of(trained(encoder, loss, settings).to(device).train(), settings)
    ranks.broadcast(moving.module.state_dict().values())
    if not ranks.first:  # rank 0 goes on as a process alone does
        torch.manual_seed(int(np.random.default_rng([settings.seed, ranks.index]).integers(2**62)))
    return moving


def _machine(settings: Settings, device: torch.device, precision: str, ranks: Ranks) -> dict[str, Any]:
    """Return what may differ when a run is resumed, at the price of the last digits."""
    cut = {"micro_batch": settings.micro_batch, "micro_cost": settings.micro_cost}
    threads = torch.get_num_threads()
    return {"threads": threads, "precision": precision, "device": device.type, "ranks": ranks.of, **cut}


@dataclass(frozen=True)
class Advance:
    """Moves the weights by one batch; clip: the longest gradient.

    Errors: `RunError` where the loss, the gradient or, when asked, a weight is not finite: with the batch's rows and
    the last good checkpoint.
    """

    forth_and_back: Step
    rate: LambdaLR
    positives: Positives
    clip: float
    keeper: Keeper
    watch: Watch

    def __call__(self, step: int, prepared: Prepared) -> tuple[float, float]:
        """Make step `step` (from 1); return the loss and the gradient's norm."""
        moving = self.forth_and_back.moving
        outcome = self.forth_and_back(prepared)
        norm, loss = moving.clip(self.clip), outcome.loss.item()
        if not math.isfinite(loss + norm):
            raise self._failed(step, prepared, loss, norm)
        used = float(self.rate.get_last_lr()[0])
        moving.step()
        self.rate.step()
        self.forth_and_back.moved(prepared, outcome)
        self.watch.stepped(step, outcome, prepared.pairs, norm, used)
        return loss, norm

    def check(self, step: int, prepared: Prepared, loss: float, norm: float) -> None:
        """Look whether this step went too far, before the weights are kept or used."""
        if not self.forth_and_back.moving.finite():
            raise self._failed(step, prepared, loss, norm)

    def _failed(self, step: int, prepared: Prepared, loss: float, norm: float) -> RunError:
        return self.watch.failed(step, loss, norm, self._rows(prepared), self.keeper.last)

    def _rows(self, prepared: Prepared) -> list[Any]:
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
