"""The modules of a sentence-transformers folder, with their settings and the layers that they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from nearfar.abilities import NamedPrompts
from nearfar.encoders.pretrained.module_rows import FIRST, module_rows
from nearfar.encoders.pretrained.named_prompts import read_prompts
from nearfar.encoders.pretrained.two_towers import pools_one_token
from nearfar.encoders.reading.pooling import Dense, modes_of
from nearfar.errors import InputError
from nearfar.storage.model_files import read_settings


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


def read_modules(folder: Path, kind: str, route: str | None = None) -> Modules:
    """Read modules.json and the modules' settings; without modules.json it is a transformers folder, mean-pooled.

    kind: the first module that the caller reads. route: of a Router's folder, the side to read: query or document.

    Errors: `InputError` naming a module, a setting or an activation that is not known.
    """
    rows = module_rows(folder, route)
    path = folder / "modules.json"
    if FIRST[rows[0][0]] != FIRST[kind]:
        raise InputError(f"{path}: its first module is {rows[0][0]}, which the encoder {FIRST[rows[0][0]]} reads")
    found = Modules(rows[0][1], kind)
    if kind == "Transformer":
        _read_lengths(found, rows[0][1])
        if pools_one_token(found.first):
            found.pooling = ["lasttoken"]
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
