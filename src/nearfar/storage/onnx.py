"""A model for other runtimes: ONNX."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from nearfar.contracts import Encoder
from nearfar.errors import InputError, RunError
from nearfar.storage.folders import folder_aside, made, write_text

OPSET = 18
EXAMPLE = (3, 11)  # texts and tokens of the trace; both may be others, from one on
TOLERANCE = 1e-4  # of unit vectors, ONNX Runtime's against torch's
ONE_FILE = 1_900_000_000  # bytes; protobuf holds less than 2 GiB, larger weights lie beside the graph
NEEDED = ("onnx", "onnxruntime", "onnxscript")


def export_onnx(encoder: Encoder, folder: Path, told: Mapping[str, Any]) -> Path:
    """Write an encoder as model.onnx: (input_ids, attention_mask), right-padded (n, l) -> sentence_embedding (n, dim).

    The vectors are pooled and of unit length. Beside the graph lie tokenizer.json, which cuts texts to the maximum
    length, and onnx.json, which says what else a text needs (`told`). Of two towers each has a folder: query, key.

    Errors: `InputError` where the extra `onnx` is missing, for an encoder without such a form, and for a folder that
    holds other things; `RunError` where ONNX Runtime gives other vectors than the model.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(f"export: {', '.join(missing)} is not installed; pip install 'nearfar[onnx]'")
    towers: dict[str, Any] = getattr(encoder, "towers", {"": encoder})
    for tower in towers.values():
        if not hasattr(tower, "portable"):
            raise InputError(
                f"export: {type(tower).__name__} has no form in ONNX; known: static, transformer, frozen_projection"
            )
    made(folder.parent)
    _refuse_others(folder)
    with folder_aside(folder) as aside:
        for role, tower in towers.items():
            place = aside / role
            place.mkdir(exist_ok=True)
            _write(tower, place)
        write_text(aside / "onnx.json", json.dumps(dict(told), indent=2, ensure_ascii=False) + "\n")
    return folder


def _refuse_others(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: a file stands where the ONNX folder is to be; choose another place")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "onnx.json").is_file():
        raise InputError(f"{folder}: holds other things than an export, which it would delete; choose another place")


class _Unit(nn.Module):
    """A padded encoder onto the sphere."""

    def __init__(self, padded: nn.Module) -> None:
        super().__init__()
        self.padded = padded

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return normalize(self.padded(input_ids, attention_mask), dim=1)  # (n, dim)


def _write(tower: Any, folder: Path) -> None:
    padded, tokenizer, longest = tower.portable()
    graph = _Unit(padded).eval()
    n, length = EXAMPLE[0], min(EXAMPLE[1], longest)
    mask = torch.arange(length) < torch.tensor([length, max(1, length - 4), max(1, length // 3)])[:n, None]  # (n, l)
    given = (torch.ones(mask.shape, dtype=torch.int64), mask.long())
    any_size = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    size = sum(p.numel() * p.element_size() for p in graph.parameters())
    with _quiet():
        program: Any = torch.onnx.export(
            graph,
            given,
            dynamo=True,
            opset_version=OPSET,
            input_names=["input_ids", "attention_mask"],
            output_names=["sentence_embedding"],
            dynamic_shapes=(any_size, any_size),
            verbose=False,
        )
        program.save(folder / "model.onnx", external_data=size > ONE_FILE)
    write_text(folder / "tokenizer.json", tokenizer)
    _check(graph, folder / "model.onnx", longest)


@torch.no_grad()
def _check(graph: nn.Module, path: Path, longest: int) -> None:
    """Compare ONNX Runtime's vectors with torch's, of other sizes than the trace's."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for n, length in ((1, 1), (2, 5), (5, min(40, longest))):
        sizes = torch.arange(length, 0, -1)[:n]
        sizes = torch.cat([sizes, sizes.new_ones(n - len(sizes))])
        mask = (torch.arange(length) < sizes[:, None]).long()  # (n, l)
        ids = torch.arange(n * length).reshape(n, length) % 7 + 1
        (found,) = session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
        gap = float(np.abs(found - graph(ids, mask).numpy()).max())
        if not gap <= TOLERANCE:
            raise RunError(
                f"export: ONNX Runtime's vectors differ from the model's by {gap:.2g}; this kind of model cannot be "
                "exported with the installed torch and onnx; try other releases of them"
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and deprecations away: what matters is compared afterwards."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
