"""nearfar list: the parts of each package and the recipes that ship."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from nearfar.cli import Json, emit
from nearfar.printable import show


def command(
    package: Annotated[str | None, typer.Argument(help="A package (losses, data, ...) or recipes.")] = None,
    as_json: Json = False,
) -> None:
    """List the parts that a recipe can name, and the recipes.

    With a package: its parts and their settings. How to write your own: docs/write_your_own.md.
    """
    from nearfar import recipes, registry
    from nearfar.errors import InputError, nearest

    packages = {name: registry.names(name) for name in registry.PART_PACKAGES}
    known = recipes.catalogue()
    if package is None:
        everything = {**packages, "recipes": list(known)}
        emit(everything, as_json, lambda: _show({name: ", ".join(parts) for name, parts in everything.items()}))
    elif package == "recipes":
        emit(known, as_json, lambda: _show(known))
    elif package in packages:
        parts = {name: _part(package, name) for name in packages[package]}
        emit(parts, as_json, lambda: _show({name: _description(part) for name, part in parts.items()}))
    else:
        raise InputError(f"no package {package!r}; {nearest(package, [*packages, 'recipes'])}")


def _part(package: str, name: str) -> dict[str, Any]:
    """Return a part's first sentence, its settings with their defaults, and those that must be given (None here)."""
    import inspect

    from nearfar import registry

    part = registry.find(package, name)
    settings = registry.recipe_settings(package, part)
    return {
        "about": (inspect.getdoc(part) or "").partition("\n")[0],
        "settings": {key: None if p.default is p.empty else p.default for key, p in settings.items()},
        "required": [key for key, p in settings.items() if p.default is p.empty],
    }


def _description(part: dict[str, Any]) -> str:
    settings = part["settings"].items()
    shown = ", ".join(key if key in part["required"] else f"{key}={value!r}" for key, value in settings)
    return f"{part['about']}\n{shown}".strip()


def _show(rows: dict[str, str]) -> None:
    """Print names with their texts, wrapped to the terminal."""
    import shutil
    import textwrap

    left = max(map(len, rows), default=0) + 2
    width = max(40, min(shutil.get_terminal_size().columns, 120)) - left
    for name, text in rows.items():
        lines = [line for part in text.splitlines() or ["none"] for line in textwrap.wrap(part, width)] or ["none"]
        for i, line in enumerate(lines):
            show(f"{name if i == 0 else '':{left}}{line}".rstrip())
