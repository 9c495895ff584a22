"""Weights on disk: safetensors only, since a pickle can run code when it is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save_file
from torch import Tensor

from nearfar.errors import InputError
from nearfar.storage.places import refuse_undecodable

PICKLES = {".bin", ".pt", ".pth", ".pkl", ".ckpt"}
MAGIC = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK")  # first bytes of pickles, and of torch.save's zip


def write_weights(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors as safetensors. Errors: `OSError` where the path cannot be written (disk full)."""
    plain = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    first = {_memory(tensor): name for name, tensor in reversed(plain.items())}
    tied = {name for name, tensor in plain.items() if tensor.numel() and first[_memory(tensor)] != name}
    with system_errors():
        save_file({name: tensor.clone() if name in tied else tensor for name, tensor in plain.items()}, path)


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
            start = file.read(2)
        if start in MAGIC:
            raise InputError(f"{path}: this is a pickle, which can run code and is never read; save it as safetensors")
        with safe_open(path, "pt") as header:
            return {name: tuple(header.get_slice(name).get_shape()) for name in header.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _not_whole(path, error) from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return all tensors of a safetensors file. Errors: those of `weight_shapes`; values that are not finite."""
    weight_shapes(path)
    try:
        tensors = in_memory(path)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise _not_whole(path, error) from error
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


def _not_whole(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: not whole safetensors ({error}); copy or train the model again")


def refuse_not_finite(where: Path, named: Iterable[tuple[str, Tensor]]) -> None:
    """Raise `InputError` for weights with NaN or infinity: one NaN makes every vector NaN that depends on it."""
    for name, weight in named:
        if weight.is_floating_point() and not bool(weight.float().isfinite().all()):
            raise InputError(f"{where}: {name} holds numbers that are not finite; copy or train the model again")
