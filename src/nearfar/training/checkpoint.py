"""Checkpoints of a run: written while it trains, read to resume it or to restore the best evaluation's weights."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from nearfar.compute.ranks import Ranks
from nearfar.errors import InputError
from nearfar.training.checkpoint_files import (
    NOT_WHOLE,
    Checkpoint,
    checkpoint_folder,
    delete_checkpoints,
    newest_checkpoint,
    prune_checkpoints,
    read_checkpoint,
    write_checkpoint,
)
from nearfar.training.settings import LOWER_IS_BETTER
from nearfar.training.state import TrainState, strip_prefix

LENGTH = ("epochs", "steps")  # settings that may grow where no number of a step depends on the run's length


class Checkpointer:
    """The checkpoints of one run, in `folder`.

    identity: settings and data that must be the same for the run to be resumed. machine: what may differ then, at the
    price of the last digits. keep: how many of the latest checkpoints stay, beside the best. may_grow: whether a
    resumed run may be longer than it was. started: when this part of the run began, by `time.perf_counter`.

    Only rank 0 reads and writes files, but every rank makes the same calls and has the same values. `memory` holds the
    plain values that a resumed run needs: the best evaluation, the best validation, the latest metrics, whether
    patience has run out, what the monitor compares with, the seconds so far. `artefacts` holds the tensors beside the
    weights that batches depend on: mined negatives.
    """

    def __init__(
        self,
        folder: Path,
        train_state: TrainState,
        identity: Mapping[str, Any],
        machine: Mapping[str, Any],
        keep: int,
        ranks: Ranks | None = None,
        *,
        may_grow: bool = False,
        started: float | None = None,
    ) -> None:
        self.may_grow, self.started = may_grow, time.perf_counter() if started is None else started
        self.seconds_before = 0.0  # of the parts that a resumed run had before, up to its checkpoint
        self.folder, self.train_state, self.keep, self.ranks = folder, train_state, keep, ranks or Ranks()
        self.identity, self.machine = dict(_flat(identity)), dict(machine)
        self.memory: dict[str, Any] = {"best": None, "selected": None, "metrics": {}, "stopped": False, "seconds": 0.0}
        self.artefacts: dict[str, Tensor] = {}
        self.last: int | None = None  # step of the last checkpoint

    @property
    def best(self) -> dict[str, Any] | None:
        """The best evaluation so far: {"step", "by", "value", "metrics"}."""
        best: dict[str, Any] | None = self.memory["best"]
        return best

    def begin(self, *, resume: bool) -> int:
        """Return the number of steps done: those of the newest whole checkpoint, which is restored, or 0.

        Without one to resume, whatever lies in the folder is deleted.

        Errors: `InputError` for a checkpoint of other data or settings, which it names, or where none is whole.
        """
        checkpoint = self._read_newest(resume=resume)
        if checkpoint is None:
            return 0
        self._refuse_other_run(checkpoint.state["identity"])
        for name, value in self.machine.items():
            before = checkpoint.state["machine"].get(name)
            if before != value and self.ranks.is_first:
                warnings.warn(
                    f"the run had {name} {before} and has {value} now: it goes on, but not to the same last digits",
                    stacklevel=3,
                )
        self.train_state.restore(checkpoint.tensors, self.ranks)
        self.artefacts = strip_prefix("artefact/", checkpoint.tensors)
        self.memory |= checkpoint.state["memory"]
        self.seconds_before = float(self.memory["seconds"])
        self.last = checkpoint.step
        return checkpoint.step

    def _read_newest(self, *, resume: bool) -> Checkpoint | None:
        """Return the checkpoint to resume, which rank 0 reads for all; where there is none, empty the folder."""
        of_first_rank: list[Checkpoint] = []

        def read() -> tuple[int, dict[str, Any]] | None:
            newest = newest_checkpoint(self.folder) if resume else None
            if newest is None:
                delete_checkpoints(self.folder)
                return None
            of_first_rank.append(newest)
            return newest.step, newest.state

        step_and_state = self.ranks.on_first_rank(read)
        if step_and_state is None:
            return None
        step, state = step_and_state
        tensors = self.ranks.broadcast_named(of_first_rank[0].tensors if of_first_rank else {})
        return Checkpoint(step, tensors, state)

    def _refuse_other_run(self, before: Mapping[str, Any]) -> None:
        """Refuse a checkpoint with another identity. Errors: `InputError`, which names what differs."""
        names = sorted(name for name in {*before, *self.identity} if before.get(name) != self.identity.get(name))
        other_parts = {name.split(".")[0] for name in names if name.endswith(".name")}  # their settings differ as well
        names = [name for name in names if name.split(".")[0] not in other_parts or name.endswith(".name")]
        lengths = [f"training.{name}" for name in LENGTH]
        grown = [name for name in names if name in lengths and self._has_grown(before)]
        if self.may_grow:
            names = [name for name in names if name not in grown]
        if names:
            advice = "give the same, or start anew with another --out"
            if names == grown:
                advice = (
                    "only a constant schedule without warmup may go on for longer, as each step so far would have been "
                    "another. Start from the model: nearfar train finetune encoder.model="
                    f"{self.folder.parent / 'model'} data.path=... --out OTHER"
                )
            changes = "; ".join(f"{name} was {before.get(name)!r} and is {self.identity.get(name)!r}" for name in names)
            raise InputError(f"{self.folder}: cannot resume, {changes}; {advice}")

    def _has_grown(self, before: Mapping[str, Any]) -> bool:
        """Return whether the run's length, which one of two settings says, is given as before, and is longer."""
        of = "training.epochs" if self.identity.get("training.steps") is None else "training.steps"
        was, now = before.get(of), self.identity.get(of)
        same_kind = (before.get("training.steps") is None) == (self.identity.get("training.steps") is None)
        return same_kind and was is not None and now is not None and now > was

    def record_evaluation(self, step: int, metrics: Mapping[str, float], by: str) -> bool:
        """Keep an evaluation's metrics; return whether it is the best so far by the metric `by`.

        It never is where that metric is missing or NaN.
        """
        self.memory["metrics"] = dict(metrics)
        value = metrics.get(by, math.nan)
        same = self.best is not None and self.best["by"] == by  # else the run was resumed under another metric
        sign = -1 if by in LOWER_IS_BETTER else 1
        if math.isnan(value) or (self.best is not None and same and sign * value <= sign * self.best["value"]):
            return False
        self.memory["best"] = {"step": step, "by": by, "value": value, "metrics": dict(metrics)}
        return True

    def seconds(self) -> float:
        """Return the seconds of all parts of the run so far; of an earlier one, up to the checkpoint that it left."""
        return self.seconds_before + time.perf_counter() - self.started

    def save(self, step: int) -> None:
        """Write the checkpoint of a step, and delete those that are no longer kept."""
        self.memory["seconds"] = self.seconds()
        random_states = self.train_state.random_states(self.ranks)
        self.ranks.on_first_rank(lambda: self._write(step, random_states))
        self.last = step

    def _write(self, step: int, random_states: Mapping[str, Tensor]) -> None:
        state = {
            "identity": self.identity,
            "machine": self.machine,
            "memory": self.memory,
            "versions": {name: version(name) for name in ("torch", "numpy", "nearfar")},
        }
        artefacts = {f"artefact/{name}": tensor for name, tensor in self.artefacts.items()}
        tensors = {**self.train_state.collect(), **random_states, **artefacts}
        write_checkpoint(self.folder, Checkpoint(step, tensors, state))
        found = (self.best, self.memory["selected"])
        prune_checkpoints(self.folder, step, self.keep, [one["step"] for one in found if one is not None])

    def restore_best(self) -> None:
        """Restore the weights and the metrics of the best evaluation."""
        if self.best is not None and self.restore_step(int(self.best["step"])):
            self.memory["metrics"] = self.best["metrics"]

    def restore_step(self, step: int) -> bool:
        """Restore the weights of a step whose checkpoint is kept; return whether the weights are that step's now."""
        if step == self.last:
            return True
        if not self.ranks.on_first_rank(lambda: self._restore_weights(step)):
            return False
        self.ranks.broadcast(self.train_state.module.state_dict().values())
        return True

    def _restore_weights(self, step: int) -> bool:
        """Restore the weights of a step; return false, with a warning, where its checkpoint is not whole."""
        place = checkpoint_folder(self.folder, step)
        try:
            self.train_state.restore_module(read_checkpoint(place).tensors)
        except NOT_WHOLE as error:
            warnings.warn(f"{place}, the best, is not whole ({error}): the last weights are kept", stacklevel=3)
            return False
        return True


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested settings under dotted names, with values as JSON reads them back."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, int | float | str | type(None)) else str(value)
