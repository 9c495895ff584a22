"""Which modules a sentence-transformers folder has, a Router's two lists of them, and the encoder that reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nearfar.encoders.pretrained.folder import folder_of, leaves_folder
from nearfar.errors import InputError
from nearfar.storage.model_files import read_json, read_settings

# First modules: the encoder that reads them; of CLIPModel, which has two towers, the encoder of its texts.
FIRST = {"Transformer": "transformer", "CLIPModel": "transformer", "StaticEmbedding": "static"}
MODULE_TYPES = (*FIRST, "Pooling", "Dense", "Normalize", "Router")
ROUTES = {"query": "query", "document": "key"}  # of a Router: nearfar's role
TWO_TOWERS = ("clip", "siglip")  # model types of transformers: a tower for texts and one for pictures
Row = tuple[str, Path]  # a module's type, and its folder


def encoder_spec(model: str) -> dict[str, Any]:
    """Return the encoder, as a recipe names it, that reads a folder of sentence-transformers, transformers or timm.

    A model of two towers, one for texts and one for pictures, is a dual whose queries are texts.

    Errors: `InputError` for modules that no encoder reads.
    """
    folder = folder_of(model)
    path = folder / "config.json"
    if path.is_file() and not (folder / "modules.json").is_file() and _reads_pictures(read_settings(path)):
        return {"name": "image", "model": model}
    if not _is_router(folder):
        kind, first = module_rows(folder)[0]
        if kind != "StaticEmbedding" and reads_texts_and_pictures(first):
            return {
                "name": "dual",
                "query": {"name": "transformer", "model": model},
                "key": {"name": "image", "model": model},
            }
        return {"name": FIRST[kind], "model": model}
    firsts = {role: (FIRST[module_rows(folder, route)[0][0]], route) for route, role in ROUTES.items()}
    sides = {role: {"name": first, "model": model, "route": route} for role, (first, route) in firsts.items()}
    return {"name": "dual", **sides}


def _reads_pictures(config: dict[str, Any]) -> bool:
    """Return whether a config is of a model of timm, or of one of transformers that reads pictures alone."""
    return "architecture" in config or is_picture_model(config)


def reads_texts_and_pictures(first: Path) -> bool:
    """Return whether a folder of transformers is of a model with a tower for each, as CLIP's and SigLIP's are.

    Errors: `InputError` for such a model of another family.
    """
    path = first / "config.json"
    config = read_settings(path) if path.is_file() else {}
    kind = config.get("model_type")
    if kind not in TWO_TOWERS and isinstance(config.get("text_config"), dict) and "vision_config" in config:
        raise InputError(
            f"{path}: model_type {kind!r:.60} has a tower for texts and one for pictures, of which nearfar reads "
            f"{' and '.join(TWO_TOWERS)} alone; save one of its towers by itself"
        )
    return kind in TWO_TOWERS


def picture_folder(folder: Path) -> Path:
    """Return the model of pictures in a folder of sentence-transformers: its first module, of two towers.

    Errors: `InputError` for modules that read texts alone, or that change a picture's vector after that.
    """
    (_, first), *others = module_rows(folder)
    if not reads_texts_and_pictures(first):
        raise InputError(f"{folder}: its modules read texts; for texts take encoder.name=transformer")
    if further := [kind for kind, _ in others if kind != "Normalize"]:
        raise InputError(
            f"{folder / 'modules.json'}: a module {further[0]} cannot come after two towers; nearfar reads none"
        )
    return first


def is_picture_model(config: dict[str, Any]) -> bool:
    """Return whether a config of transformers is of a model that reads pictures alone."""
    return "num_channels" in config and "vocab_size" not in config and "text_config" not in config


def module_rows(folder: Path, route: str | None = None) -> list[Row]:
    """Return the modules that a text of this route goes through, the first of which is one of `FIRST`.

    Without modules.json it is a folder of transformers, or of model2vec.

    Errors: `InputError` for modules that no encoder reads.
    """
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
