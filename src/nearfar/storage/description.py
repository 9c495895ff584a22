"""nearfar.json, the description of a model folder: what loading needs, and the notes of people and runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from nearfar.contracts import ForeignForm
from nearfar.errors import InputError
from nearfar.storage.folders import write_text
from nearfar.storage.places import ensure_folder
from nearfar.storage.probes import PROBES, Probe

FORMAT = 1
PRETRAINED_FILES = ("modules.json", "config.json")  # either makes a folder a model of other libraries
INSTALLED = ("minilm", "lite0")  # models by their names, which extras bring: of texts, and of pictures
# What is written of the encoder; the rest of the file are the model's notes.
NAMED = "named_prompts"  # a note: prompts of other names than the roles'
NEEDED = ("format", "fingerprint", "encoder", "prompts", "forms", "sides", "towers", PROBES)


def write_description(
    folder: Path,
    fingerprint: str,
    encoder: Mapping[str, Any],
    prompts: Mapping[str, str],
    forms: Sequence[ForeignForm],
    notes: Mapping[str, Any],
    sides: Mapping[str, Sequence[str]],
    *,
    towers: bool,
    probes: Sequence[Probe] = (),
) -> None:
    """Write nearfar.json. encoder: its name and settings. forms: in which the folder is read by other tools, too.

    sides: the kinds of cells that are read, by role. towers: whether queries and keys have an encoder each. probes:
    texts with the first coordinates of their vectors as queries.
    """
    needed = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "encoder": dict(encoder),
        "prompts": dict(prompts),
        "forms": [asdict(form) for form in forms],
        "sides": {role: list(kinds) for role, kinds in sides.items()},
        "towers": towers,
        PROBES: [{"text": text, "vector": list(vector)} for text, vector in probes],
    }
    content = {**needed, **notes, **needed}  # in this order, and no note replaces what loading needs
    write_text(folder / "nearfar.json", json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")


def read_description(folder: Path) -> dict[str, Any]:
    """Return what nearfar.json says. Errors: `InputError` for a folder without one, and for one that is not whole."""
    path = folder / "nearfar.json"
    if not folder.is_dir():
        raise InputError(f"{folder}: no such model folder; nearfar train writes one to OUT/model")
    if not path.is_file():
        raise InputError(f"{folder}: no nearfar.json, so this is no model of nearfar; a run's is in RUN/model")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable ({error}); copy the model folder again") from error
    complete = isinstance(content, dict) and all(isinstance(content.get(key), dict) for key in ("encoder", "prompts"))
    if not complete or content.get("format") != FORMAT:
        raise InputError(f"{path}: not a description of format {FORMAT}; was it written by another release of nearfar?")
    return cast("dict[str, Any]", content)


def foreign_forms(folder: Path) -> list[ForeignForm]:
    """Return the forms in which a model folder is read by other tools, too, as they were written with it."""
    if not (folder / "nearfar.json").is_file():
        return []
    return [ForeignForm(**form) for form in read_description(folder).get("forms", [])]


def refuse_other_folder(folder: Path) -> None:
    """Refuse a path that cannot become a model folder, or holds other things than a model. Errors: `InputError`."""
    ensure_folder(folder.parent)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: a file stands where the model's folder is to be; choose another place")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "nearfar.json").is_file():
        raise InputError(f"{folder}: holds other things than a model, which saving would delete; choose another place")
