"""Checkpoints: whole or not there. Written aside, synced, summed, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from nearfar.errors import InputError
from nearfar.folders import made, sync_folder, writing
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
    place = folder / f"step-{checkpoint.step:06d}"
    made(folder)
    with writing(place):
        aside = Path(tempfile.mkdtemp(dir=folder, prefix=".writing-"))
        try:
            _write_files(aside, checkpoint)
            os.chmod(aside, 0o755)
            shutil.rmtree(place, ignore_errors=True)
            os.replace(aside, place)
            sync_folder(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return place


def _write_files(folder: Path, checkpoint: Checkpoint) -> None:
    write_weights(folder / FILES[0], checkpoint.tensors)
    (folder / FILES[1]).write_text(json.dumps({"step": checkpoint.step, **checkpoint.state}), encoding="utf-8")
    sums = {name: {"sha256": _sum(folder / name), "bytes": (folder / name).stat().st_size} for name in FILES}
    (folder / "manifest.json").write_text(json.dumps(sums), encoding="utf-8")
    for name in (*FILES, "manifest.json"):
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(folder)


def newest(folder: Path) -> Checkpoint | None:
    """Return the newest whole checkpoint, passing over broken ones with a warning; None where none was ever written.

    Errors: `InputError` where there are some and none is whole.
    """
    places = steps(folder)
    broken = []
    for place in reversed(places):
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
    sums = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
    for name in FILES:
        if _sum(place / name) != sums[name]["sha256"]:
            raise ValueError(f"{name} does not match its sum")
    state = json.loads((place / FILES[1]).read_text(encoding="utf-8"))
    return Checkpoint(int(state.pop("step")), load_file(place / FILES[0]), state)


def steps(folder: Path) -> list[Path]:
    """Return the checkpoints' folders, oldest first."""
    found = [place for place in folder.glob("step-*") if place.name[5:].isdigit()]
    return sorted(found, key=lambda place: int(place.name[5:]))


def prune(folder: Path, keep: int, best: int | None) -> None:
    """Delete all but the last `keep` checkpoints and the best, and what a crash left half-written."""
    for place in steps(folder)[:-keep]:
        if best is None or int(place.name[5:]) != best:
            shutil.rmtree(place, ignore_errors=True)
    for left in folder.glob(".writing-*"):
        shutil.rmtree(left, ignore_errors=True)


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
