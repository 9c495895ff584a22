"""nearfar list: the parts of each room and the recipes that ship."""

from __future__ import annotations

from typing import Annotated

import typer

from nearfar.cli._output import Json, emit


def command(
    room: Annotated[str | None, typer.Argument(help="data, positives, views, encoders, losses, metrics or recipes.")] = None,
    as_json: Json = False,
) -> None:
    """List the parts that a recipe can name, or those of one room with their settings."""
    from nearfar import config, registry
    from nearfar.errors import InputError, nearest

    rooms = {name: registry.names(name) for name in registry.ROOMS}
    known = config.recipes()
    if room is None:
        facts = {**rooms, "recipes": list(known)}
        emit(facts, as_json, lambda: print("\n".join(f"{name:10} {'  '.join(parts)}" for name, parts in facts.items())))
    elif room == "recipes":
        emit(known, as_json, lambda: print("\n".join(f"{name:16} {about}" for name, about in known.items())))
    elif room in rooms:
        parts = {name: _part(room, name) for name in rooms[room]}
        emit(parts, as_json, lambda: print("\n".join(f"{name:16} {text}" for name, text in parts.items())))
    else:
        raise InputError(f"no room {room!r}; {nearest(room, [*rooms, 'recipes'])}")


def _part(room: str, name: str) -> str:
    """One line: settings with their defaults."""
    from nearfar import registry

    settings = registry.settings(registry.find(room, name)).values()
    return ", ".join(p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in settings)
