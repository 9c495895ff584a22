"""fit: the training loop, top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from nearfar import registry
from nearfar.contracts import Encoder, Loss, Positives
from nearfar.errors import InputError, Interrupted, RunError
from nearfar.fingerprint import fingerprint
from nearfar.folders import made
from nearfar.model import Model
from nearfar.training import hardware
from nearfar.training.interrupts import Interrupts
from nearfar.training.keeper import Keeper
from nearfar.training.optimizer import optimizer, schedule
from nearfar.training.sampler import Sampler
from nearfar.training.settings import Settings
from nearfar.training.step import Prepared, clamp, forward, prepare
from nearfar.training.watch import Watch

FREE = ("device", "checkpoint_every", "keep", "evaluate_every", "best", "patience", "monitor_every", "tensorboard")
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
    on from the newest whole checkpoint, to the same weights as if never stopped. settings: those of `Settings`.

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
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    optimiser = optimizer(parameters, chosen)
    sampler = Sampler(len(positives), chosen.batch_size, chosen.seed)
    steps = chosen.steps or sampler.steps(chosen.epochs)
    identity = _identity(encoder, positives, loss, chosen)
    keeper = Keeper(folder / "checkpoints", module, optimiser, parameters, identity, chosen.keep)
    first = keeper.resume() if resume else 0
    rate = schedule(optimiser, chosen, steps, first)
    watch = Watch(folder, chosen, steps, first, len(positives), sampler.batch_size, precision, quiet=quiet)

    def batch(step: int) -> Prepared:
        return prepare(positives, stores, sampler.batch(step))

    def judge(step: int) -> bool:
        """Evaluate; say whether to stop early."""
        if evaluate is None:
            return False
        metrics = dict(evaluate(Model(encoder)))
        watch.evaluated(step, metrics)
        if keeper.better(step, metrics.get(chosen.best)):
            keeper.save(step)
        late = keeper.best is not None and step - keeper.best["step"] >= chosen.patience * chosen.evaluate_every
        return chosen.patience > 0 and chosen.evaluate_every > 0 and late

    with watch, Interrupts() as signals, ThreadPoolExecutor(1) as ahead:  # the next batch is read during this step
        coming = ahead.submit(batch, first)
        step = first
        while step < steps:
            prepared = coming.result()
            coming = ahead.submit(batch, step + 1)
            outcome = forward(encoder, loss, positives, prepared, device, precision)
            outcome.loss.backward()
            norm = nn.utils.clip_grad_norm_(parameters.values(), chosen.clip or math.inf)
            if not math.isfinite(outcome.loss.item() + norm.item()):
                watch.note("failure", step=step + 1, examples=prepared.examples.tolist())
                raise _not_finite(step + 1, outcome.loss.item(), prepared, keeper)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            rate.step()
            clamp(loss)
            step += 1
            watch.stepped(step, outcome, prepared.pairs, norm.item(), rate.get_last_lr()[0])
            if signals.caught or step % chosen.checkpoint_every == 0:
                keeper.save(step)
            if signals.caught:
                watch.note("interrupted", step=step, signal=signals.caught)
                raise Interrupted(f"stopped by {signals.caught} at step {step} of {steps}; go on with --resume")
            if chosen.evaluate_every and step % chosen.evaluate_every == 0 and step < steps and judge(step):
                break
        if keeper.last != step:
            keeper.save(step)
        judge(step)
        model = Model(encoder, notes={"data": {"pairs": len(positives)}, **(notes or {})})
        model.save(folder / "model")
        seconds = time.perf_counter() - began
        watch.ended(seconds)
    peak = hardware.peak_memory_mb()
    return Run(model, watch.metrics, folder, watch.pairs_per_second, peak, seconds, watch.warnings)


def refuse_used(folder: Path, allowed: bool) -> None:
    """Refuse a folder in which a run lies, unless it is to be resumed or replaced."""
    if not allowed and (folder / "events.jsonl").exists():
        raise InputError(f"{folder}: a run lies there already; go on with --resume, or choose another --out")


def _identity(encoder: Encoder, positives: Positives, loss: Loss, settings: Settings) -> dict[str, Any]:
    """What must be the same for a run to be resumed."""
    space = {name: fingerprint(value) for name, value in encoder.identity() if not isinstance(value, np.ndarray)}
    training = {key: value for key, value in asdict(settings).items() if key not in FREE}
    losses = {key: value for key, value in vars(loss).items() if isinstance(value, int | float | str) and key != "training"}
    return {
        "training": training,
        "data": positives.fingerprint,
        "encoder": {"name": registry.name_of(type(encoder)), **encoder.settings(), **space},
        "loss": {"name": registry.name_of(type(loss)), **losses},
    }


def _not_finite(step: int, loss: float, prepared: Prepared, keeper: Keeper) -> RunError:
    rows = ", ".join(str(example + 1) for example in prepared.examples[:8])
    good = f"the last good checkpoint is step {keeper.last}" if keeper.last is not None else "no checkpoint yet"
    what = f"loss is {loss}" if not math.isfinite(loss) else "the gradient is not finite"
    return RunError(
        f"step {step}: {what}; the batch's examples are {rows}, ... (all in events.jsonl); {good}; try a lower "
        "learning_rate, or training.precision=fp32"
    )
