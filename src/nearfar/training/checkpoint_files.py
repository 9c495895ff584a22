"""The folder of a run's checkpoints: each written as a whole, with checksums, and passed over where it is damaged."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from nearfar.errors import InputError
from nearfar.storage.folders import write_folder_atomically
from nearfar.storage.weights import in_memory, write_weights

TENSORS, STATE = "state.safetensors", "state.json"
FILES = (TENSORS, STATE)
NOT_WHOLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError)  # of reading


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on after `step`: tensors by name, and plain values for JSON."""

    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write folder/step-000500 atomically; return it. Errors: `RunError` where it cannot be written."""
    place = checkpoint_folder(folder, checkpoint.step)
    with write_folder_atomically(place) as temporary:
        write_weights(temporary / TENSORS, checkpoint.tensors)
        (temporary / STATE).write_text(json.dumps({"step": checkpoint.step, **checkpoint.state}), encoding="utf-8")
        manifest = {name: _checksum(temporary / name) for name in FILES}
        (temporary / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return place


def read_checkpoint(place: Path) -> Checkpoint:
    """Return the checkpoint in a folder. Errors: those of `NOT_WHOLE`."""
    manifest, state = (json.loads((place / name).read_text(encoding="utf-8")) for name in ("manifest.json", STATE))
    if wrong := [name for name in FILES if _checksum(place / name) != manifest[name]]:
        raise ValueError(f"{wrong[0]} does not match its sum")
    if (step := int(state.pop("step"))) != _step(place):
        raise ValueError(f"{STATE} is of step {step}")
    return Checkpoint(step, in_memory(place / TENSORS), state)


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the newest whole checkpoint, after a warning for each newer one that is not; None for an empty folder.

    Errors: `InputError` where there are some and none is whole.
    """
    broken = []
    for place in reversed(checkpoint_folders(folder)):
        try:
            return read_checkpoint(place)
        except NOT_WHOLE as error:
            broken.append(place.name)
            warnings.warn(f"{place} is not whole ({error}) and is passed over", stacklevel=2)
    if broken:
        raise InputError(
            f"{folder}: no checkpoint is whole ({', '.join(broken)}); start again without --resume, or restore a copy"
        )
    return None


def checkpoint_folder(folder: Path, step: int) -> Path:
    """Return the folder of a step's checkpoint."""
    return folder / f"step-{step:06d}"


def checkpoint_folders(folder: Path) -> list[Path]:
    """Return the folders of all checkpoints, oldest first."""
    found = [place for place in folder.glob("step-*") if place.name[5:].isdigit()]
    return sorted(found, key=_step)


def prune_checkpoints(folder: Path, step: int, keep: int, best: Collection[int]) -> None:
    """Keep the last `keep` checkpoints up to `step`, and those of `best`; delete the others and half-written ones.

    Later ones than `step` are of a run that lay here before, or were broken when this one was resumed: they must not
    count among the last.
    """
    places = checkpoint_folders(folder)
    last = [place for place in places if _step(place) <= step][-keep:]
    for place in places:
        if place not in last and _step(place) not in best:
            shutil.rmtree(place, ignore_errors=True)
    for half_written in folder.glob(".step-*"):
        shutil.rmtree(half_written, ignore_errors=True)


def delete_checkpoints(folder: Path) -> None:
    """Delete all checkpoints: a new run begins here."""
    for place in (*checkpoint_folders(folder), *folder.glob(".step-*")):
        shutil.rmtree(place, ignore_errors=True)


def _step(place: Path) -> int:
    return int(place.name[5:])


def _checksum(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}
