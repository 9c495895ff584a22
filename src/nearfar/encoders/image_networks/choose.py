"""The network that `encoder.model` names: nearfar's own, an architecture of timm, or a folder of either library."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nearfar.encoders.image_networks.plain_network import NAME, PlainNetwork, make_plain, read_plain
from nearfar.encoders.image_networks.timm_arguments import checked_args
from nearfar.encoders.image_networks.timm_network import Stem, TimmNetwork, is_architecture, read_timm, refuse_unknown
from nearfar.encoders.image_networks.transformers_network import TransformersNetwork, read_transformers
from nearfar.encoders.pretrained.folder import LITE0, folder_of
from nearfar.encoders.pretrained.module_rows import picture_folder
from nearfar.errors import InputError
from nearfar.storage.model_files import read_settings
from nearfar.text.tokenizer import library_errors

Network = TimmNetwork | TransformersNetwork | PlainNetwork
PROVISIONAL = 64  # pixels of a new network until the pictures are seen


def has_weights(model: str) -> bool:
    """Return whether a model is one with weights, and not the name of an architecture."""
    return model != NAME and (model == LITE0 or not is_architecture(model))


def make_network(model: str, args: Mapping[str, Any], size: int | None, stem: Stem, seed: int) -> Network:
    """Return the network that a recipe names. size: of the pictures, None where it is not known yet.

    Errors: `InputError` for a name that nothing has, for a folder that cannot be read safely and whole, and settings
    that do not fit.
    """
    args = checked_args("encoder.model_args", args)
    if model == NAME:
        if stem == "small":
            raise InputError(f"encoder.stem: small is for timm's ResNets, the model {NAME} is none; leave stem out")
        return make_plain(args, size or PROVISIONAL, seed)
    if not has_weights(model):
        with library_errors(f"encoder: timm cannot build {model} of {args}", "change encoder.model_args"):
            return TimmNetwork(model.split(".")[0], args, size or PROVISIONAL, stem, seed)
    if "/" not in model and model != LITE0 and not Path(model).is_dir():
        refuse_unknown(model, "encoder.model: no folder, and")
    folder = folder_of(model)
    if (folder / "modules.json").is_file():
        folder = picture_folder(folder)
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{folder}: no config.json; give the folder of a model of timm or transformers")
    settings = read_settings(path)
    if "architecture" in settings:
        return read_timm(folder, args, size, stem)
    if "network" in settings:
        return read_plain(folder, args)
    if args or stem == "small":
        raise InputError(f"encoder: {folder} is a model of transformers, which takes no model_args and no small stem")
    return read_transformers(folder)
