"""The weights of a transformers folder: one file of safetensors, or several that an index lists."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from nearfar.errors import InputError
from nearfar.storage.arrays import weight_shapes
from nearfar.storage.model_files import read_settings
from nearfar.storage.weights import read_tensors

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def shards_of(folder: Path) -> list[Path]:
    """Return the files that hold a folder's weights: model.safetensors, or those that its index lists.

    Every file of the index must be a plain name inside the folder that ends in .safetensors: any other could be a
    pickle, which can run code, or a file of somebody else.

    Errors: `InputError` naming the index's entry.
    """
    path = folder / INDEX
    names: set[str] = set()
    if path.is_file():
        found = read_settings(path).get("weight_map")
        if not isinstance(found, dict) or not found:
            raise InputError(f"{path}: no weight_map of tensors to files; copy the model folder again")
        for tensor, name in found.items():
            if not isinstance(name, str) or not _is_plain(name):
                raise InputError(
                    f"{path}: {tensor!r} lies in {name!r}; a plain name inside the folder that ends in .safetensors is "
                    "needed, for others could be pickles or leave the folder: save the model as safetensors"
                )
            names.add(name)
    if (folder / WEIGHTS).is_file() or not names:
        return [folder / WEIGHTS]
    return [folder / name for name in sorted(names)]


def _is_plain(name: str) -> bool:
    plain = Path(name).name == name and not {"/", "\\", "\0", ":"} & set(name)
    return plain and not name.startswith(".") and name.endswith(".safetensors")


def shapes_of(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor by name, from the headers. Errors: `InputError` for a name that occurs twice."""
    found: dict[str, tuple[int, ...]] = {}
    for path in shards_of(folder):
        shapes = weight_shapes(path)
        if twice := sorted(found.keys() & shapes.keys()):
            raise InputError(f"{path}: {twice[0]} lies in another file, too; copy the model folder again")
        found |= shapes
    if not found:
        raise InputError(f"{folder}: its weights hold no tensor; copy the model folder again")
    return found


def read_shards(folder: Path) -> dict[str, Tensor]:
    """Return all tensors by name. Errors: those of `shapes_of`; `InputError` for numbers that are not finite."""
    return {name: tensor for path in shards_of(folder) for name, tensor in read_tensors(path).items()}
