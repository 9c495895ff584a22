"""Checkpoints: whole or not there. Written aside, synced, summed, then renamed."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from nearfar.errors import InputError
from nearfar.folders import folder_aside, made
from nearfar.weights import write_weights

FILES = ("state.safetensors", "state.json")


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
