"""fit: the training loop, top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from nearfar import registry
from nearfar.contracts import Encoder, Loss, Positives
from nearfar.errors import InputError, Interrupted, nearest
from nearfar.folders import made
from nearfar.model import Model
from nearfar.training import hardware
from nearfar.training.ahead import ahead
from nearfar.training.identity import run_identity
from nearfar.training.interrupts import Interrupts
from nearfar.training.keeper import Keeper
from nearfar.training.optimizer import schedule
from nearfar.training.sampler import Sampler
from nearfar.training.settings import Settings
from nearfar.training.state import Moving
from nearfar.training.step import Prepared, clamp, forward, prepare
from nearfar.training.watch import Start, Watch

Evaluate = Callable[[Model], Mapping[str, float]]


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
    positives: Positives,
    loss: Loss,
    *,
    out: str | Path,
    evaluate: Evaluate | None = None,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    notes: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Run:
    """Train an encoder to pull positives together and push negatives apart; write everything under `out`.

    evaluate: called with the model as it is, every `evaluate_every` steps and at the end; returns metrics. resume: go
    on from the newest whole checkpoint, to the same weights as if never stopped. overwrite: an older run in `out` goes.
    settings: those of `Settings`.

    Errors: `InputError` for settings, a used folder, or a checkpoint of another run; `RunError` for a loss that is not
    finite (the batch's rows and the last good checkpoint are named) or a full disk; `Interrupted` after a signal, with
    a checkpoint written.

    Example: `run = nf.fit(nf.encoders.Static(), faq, nf.losses.InfoNCE(), out="runs/a", epochs=3)`
    """
    began = time.perf_counter()
    chosen = Settings(**registry.coerce(Settings, settings, "training"))
    folder = made(Path(out))
    refuse_used(folder, resume or overwrite)
    encoder.prepare(list(positives.views.values()))
    stores = {view: encoder.store(column) for view, column in positives.views.items()}
    device = hardware.device(chosen.device)
    precision = hardware.precision(chosen.precision, device)
    torch.manual_seed(chosen.seed)
    module = nn.ModuleDict({"encoder": cast("nn.Module", encoder), "loss": cast("nn.Module", loss)}).to(device).train()
    moving = Moving.of(module, chosen)
    sampler = Sampler(len(positives), chosen.batch_size, chosen.seed)
    steps = chosen.steps or sampler.steps(chosen.epochs)
    machine = {"threads": torch.get_num_threads(), "precision": precision, "device": device.type}
    identity = run_identity(encoder, positives, loss, chosen)
    keeper = Keeper(folder / "checkpoints", moving, identity, machine, chosen.keep)
    first = keeper.begin(resume=resume)
    rate = schedule(moving.optimiser, chosen, steps, first)
    start = Start(steps, first, len(positives), sampler.batch_size, precision, torch.get_num_threads())
    watch = Watch(folder, chosen, start, keeper.memory, quiet=quiet)

    def read(step: int) -> Prepared:
        return prepare(positives, stores, sampler.batch(step))

    def rows(prepared: Prepared) -> list[int]:
        told = zip(prepared.examples.tolist(), positives.describe(prepared.examples), strict=True)
        return [int(facts.get("row", example + 1)) for example, facts in told]

    def judge(step: int) -> bool:
        """Evaluate, where it is due; say whether this is the best so far."""
        if evaluate is None or not (_due(step, chosen.evaluate_every) or step == steps):
            return False
        metrics = {name: float(value) for name, value in evaluate(Model(encoder)).items()}
        watch.note("evaluate", step=step, metrics=metrics)
        watch.warn(step, _unknown_best(chosen, metrics))
        best = keeper.judged(step, metrics, chosen.best)
        late = keeper.best is not None and step - keeper.best["step"] >= chosen.patience * chosen.evaluate_every
        keeper.memory["stopped"] = chosen.patience > 0 and late
        return best

    last = first if keeper.memory["stopped"] and chosen.patience else steps
    with watch, Interrupts() as signals, closing(ahead(read, first, last)) as batches:
        for step, prepared in enumerate(batches, first + 1):
            outcome = forward(encoder, loss, positives, prepared, device, precision)
            torch.autograd.backward(outcome.loss)
            norm = moving.clip(chosen.clip)
            if not math.isfinite(outcome.loss.item() + norm):
                raise watch.failed(step, outcome.loss.item(), norm, rows(prepared), keeper.last)
            used = rate.get_last_lr()[0]
            moving.step()
            rate.step()
            clamp(loss)
            watch.stepped(step, outcome, prepared.pairs, norm, float(used))
            caught = signals.caught  # looked at once a step: one from here on stops the next, with a checkpoint
            keep = caught is not None or step == steps or _due(step, chosen.checkpoint_every)
            if (keep or _due(step, chosen.evaluate_every)) and not moving.finite():  # this step went too far
                raise watch.failed(step, outcome.loss.item(), norm, rows(prepared), keeper.last)
            if judge(step) or keep or keeper.memory["stopped"]:
                keeper.save(step)  # after judging, so that a resumed run knows what was found
            if caught is not None:
                watch.note("interrupted", step=step, signal=caught)
                raise Interrupted(f"stopped by {caught} at step {step} of {steps}; go on with --resume")
            if keeper.memory["stopped"]:
                break
        if chosen.patience:
            keeper.restore_best()
        model = Model(encoder, notes={"data": {"pairs": len(positives)}, **(notes or {})})
        model.save(folder / "model")
        seconds = time.perf_counter() - began
        watch.ended(seconds)
    peak = hardware.peak_memory_mb()
    return Run(model, keeper.memory["metrics"], folder, watch.pairs_per_second, peak, seconds, watch.warnings)


def refuse_used(folder: Path, allowed: bool) -> None:
    """Refuse a folder in which a run lies, unless it is to be resumed or replaced."""
    if not allowed and (folder / "events.jsonl").exists():
        raise InputError(f"{folder}: a run lies there already; go on with --resume, or choose another --out")


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _unknown_best(settings: Settings, metrics: Mapping[str, float]) -> str | None:
    """Say that the best cannot be known, if it matters."""
    if settings.best in metrics or not settings.evaluate_every:
        return None
    message = f"training.best: no metric {settings.best!r}; {nearest(settings.best, metrics)}"
    if settings.patience:
        raise InputError(message)
    return f"{message}; no checkpoint is kept as the best"
