"""The modules of a sentence-transformers folder, and their settings; a Router's folder has two lists of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from nearfar.abilities import NamedPrompts
from nearfar.encoders.pretrained.folder import folder_of, leaves_folder
from nearfar.encoders.pretrained.named_prompts import read_prompts
from nearfar.encoders.reading.pooling import Dense, modes_of
from nearfar.errors import InputError
from nearfar.storage.model_files import read_json, read_settings

FIRST = {"Transformer": "transformer", "StaticEmbedding": "static"}  # first modules: the encoder that reads them
MODULE_TYPES = (*FIRST, "Pooling", "Dense", "Normalize", "Router")
ROUTES = {"query": "query", "document": "key"}  # of a Router: nearfar's role
Row = tuple[str, Path]  # a module's type, and its folder


@dataclass
class Modules:
    """The settings of a folder, beside the weights of its first module."""

    first: Path  # the folder of the transformer or of the static embedding
    kind: str = "Transformer"
    pooling: list[str] = field(default_factory=lambda: ["mean"])
    after: list[nn.Module] = field(default_factory=list)  # dense layers over the pooling, and `Normalize` before them
    max_length: int | None = None
    lower_case: bool = False
    prompts: dict[str, str] = field(default_factory=dict)  # by role
    named: NamedPrompts = field(default_factory=NamedPrompts)


def encoder_spec(model: str) -> dict[str, Any]:
    """Return the encoder, as a recipe names it, that reads a folder of sentence-transformers, transformers or timm.

    Errors: `InputError` for modules that no encoder reads.
    """
    folder = folder_of(model)
    path = folder / "config.json"
    if path.is_file() and not (folder / "modules.json").is_file() and _reads_pictures(read_settings(path)):
        return {"name": "image", "model": model}
    sides = {role: {"model": model, "route": route} for route, role in ROUTES.items()}
    if not _is_router(folder):
        return {"name": FIRST[_rows(folder, None)[0][0]], "model": model}
    return {
        "name": "dual",
        **{role: {"name": FIRST[_rows(folder, str(side["route"]))[0][0]], **side} for role, side in sides.items()},
    }


def _reads_pictures(config: dict[str, Any]) -> bool:
    """Return whether a config is of a model of timm, or of one of transformers that reads pictures alone."""
    return "architecture" in config or is_picture_model(config)


def is_picture_model(config: dict[str, Any]) -> bool:
    """Return whether a config of transformers is of a model that reads pictures alone."""
    return "num_channels" in config and "vocab_size" not in config and "text_config" not in config


def read_modules(folder: Path, kind: str, route: str | None = None) -> Modules:
    """Read modules.json and the modules' settings; without modules.json it is a transformers folder, mean-pooled.

    kind: the first module that the caller reads. route: of a Router's folder, the side to read: query or document.

    Errors: `InputError` naming a module, a setting or an activation that is not known.
    """
    rows = _rows(folder, route)
    path = folder / "modules.json"
    if rows[0][0] != kind:
        raise InputError(f"{path}: its first module is {rows[0][0]}, which the encoder {FIRST[rows[0][0]]} reads")
    found = Modules(rows[0][1], kind)
    if kind == "Transformer":
        _read_lengths(found, rows[0][1])
    for one, subfolder in rows[1:]:
        if one == "Pooling" and kind == "Transformer":
            found.pooling = modes_of(subfolder / "config.json", read_settings(subfolder / "config.json"))
        elif one == "Dense":
            found.after.append(Dense.read(subfolder))
        elif one == "Normalize":
            found.after.append(Normalize())
        else:
            raise InputError(f"{path}: a module {one} cannot come after {rows[0][0]}; save the model again")
    while found.after and isinstance(found.after[-1], Normalize):  # `Model` normalises itself
        found.after.pop()
    if path.is_file():
        found.prompts, found.named = read_prompts(folder / "config_sentence_transformers.json")
    return found


class Normalize(nn.Module):
    """sentence-transformers' Normalize where it is not the last module."""

    def forward(self, x: Any) -> Any:
        """Return x (n, d) on the unit sphere."""
        return nn.functional.normalize(x, dim=-1)


