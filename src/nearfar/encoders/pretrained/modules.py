"""The modules of a sentence-transformers folder, and their settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from nearfar.storage.model_files import read_json, read_settings
from nearfar.encoders.reading.pooling import Dense, modes_of
from nearfar.errors import InputError

MODULE_TYPES = ("Transformer", "Pooling", "Dense", "Normalize")
PROMPT_NAMES = {"query": ("query",), "key": ("document", "passage", "corpus")}  # nearfar's role: names in such folders


@dataclass
class Modules:
    """The settings of a folder, beside the transformer's weights."""

    transformer: Path
    pooling: list[str] = field(default_factory=lambda: ["mean"])
    after: list[nn.Module] = field(default_factory=list)  # dense layers over the pooling, and `Normalize` before them
    max_length: int | None = None
    lower_case: bool = False
    prompts: dict[str, str] = field(default_factory=dict)


def read_modules(folder: Path) -> Modules:
    """Read modules.json and the modules' settings; without modules.json it is a transformers folder, mean-pooled.

    Errors: `InputError` naming a module, a setting or an activation that is not known.
    """
    if not (folder / "modules.json").is_file():
        return _read_lengths(Modules(folder), folder)
    found = Modules(folder)
    rows = read_json(folder / "modules.json")
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "type" in row for row in rows):
        raise InputError(f"{folder / 'modules.json'}: not a list of modules, each with its type; save the model again")
    for row in rows:
        kind, subfolder = str(row["type"]).rsplit(".", 1)[-1], folder / str(row.get("path", ""))
        if kind not in MODULE_TYPES or not str(row["type"]).startswith("sentence_transformers."):
            raise InputError(
                f"{folder / 'modules.json'}: module {row['type']!r} is not known; known: {', '.join(MODULE_TYPES)}"
            )
        if kind == "Transformer":
            found.transformer = subfolder
            _read_lengths(found, subfolder)
        elif kind == "Pooling":
            found.pooling = modes_of(subfolder / "config.json", read_settings(subfolder / "config.json"))
        elif kind == "Dense":
            found.after.append(Dense.read(subfolder))
        else:
            found.after.append(Normalize())
    while found.after and isinstance(found.after[-1], Normalize):  # `Model` normalises itself
        found.after.pop()
    _read_prompts(found, folder / "config_sentence_transformers.json")
    return found


class Normalize(nn.Module):
    """sentence-transformers' Normalize where it is not the last module."""

    def forward(self, x: Any) -> Any:
        """Return x (n, d) on the unit sphere."""
        return nn.functional.normalize(x, dim=-1)


def _read_lengths(found: Modules, folder: Path) -> Modules:
    """Set the maximum length, and whether texts are lower-cased, from sentence_bert_config.json."""
    path = folder / "sentence_bert_config.json"
    given = read_settings(path) if path.is_file() else {}
    length = given.get("max_seq_length")
    if not (length is None or (isinstance(length, int) and length > 0)):
        raise InputError(f"{path}: max_seq_length must be a whole number, it is {length!r}")
    found.max_length = length
    found.lower_case = bool(given.get("do_lower_case"))
    return found


def _read_prompts(found: Modules, path: Path) -> None:
    given = read_settings(path) if path.is_file() else {}
    prompts = given.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(prompt, str) for prompt in prompts.values()):
        raise InputError(f"{path}: prompts must be texts by name, they are {prompts!r:.60}")
    default = prompts.get(str(given.get("default_prompt_name") or ""), "")
    for role, names in PROMPT_NAMES.items():
        found.prompts[role] = next((prompts[name] for name in names if name in prompts), default)
