"""From a recipe to its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from nearfar import registry
from nearfar.contracts import Data, Encoder, Loss, Positives
from nearfar.errors import InputError, nearest
from nearfar.recipes import Recipe, load
from nearfar.training.settings import Settings

__all__ = ["Parts", "Recipe", "build", "dumped", "load", "plain", "resolved"]

ROOM = {"data": "data", "positives": "positives", "encoder": "encoders", "loss": "losses"}


@dataclass(frozen=True)
class Parts:
    """A recipe's parts, built; `evaluate` are the tasks to judge by: {"name": metric, "split": split}."""

    data: Data
    positives: Positives
    encoder: Encoder
    loss: Loss
    training: dict[str, Any]
    evaluate: list[dict[str, str]]


def build(recipe: Recipe) -> Parts:
    """Build a recipe's parts. A user's own recipe may name parts from outside, as `package.module:Class`.

    Errors: `InputError` for an unknown part or setting, with the nearest known one; a value of another type.
    """
    checked = resolved(recipe)  # what is wrong stops here, before anything is read

    def part(section: str, **context: Any) -> Any:
        return registry.build(ROOM[section], checked[section], section=section, outside=True, **context)

    encoder = part("encoder")
    loss = part("loss", dim=encoder.dim)
    data = part("data")
    return Parts(data, part("positives", data=data), encoder, loss, checked["training"], checked["evaluate"])


def resolved(recipe: Recipe) -> Recipe:
    """Return the recipe with every default written out, as a run keeps it: it re-runs to the same numbers.

    Errors: those of `build`, as far as they show without reading any data.
    """
    result: Recipe = {}
    for section, room in ROOM.items():
        part, given = registry.checked(room, recipe.get(section) or {}, section=section, outside=True)
        known = registry.recipe_settings(room, part)
        whole = {key: given.get(key, p.default) for key, p in known.items()}
        result[section] = {"name": str(recipe[section]["name"]), **whole}
    training = Settings(**registry.coerce(Settings, recipe.get("training") or {}, "training"))
    return {**result, "training": asdict(training), "evaluate": _tasks(recipe.get("evaluate") or [])}


def _tasks(entries: list[Any]) -> list[dict[str, str]]:
    known = {"name": registry.names("metrics"), "split": []}
    for i, entry in enumerate(entries):
        where = f"evaluate.{i}"
        if not isinstance(entry, Mapping) or "name" not in entry:
            raise InputError(f"{where}: write {{name: metric, split: split}}; metrics: {', '.join(known['name'])}")
        registry.find("metrics", str(entry["name"]))
        for key in entry:
            if key not in known:
                raise InputError(f"{where}: no setting {key!r}; {nearest(str(key), known)}")
    return [{str(key): str(value) for key, value in entry.items()} for entry in entries]


def dumped(recipe: Recipe, versions: Mapping[str, str]) -> str:
    """Return a recipe as YAML, with the versions that ran it."""
    return str(yaml.safe_dump({**plain(recipe), "versions": dict(versions)}, sort_keys=False, allow_unicode=True))


def plain(value: Any) -> Any:
    """Return nested settings as plain values: paths and the like become text."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value if isinstance(value, int | float | str | bool | type(None)) else str(value)
