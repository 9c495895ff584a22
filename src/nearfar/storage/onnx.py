"""Export of a model to ONNX, for runtimes without torch."""

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

from nearfar.abilities import HasPaddedForm, towers_of
from nearfar.contracts import Encoder
from nearfar.errors import InputError, RunError
from nearfar.storage.folders import write_folder_atomically, write_text

OPSET = 18
TRACE_SHAPE = (3, 11)  # texts and tokens of the trace; the graph takes any sizes from 1
TOLERANCE = 1e-4  # largest absolute difference of a coordinate between ONNX Runtime's and torch's unit vectors
MAX_PROTOBUF = 1_900_000_000  # bytes; protobuf holds less than 2 GiB, so larger weights get a file beside the graph
REQUIRED_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def export_onnx(encoder: Encoder, folder: Path, description: Mapping[str, Any]) -> Path:
    """Write an encoder as model.onnx: (input_ids, attention_mask), right-padded (n, l) -> sentence_embedding (n, dim).

    The vectors are pooled and of unit length. Beside the graph are tokenizer.json, which cuts texts to the maximum
    length, and onnx.json with the `description` (the model's prompts, dimension and fingerprint). Two towers get a
    folder each: query and key.

    Errors: `InputError` where the extra `onnx` is missing, for an encoder that cannot be exported, and for a folder
    that holds other things; `RunError` where ONNX Runtime gives other vectors than the model.
    """
    missing = [name for name in REQUIRED_PACKAGES if find_spec(name) is None]
    if missing:
        raise InputError(f"export: {', '.join(missing)} is not installed; pip install 'nearfar[onnx]'")
    towers: dict[str, HasPaddedForm] = {}
    for role, each in (towers_of(encoder) or {"": encoder}).items():
        if not isinstance(each, HasPaddedForm):
            raise InputError(
                f"export: {type(each).__name__} has no form in ONNX; known: static, transformer, frozen_projection"
            )
        towers[role] = each
    _check_target(folder)
    with write_folder_atomically(folder) as temporary:
        for role, tower in towers.items():
            tower_folder = temporary / role
            tower_folder.mkdir(exist_ok=True)
            _write(tower, tower_folder)
        write_text(temporary / "onnx.json", json.dumps(dict(description), indent=2, ensure_ascii=False) + "\n")
    return folder


def _check_target(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: a file stands where the ONNX folder is to be; choose another place")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "onnx.json").is_file():
        raise InputError(f"{folder}: holds other things than an export, which it would delete; choose another place")


class _UnitVectors(nn.Module):
    """A padded encoder whose vectors are scaled to unit length."""

    def __init__(self, padded: nn.Module) -> None:
        super().__init__()
        self.padded = padded

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return normalize(self.padded(input_ids, attention_mask), dim=1)  # (n, dim)


def _write(tower: HasPaddedForm, folder: Path) -> None:
    padded, tokenizer, max_length = tower.padded_encoder()
    graph = _UnitVectors(padded).eval()
    n, length = TRACE_SHAPE[0], min(TRACE_SHAPE[1], max_length)
    mask = torch.arange(length) < torch.tensor([length, max(1, length - 4), max(1, length // 3)])[:n, None]  # (n, l)
    example = (torch.ones(mask.shape, dtype=torch.int64), mask.long())  # input_ids and attention_mask, (n, l) each
    any_size = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    size = sum(p.numel() * p.element_size() for p in graph.parameters())
    with _quiet_exporter():
        program: Any = torch.onnx.export(
            graph,
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=["input_ids", "attention_mask"],
            output_names=["sentence_embedding"],
            dynamic_shapes=(any_size, any_size),
            verbose=False,
        )
        program.save(folder / "model.onnx", external_data=size > MAX_PROTOBUF)
    write_text(folder / "tokenizer.json", tokenizer)
    _compare(graph, folder / "model.onnx", max_length)


@torch.no_grad()
def _compare(graph: nn.Module, path: Path, max_length: int) -> None:
    """Compare ONNX Runtime's vectors with torch's on other batch sizes and lengths than the trace's."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for n, length in ((1, 1), (2, 5), (5, min(40, max_length))):
        lengths = torch.arange(length, 0, -1)[:n]
        lengths = torch.cat([lengths, lengths.new_ones(n - len(lengths))])  # (n,)
        mask = (torch.arange(length) < lengths[:, None]).long()  # (n, l)
        ids = torch.arange(n * length).reshape(n, length) % 7 + 1  # (n, l)
        (vectors,) = session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})  # (n, dim)
        difference = float(np.abs(vectors - graph(ids, mask).numpy()).max())
        if not difference <= TOLERANCE:
            raise RunError(
                f"export: ONNX Runtime's vectors differ from the model's by {difference:.2g}; this kind of model "
                "cannot be exported with the installed torch and onnx; try other releases of them"
            )


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence the exporter's progress and deprecation messages: `_compare` checks the result afterwards."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
