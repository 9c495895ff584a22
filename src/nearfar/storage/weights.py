"""Weights on disk: safetensors only, since a pickle can run code when it is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from nearfar.errors import InputError
from nearfar.storage.arrays import not_finite, not_whole, weight_shapes


def write_weights(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors as safetensors. Errors: `OSError` where the path cannot be written (disk full).

    metadata: of the file; transformers asks for {"format": "pt"}.
    """
    plain = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    first = {_memory(tensor): name for name, tensor in reversed(plain.items())}
    tied = {name for name, tensor in plain.items() if tensor.numel() and first[_memory(tensor)] != name}
    with system_errors():
        own = {name: tensor.clone() if name in tied else tensor for name, tensor in plain.items()}
        save_file(own, path, metadata)


@contextmanager
def system_errors() -> Iterator[None]:
    """Make an `OSError` again of what safetensors makes of the operating system's errors while it writes."""
    try:
        yield
    except SafetensorError as error:
        raise OSError(str(error)) from error


def _memory(tensor: Tensor) -> int:
    """Return where the memory begins that a tensor may share with others."""
    return tensor.untyped_storage().data_ptr()


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return all tensors of a safetensors file. Errors: those of `weight_shapes`; values that are not finite."""
    weight_shapes(path)
    try:
        tensors = in_memory(path)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise not_whole(path, error) from error
    refuse_not_finite(path, tensors.items())
    return tensors


def in_memory(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file that is not mapped: what cuts a mapped file off kills the process."""
    return load(path.read_bytes())


def read_weights(path: Path, names: list[str]) -> dict[str, Tensor]:
    """Return the tensors of these names from a safetensors file.

    Errors: `InputError` for a missing or damaged file, a pickle under this name, a missing tensor, and values that are
    not finite.
    """
    tensors = read_tensors(path)
    missing = [name for name in names if name not in tensors]
    if missing:
        raise InputError(f"{path}: lacks {', '.join(missing)}; it holds {', '.join(sorted(tensors)) or 'nothing'}")
    return {name: tensors[name] for name in names}


def refuse_not_finite(where: Path, named: Iterable[tuple[str, Tensor]]) -> None:
    """Raise `InputError` for weights with NaN or infinity: one NaN makes every vector NaN that depends on it."""
    for name, weight in named:
        if weight.is_floating_point() and not bool(weight.float().isfinite().all()):
            raise not_finite(where, name)