def after_dim(where: str, after: Iterable[nn.Module], width: int) -> int:
    """Return the dimension behind dense layers that take vectors of `width`. where: of the model, for errors.

    Errors: `InputError` for a layer that takes another.
    """
    for layer in (module.linear for module in after if isinstance(module, Dense)):
        if layer.in_features != width:
            raise InputError(f"{where}: a Dense module takes {layer.in_features} numbers, it would get {width}")
        width = layer.out_features
    return width


def _rows(folder: Path, route: str | None) -> list[Row]:
    """Return the modules that a text of this route goes through, the first of which is one of `FIRST`."""
    path = folder / "modules.json"
    if not path.is_file():
        config = folder / "config.json"
        of_model2vec = config.is_file() and read_settings(config).get("model_type") == "model2vec"
        rows: list[Row] = [("StaticEmbedding" if of_model2vec else "Transformer", folder)]
    else:
        rows = _listed(folder)
        if rows and rows[0][0] == "Router":
            return _routed(rows[0][1], route) + rows[1:]
    if route is not None:
        raise InputError(f"{folder}: route {route!r} is of a Router's folder, and this is none; leave route out")
    if not rows or rows[0][0] not in FIRST:
        raise InputError(f"{path}: its first module must be {' or '.join(FIRST)}; nearfar reads no other such model")
    return rows


def _is_router(folder: Path) -> bool:
    return (folder / "modules.json").is_file() and [kind for kind, _ in _listed(folder)][:1] == ["Router"]


def _listed(folder: Path) -> list[Row]:
    path = folder / "modules.json"
    rows = read_json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "type" in row for row in rows):
        raise InputError(f"{path}: not a list of modules, each with its type; save the model again")
    return [(_kind(path, row["type"]), folder / str(row.get("path", ""))) for row in rows]


def _kind(path: Path, given: Any) -> str:
    kind = str(given).rsplit(".", 1)[-1]
    if kind not in MODULE_TYPES or not str(given).startswith("sentence_transformers."):
        raise InputError(f"{path}: module {given!r} is not known; known: {', '.join(MODULE_TYPES)}")
    return kind


def _routed(folder: Path, route: str | None) -> list[Row]:
    """Return the modules of one route of a Router, whose routes must be those of queries and documents."""
    path = folder / "router_config.json"
    given = read_settings(path)
    types, structure, parameters = (given.get(key) for key in ("types", "structure", "parameters"))
    if not isinstance(types, dict) or not isinstance(structure, dict) or not isinstance(parameters or {}, dict):
        raise InputError(f"{path}: no types and structure of a Router; save the model again")
    if set(structure) != set(ROUTES):
        raise InputError(f"{path}: its routes are {', '.join(map(str, structure))}; nearfar reads query and document")
    default = (parameters or {}).get("default_route")
    if default not in (None, "document") or (parameters or {}).get("route_mappings"):
        raise InputError(
            f"{path}: a text without a role would take the route {default!r} or one of route_mappings, in nearfar it "
            "takes that of documents; save the model with default_route document"
        )
    if route not in ROUTES:
        raise InputError(f"{folder}: a Router's folder has two encoders; give route=query or route=document")
    names = structure[route]
    if not isinstance(names, list) or not all(isinstance(name, str) and name in types for name in names):
        raise InputError(f"{path}: the route {route} is no list of modules that types has; save the model again")
    for name in names:
        if leaves_folder(name):
            raise InputError(f"{path}: the module's path {name!r} leaves the folder; nearfar never does that")
    rows = [(_kind(path, types[name]), folder / name) for name in names]
    if not rows or rows[0][0] not in FIRST:
        raise InputError(f"{path}: the route {route} must begin with {' or '.join(FIRST)}; nearfar reads no other")
    return rows


def _read_lengths(found: Modules, folder: Path) -> None:
    """Set the maximum length, and whether texts are lower-cased, from sentence_bert_config.json."""
    path = folder / "sentence_bert_config.json"
    given = read_settings(path) if path.is_file() else {}
    length, lower_case = given.get("max_seq_length"), given.get("do_lower_case")
    if not (length is None or (isinstance(length, int) and not isinstance(length, bool) and length > 0)):
        raise InputError(f"{path}: max_seq_length must be a whole number, it is {length!r}")
    if not (lower_case is None or isinstance(lower_case, bool)):
        raise InputError(f"{path}: do_lower_case must be true or false, it is {lower_case!r:.60}")
    found.max_length = length
    found.lower_case = bool(lower_case)
