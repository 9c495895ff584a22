"""Export of a model to ONNX, for runtimes without torch."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from nearfar.abilities import HasPaddedForm, HasPictureForm, towers_of
from nearfar.contracts import Encoder
from nearfar.errors import InputError, RunError
from nearfar.storage.folders import write_folder_atomically, write_text

OPSET = 18
TRACE_SHAPE = (3, 11)  # texts and tokens of the trace; the graph takes any sizes from 1
TOLERANCE = 1e-4  # largest absolute difference of a coordinate between ONNX Runtime's and torch's unit vectors
MAX_PROTOBUF = 1_900_000_000  # bytes; protobuf holds less than 2 GiB, so larger weights get a file beside the graph
REQUIRED_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def export_onnx(encoder: Encoder, folder: Path, description: Mapping[str, Any]) -> Path:
    """Write an encoder as model.onnx: inputs -> vectors (n, dim), pooled and of unit length.

    The inputs are, of texts, input_ids and attention_mask, right-padded (n, l); of pictures, pixels (n, size, size, 3)
    uint8 in red, green, blue, which the graph normalises itself; cutting and resizing them as the encoder's `fit` says
    (`encoders.reading.pictures.resized`) is not in the graph, and is to be done before. Beside the
    graph are, for texts, tokenizer.json, which cuts them to the maximum length, and onnx.json with the `description`
    (the model's prompts, dimension and fingerprint). Two towers get a folder each: query and key.

    Errors: `InputError` where the extra `onnx` is missing, for an encoder that cannot be exported, and for a folder
    that holds other things; `RunError` where ONNX Runtime gives other vectors than the model.
    """
    missing = [name for name in REQUIRED_PACKAGES if find_spec(name) is None]
    if missing:
        raise InputError(f"export: {', '.join(missing)} is not installed; pip install 'nearfar[onnx]'")
    towers = {role: _graph_of(each) for role, each in (towers_of(encoder) or {"": encoder}).items()}
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
    """An encoder of plain tensors whose vectors are scaled to unit length."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *inputs: Tensor) -> Tensor:
        return normalize(self.inner(*inputs), dim=1)  # (n, dim)


@dataclass(frozen=True)
class _Graph:
    """What is exported: a module over named inputs, those of the trace, and others to compare with.

    dynamic: the dimensions of each input that may be of any size from 1. files: what goes beside the graph.
    """

    module: nn.Module
    inputs: tuple[str, ...]
    output: str
    dynamic: int
    trace: tuple[Tensor, ...]
    others: Sequence[tuple[Tensor, ...]]
    files: Mapping[str, str] = field(default_factory=dict)


def _graph_of(encoder: Any) -> _Graph:
    """Return what is exported of an encoder. Errors: `InputError` for one that has no such form."""
    if isinstance(encoder, HasPaddedForm):
        padded, tokenizer, longest = encoder.padded_encoder()
        trace = _tokens(TRACE_SHAPE[0], min(TRACE_SHAPE[1], longest), rest=(0, 4, 8))
        others = [_tokens(n, length, rest=range(n)) for n, length in ((1, 1), (2, 5), (5, min(40, longest)))]
        names = ("input_ids", "attention_mask")
        return _Graph(padded, names, "sentence_embedding", 2, trace, others, {"tokenizer.json": tokenizer})
    if isinstance(encoder, HasPictureForm):
        module, size = encoder.picture_encoder()
        pixels = (torch.arange(5 * size * size * 3) * 7919 % 65_537 % 256).to(torch.uint8).view(5, size, size, 3)
        return _Graph(module, ("pixels",), "picture_embedding", 1, (pixels[:3],), [(pixels[:n],) for n in (1, 2, 5)])
    raise InputError(
        f"export: {type(encoder).__name__} has no form in ONNX; known: static, transformer, frozen_projection, image"
    )


def _tokens(n: int, length: int, rest: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return token ids and mask (n, length) of n texts, each shorter by its entry of `rest`, of one token at least."""
    lengths = (length - torch.tensor(list(rest)[:n])).clamp(min=1)
    mask = (torch.arange(length) < lengths[:, None]).long()
    return torch.arange(n * length).reshape(n, length) % 7 + 1, mask


def _write(graph: _Graph, folder: Path) -> None:
    module = _UnitVectors(graph.module).eval()
    any_size = dict.fromkeys(range(graph.dynamic), torch.export.Dim.DYNAMIC)
    size = sum(p.numel() * p.element_size() for p in module.parameters())
    with _quiet_exporter():
        program: Any = torch.onnx.export(
            module,
            graph.trace,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(graph.inputs),
            output_names=[graph.output],
            dynamic_shapes=(tuple(any_size for _ in graph.inputs),),
            verbose=False,
        )
        program.save(folder / "model.onnx", external_data=size > MAX_PROTOBUF)
    for name, content in graph.files.items():
        write_text(folder / name, content)
    _compare(module, folder / "model.onnx", graph)


@torch.no_grad()
def _compare(module: nn.Module, path: Path, graph: _Graph) -> None:
    """Compare ONNX Runtime's vectors with torch's on other batch sizes and lengths than the trace's."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for inputs in graph.others:
        named = {name: each.numpy() for name, each in zip(graph.inputs, inputs, strict=True)}
        (vectors,) = session.run(None, named)  # (n, dim)
        difference = float(np.abs(vectors - module(*inputs).numpy()).max())
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
