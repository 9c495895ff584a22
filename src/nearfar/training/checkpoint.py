"""The checkpointer: writes a run's checkpoints, knows the best, and brings a stopped run back."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from nearfar.compute.ranks import Ranks
from nearfar.errors import InputError
from nearfar.storage.folders import folder_aside, made
from nearfar.storage.weights import write_weights
from nearfar.training.settings import LOWER_IS_BETTER
from nearfar.training.state import TrainState, under

FILES = ("state.safetensors", "state.json")


class Checkpointer:
    """Checkpoints of one run in `folder`.

    identity: what must be the same for a run to be resumed; machine: what may differ, at the price of the last digits.
    Rank 0 alone touches the disk; every rank makes the same calls and knows the same. `memory` holds the plain values
    that outlive a stop: the best evaluation, the last one, whether patience has run out, what the monitor compares
    with. `artefacts` holds the tensors beside the weights that batches depend on: mined negatives.
    """

    def __init__(
        self,
        folder: Path,
        train_state: TrainState,
        identity: Mapping[str, Any],
        machine: Mapping[str, Any],
        keep: int,
        ranks: Ranks | None = None,
    ) -> None:
        self.folder, self.train_state, self.keep, self.ranks = folder, train_state, keep, ranks or Ranks()
        self.identity, self.machine = dict(_flat(identity)), dict(machine)
        self.memory: dict[str, Any] = {"best": None, "metrics": {}, "stopped": False}
        self.artefacts: dict[str, Tensor] = {}
        self.last: int | None = None

    @property
    def best(self) -> dict[str, Any] | None:
        """The best evaluation so far: {"step", "by", "value", "metrics"}."""
        best: dict[str, Any] | None = self.memory["best"]
        return best

    def save(self, step: int) -> None:
        """Write the checkpoint of a step, drop those no longer wanted."""
        random = self.train_state.random_states(self.ranks)
        self.ranks.lead(lambda: self._write(step, random))
        self.last = step

    def _write(self, step: int, random: Mapping[str, Tensor]) -> None:
        state = {
            "identity": self.identity,
            "machine": self.machine,
            "memory": self.memory,
            "versions": {name: version(name) for name in ("torch", "numpy", "nearfar")},
        }
        artefacts = {f"artefact/{name}": tensor for name, tensor in self.artefacts.items()}
        save(self.folder, Checkpoint(step, {**self.train_state.collect(), **random, **artefacts}, state))
        prune(self.folder, step, self.keep, None if self.best is None else self.best["step"])

    def begin(self, *, resume: bool) -> int:
        """Return the step to begin at: 0, with an older run's checkpoints deleted, or where the newest whole one is.

        Errors: `InputError` where it belongs to other data or settings, by name, or where none is whole.
        """
        found = self._found(resume=resume)
        if found is None:
            return 0
        self._refuse_others(found.state["identity"])
        for name, value in self.machine.items():
            before = found.state["machine"].get(name)
            if before != value and self.ranks.first:
                warnings.warn(
                    f"the run had {name} {before} and has {value} now: it goes on, but not to the same last digits",
                    stacklevel=3,
                )
        self.train_state.restore(found.tensors, self.ranks)
        self.artefacts = under("artefact/", found.tensors)
        self.memory |= found.state["memory"]
        self.last = found.step
        return found.step

    def _found(self, *, resume: bool) -> Checkpoint | None:
        """Return the checkpoint to go on from, which rank 0 reads for all; without one, the place is cleared."""
        read: list[Checkpoint] = []

        def look() -> tuple[int, dict[str, Any]] | None:
            found = newest(self.folder) if resume else None
            if found is None:
                clear(self.folder)
                return None
            read.append(found)
            return found.step, found.state

        known = self.ranks.lead(look)
        return known and Checkpoint(known[0], self.ranks.spread(read[0].tensors if read else {}), known[1])

    def _refuse_others(self, before: Mapping[str, Any]) -> None:
        names = sorted(name for name in {*before, *self.identity} if before.get(name) != self.identity.get(name))
        others = {name.split(".")[0] for name in names if name.endswith(".name")}  # another part: its settings follow
        names = [name for name in names if name.split(".")[0] not in others or name.endswith(".name")]
        if names:
            told = "; ".join(f"{name} was {before.get(name)!r} and is {self.identity.get(name)!r}" for name in names)
            raise InputError(f"{self.folder}: cannot resume, {told}; give the same, or start anew with another --out")

    def judged(self, step: int, metrics: Mapping[str, float], by: str) -> bool:
        """Note an evaluation; say whether it is the best so far. A metric that is missing or no number never is."""
        self.memory["metrics"] = dict(metrics)
        value = metrics.get(by, math.nan)
        same = self.best is not None and self.best["by"] == by  # else the run was resumed under another metric
        sign = -1 if by in LOWER_IS_BETTER else 1
        if math.isnan(value) or (self.best is not None and same and sign * value <= sign * self.best["value"]):
            return False
        self.memory["best"] = {"step": step, "by": by, "value": value, "metrics": dict(metrics)}
        return True

    def restore_best(self) -> None:
        """Put back the weights and the metrics of the best evaluation."""
        if self.best is None or self.best["step"] == self.last:
            return
        step = int(self.best["step"])
        if self.ranks.lead(lambda: self._restored(step)):
            self.ranks.broadcast(self.train_state.module.state_dict().values())
            self.memory["metrics"] = self.best["metrics"]

    def _restored(self, step: int) -> bool:
        place = self.folder / f"step-{step:06d}"
        try:
            self.train_state.restore_module(load(place).tensors)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            warnings.warn(f"{place}, the best, is not whole ({error}): the last weights are kept", stacklevel=3)
            return False
        return True


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested settings under dotted names, as JSON will give them back."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, int | float | str | type(None)) else str(value)


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on: tensors by name, and plain values."""

    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write folder/step-000500. Errors: `RunError` where it cannot be written; then nothing half-written stays."""
    place = made(folder) / f"step-{checkpoint.step:06d}"
    with folder_aside(place) as aside:
        write_weights(aside / FILES[0], checkpoint.tensors)
        (aside / FILES[1]).write_text(json.dumps({"step": checkpoint.step, **checkpoint.state}), encoding="utf-8")
        manifest = {name: _sum(aside / name) for name in FILES}
        (aside / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return place


def newest(folder: Path) -> Checkpoint | None:
    """Return the newest whole checkpoint, passing over broken ones with a warning; None where none was ever written.

    Errors: `InputError` where there are some and none is whole.
    """
    broken = []
    for place in reversed(steps(folder)):
        try:
            return load(place)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            broken.append(place.name)
            warnings.warn(f"{place} is not whole ({error}) and is passed over", stacklevel=2)
    if broken:
        raise InputError(
            f"{folder}: no checkpoint is whole ({', '.join(broken)}); start again without --resume, or restore a copy"
        )
    return None


def load(place: Path) -> Checkpoint:
    """Read one checkpoint after checking its sums. Errors: `ValueError` or `OSError` where it is not whole."""
    manifest = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
    for name in FILES:
        if _sum(place / name) != manifest[name]:
            raise ValueError(f"{name} does not match its sum")
    state = json.loads((place / FILES[1]).read_text(encoding="utf-8"))
    return Checkpoint(int(state.pop("step")), load_file(place / FILES[0]), state)


def steps(folder: Path) -> list[Path]:
    """Return the checkpoints' folders, oldest first."""
    found = [place for place in folder.glob("step-*") if place.name[5:].isdigit()]
    return sorted(found, key=_step)


def prune(folder: Path, now: int, keep: int, best: int | None) -> None:
    """Keep the last `keep` checkpoints up to step `now`, and the best; delete the others and what a crash left.

    Later ones than `now` are of a run that lay here before, or broken and passed over: they must not count as the last.
    """
    found = steps(folder)
    last = [place for place in found if _step(place) <= now][-keep:]
    for place in found:
        if place not in last and _step(place) != best:
            shutil.rmtree(place, ignore_errors=True)
    for left in folder.glob(".step-*"):
        shutil.rmtree(left, ignore_errors=True)


def clear(folder: Path) -> None:
    """Delete all checkpoints: a new run begins here."""
    for place in (*steps(folder), *folder.glob(".step-*")):
        shutil.rmtree(place, ignore_errors=True)


def _step(place: Path) -> int:
    return int(place.name[5:])


def _sum(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}
