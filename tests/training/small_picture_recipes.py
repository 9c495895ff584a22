"""The recipes of pictures that ship, made small: a tiny network and heads, on a folder of a few pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

import nearfar as nf
from nearfar import recipes
from nearfar.experiment import Experiment

NETWORK: dict[str, Any] = {"widths": [8, 8, 16]}
SMALL: dict[str, Any] = {"data.heldout": 0.2, "encoder.size": 32, "encoder.model_args": NETWORK}
SETTINGS: dict[str, Any] = {"batch_size": 16, "epochs": 8, "checkpoint_every": 4, "precision": "fp32", "device": "cpu"}
QUEUE = 40  # keys, not a multiple of the batch


def write_pictures(folder: Path, n: int = 48) -> Path:
    """Write n pictures of 32 pixels, of a colour and stripes each, in two folders of classes."""
    from PIL import Image

    draw = np.random.default_rng(0)
    for i in range(n):
        colour, other = draw.integers(0, 256, (2, 1, 1, 3))
        waves = np.sin(np.arange(32) * draw.uniform(0.2, 1.5))[:, None, None]  # (32, 1, 1)
        cells = np.broadcast_to(np.where(waves > 0, colour, other), (32, 32, 3))
        cells = cells if i % 2 else cells.transpose(1, 0, 2)
        place = folder / ("lying" if i % 2 else "standing")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(cells.astype(np.uint8)).save(place / f"{i}.png")
    return folder


def small_settings(recipe: str, pictures: Path, **more: Any) -> dict[str, Any]:
    """Return the settings by path that make a recipe small. more: settings of `training`."""
    known = recipes.load(recipe)
    settings = {**SMALL, "data.path": str(pictures)}
    for head in known.get("heads", {}):
        settings[f"heads.{head}.sizes"] = [24, 12]
    if known["loss"]["name"] == "cluster_swap":
        settings["loss.clusters"] = 10
    if "queue" in known["training"]:
        settings["training.queue"] = QUEUE
    return settings | {f"training.{name}": value for name, value in {**SETTINGS, **more}.items()}


def train(
    recipe: str,
    pictures: Path,
    out: Path,
    *,
    resume: bool = False,
    changes: Mapping[str, Any] | None = None,
    **more: Any,
) -> Experiment | None:
    """Train a recipe made small. changes: settings by path; more: settings of `training`."""
    settings = {**small_settings(recipe, pictures, **more), **(changes or {})}
    found: Experiment | None = nf.train(recipe, settings, out=out, baselines=[], quiet=True, resume=resume)
    return found


def state(run: Path) -> dict[str, Tensor]:
    """Return all tensors of a run's last checkpoint: weights, statistics, queue, copies, the optimiser's, random."""
    newest = max((run / "checkpoints").iterdir(), key=lambda path: path.name)
    return load_file(newest / "state.safetensors")


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    """Return the names of the tensors that are not the same bits, or that one of the two lacks."""
    names = sorted(one.keys() | other.keys())
    return [n for n in names if n not in one or n not in other or not torch.equal(one[n], other[n])]
