"""Safetensors files, the one form in which weights are read, as arrays: torch, which takes seconds, is not needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, deserialize, safe_open

from nearfar.errors import InputError
from nearfar.storage.places import refuse_undecodable

PICKLES = {".bin", ".pt", ".pth", ".pkl", ".ckpt"}
MAGIC = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK")  # first bytes of pickles, and of torch.save's zip
_TYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BOOL": "?"},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1"},
}


def weight_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor by name, of which only the file's header is read.

    Errors: `InputError` for a missing or damaged file, and a pickle under this name.
    """
    refuse_undecodable(path)
    if not path.is_file():
        others = sorted(p.name for p in path.parent.glob("*") if p.suffix in PICKLES)
        why = f" ({', '.join(others)} is a pickle, which can run code and is never read)" if others else ""
        raise InputError(f"{path}: no such file{why}; a model folder holds its weights as model.safetensors")
    try:
        with path.open("rb") as file:
            start = file.read(9)
        if start[:2] in MAGIC and start[8:] != b"{":  # a header of 640 bytes begins as a pickle does
            raise InputError(f"{path}: this is a pickle, which can run code and is never read; save it as safetensors")
        with safe_open(path, "np") as header:
            return {name: tuple(header.get_slice(name).get_shape()) for name in header.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise not_whole(path, error) from error


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return all tensors of a safetensors file as arrays that may be written to; bfloat16 as float32.

    Errors: those of `weight_shapes`; `InputError` for a type of numbers that numpy has not (float8), and for values
    that are not finite.
    """
    weight_shapes(path)
    try:
        # not mapped: what cuts a mapped file off kills the process
        arrays = {name: _array(path, name, held) for name, held in deserialize(path.read_bytes())}  # type: ignore[no-untyped-call]
    except (SafetensorError, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise not_whole(path, error) from error
    with np.errstate(over="ignore"):
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array.astype(np.float32, copy=False)).all():
                raise not_finite(path, name)
    return arrays


def _array(path: Path, name: str, held: dict[str, Any]) -> npt.NDArray[Any]:
    kind, shape = held["dtype"], held["shape"]
    if kind == "BF16":  # the upper half of a float32
        return (np.frombuffer(held["data"], "<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
    if kind not in _TYPES:
        raise InputError(f"{path}: {name} is of {kind}, which is not read; save it as float32")
    return np.frombuffer(held["data"], _TYPES[kind]).reshape(shape)


def not_whole(path: Path, error: Exception) -> InputError:
    """Return the error for a damaged file."""
    return InputError(f"{path}: not whole safetensors ({error}); copy or train the model again")


def not_finite(path: Path, name: str) -> InputError:
    """Return the error for weights with NaN or infinity: one NaN makes every vector NaN that depends on it."""
    return InputError(f"{path}: {name} holds numbers that are not finite; copy or train the model again")
