"""An encoder inside another one: its settings, identity and files under a name of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from nearfar import registry
from nearfar.contracts import Encoder
from nearfar.errors import InputError


def settings_of(encoder: Encoder) -> dict[str, Any]:
    """Return what `load_from` needs beside the files: the encoder as a recipe names it."""
    return {"name": registry.name_of(type(encoder)), **encoder.settings()}


def identity_of(name: str, encoder: Encoder) -> Iterator[tuple[str, Any]]:
    """Yield what makes the inner space what it is, under its name."""
    yield name, registry.name_of(type(encoder))
    for key, value in encoder.identity():
        yield f"{name}.{key}", value


def save_into(folder: Path, name: str, encoder: Encoder) -> list[dict[str, Any]]:
    """Write the encoder into a folder of its own; return its rows of modules.json, with paths from the outer one."""
    rows = encoder.save(folder / name)
    return [{**row, "path": f"{name}/{row.get('path', '')}".rstrip("/")} for row in rows]


def load_from(folder: Path, name: str, spec: Any) -> Any:
    """Read what `save_into` wrote. Errors: those of the encoder; `InputError` without its settings or its folder."""
    place = folder / name
    if not isinstance(spec, Mapping) or not place.is_dir():
        what = "no such folder" if isinstance(spec, Mapping) else "nearfar.json does not say what lies there"
        raise InputError(f"{place}: {what}; each encoder has a folder of its own: copy the model again")
    part, given = registry.checked("encoders", spec, section=f"{folder / 'nearfar.json'}: encoder.{name}")
    return cast("Any", part).load(place, given)
