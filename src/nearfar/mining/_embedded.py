"""Vectors of distinct contents, from the disk's cache where this very model has embedded them before."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from nearfar.errors import InputError
from nearfar.fingerprint import fingerprint
from nearfar.folders import cache_folder, folder_aside, writing
from nearfar.mining._texts import Distinct

Vectors = npt.NDArray[np.float32]
SLICE = 10_000


def anew(model: Any, contents: Distinct, role: Literal["query", "key"]) -> Vectors:
    """Return the vectors (n, d) of contents in one role; the disk keeps none of them."""
    vectors, done = np.empty((len(contents), 0), np.float32), 0
    for part in _slices(model, contents, role):
        if not done:
            vectors = np.empty((len(contents), part.shape[1]), np.float32)
        vectors[done : done + len(part)] = part
        done += len(part)
    return vectors


def embedded(model: Any, contents: Distinct, role: Literal["query", "key"]) -> Vectors:
    """Return the vectors (n, d) of contents in one role, memory-mapped.

    They are kept under the fingerprints of the model (its weights, tokenizer, prompts) and of the contents, so a model
    that was trained further never gets those of an older one. A model without a fingerprint is asked each time.
    """
    if not hasattr(model, "fingerprint"):
        return anew(model, contents, role)
    folder = cache_folder("vectors") / fingerprint("vectors 2", model.fingerprint, role, _rough(model), contents.ids)
    shape = (len(contents), int(model.dim))
    with suppress(OSError, ValueError):
        return _read(folder, shape)
    with folder_aside(folder, again=folder.exists()) as aside:  # there, it is cut off
        path = aside / "vectors"
        with writing(path), path.open("wb") as file:
            for part in _slices(model, contents, role):
                file.write(np.ascontiguousarray(part, "<f4").data)
    return _read(folder, shape)


def _rough(model: Any) -> bool:
    """Say whether vectors are computed in bf16: they differ in the third digit."""
    return bool(getattr(model, "bf16", False)) or torch.is_autocast_enabled("cpu")


def _read(folder: Path, shape: tuple[int, int]) -> Vectors:
    path = folder / "vectors"
    if path.stat().st_size != shape[0] * shape[1] * 4:
        raise OSError("cut off")
    os.utime(path)  # the last use, for whoever clears the cache by age
    # "c": writeable as torch wants its arrays, though nothing is ever written back
    return np.memmap(path, "<f4", "c", shape=shape)


def _slices(model: Any, contents: Distinct, role: Literal["query", "key"]) -> Any:
    for start in range(0, len(contents), SLICE):
        places = np.arange(start, min(start + SLICE, len(contents)))
        vectors = np.asarray(model.embed(contents.texts(places), role=role), np.float32)
        if vectors.ndim != 2 or len(vectors) != len(places):
            raise InputError(f"the model's embed returned {vectors.shape} for {len(places)} texts; (n, d) is due")
        yield vectors
