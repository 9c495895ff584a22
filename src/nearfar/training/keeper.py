"""The keeper: writes a run's checkpoints, knows the best, and brings a stopped run back."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nearfar.errors import InputError
from nearfar.training import checkpoint
from nearfar.training.checkpoint import Checkpoint
from nearfar.training.optimizer import Named
from nearfar.training.state import collect, restore


class Keeper:
    """Checkpoints of one run in `folder`; `identity` is what must be the same for a run to be resumed."""

    def __init__(
        self,
        folder: Path,
        module: nn.Module,
        optimiser: torch.optim.Optimizer,
        parameters: Named,
        identity: Mapping[str, Any],
        keep: int,
    ) -> None:
        self.folder, self.keep = folder, keep
        self.module, self.optimiser, self.parameters = module, optimiser, parameters
        self.identity = dict(_flat(identity))
        self.best: dict[str, Any] | None = None  # {"step", "value"} of the best evaluation so far
        self.last: int | None = None

    def save(self, step: int) -> Path:
        """Write the checkpoint of a step, drop those no longer wanted."""
        state = {
            "identity": self.identity,
            "best": self.best,
            "threads": torch.get_num_threads(),
            "versions": {name: version(name) for name in ("torch", "numpy", "nearfar")},
        }
        tensors = collect(self.module, self.optimiser, self.parameters)
        place = checkpoint.save(self.folder, Checkpoint(step, tensors, state))
        checkpoint.prune(self.folder, self.keep, None if self.best is None else self.best["step"])
        self.last = step
        return place

    def resume(self) -> int:
        """Restore the newest whole checkpoint and return its step; 0, untouched, where none was ever written.

        Errors: `InputError` where it belongs to other data or settings, by name, or where none is whole.
        """
        found = checkpoint.newest(self.folder)
        if found is None:
            return 0
        before = found.state["identity"]
        for name in sorted({*before, *self.identity}):
            if before.get(name) != self.identity.get(name):
                raise InputError(
                    f"{self.folder}: cannot resume, {name} was {before.get(name)!r} and is {self.identity.get(name)!r}; "
                    "give the same, or start a new run with another --out"
                )
        if found.state["threads"] != torch.get_num_threads():
            warnings.warn(
                f"the run had {found.state['threads']} threads and has {torch.get_num_threads()} now: it goes on, but "
                "not to the same last digits",
                stacklevel=2,
            )
        restore(self.module, self.optimiser, self.parameters, found.tensors)
        self.best, self.last = found.state["best"], found.step
        return found.step

    def better(self, step: int, value: float | None) -> bool:
        """Note an evaluation; say whether it is the best so far."""
        if value is None or (self.best is not None and value <= self.best["value"]):
            return False
        self.best = {"step": step, "value": value}
        return True


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested settings under dotted names, as JSON will give them back."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, int | float | str | type(None)) else str(value)
