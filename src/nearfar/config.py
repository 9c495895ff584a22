"""From a recipe to its parts: load, override, build."""

from __future__ import annotations

import copy
import importlib.resources
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from nearfar import registry
from nearfar.contracts import Data, Encoder, Loss, Positives
from nearfar.errors import InputError, nearest
from nearfar.training.settings import Settings

SECTIONS = ("data", "positives", "encoder", "loss", "training", "evaluate")
ROOM = {"data": "data", "positives": "positives", "encoder": "encoders", "loss": "losses"}
Recipe = dict[str, Any]


@dataclass(frozen=True)
class Parts:
    """A recipe's parts, built; `evaluate` are the tasks to judge by: {"name": metric, "split": split}."""

    data: Data
    positives: Positives
    encoder: Encoder
    loss: Loss
    training: dict[str, Any]
    evaluate: list[dict[str, Any]]


def recipes() -> dict[str, str]:
    """Return the recipes that ship: name and first comment line."""
    found = {}
    for entry in importlib.resources.files("nearfar.recipes").iterdir():
        if entry.name.endswith(".yaml"):
            found[entry.name[:-5].replace("_", "-")] = entry.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
    return dict(sorted(found.items()))


def load(recipe: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Return a recipe, by its name or its file, with settings overridden by path ("training.epochs=3").

    Errors: `InputError` for an unknown name, a file that is no recipe, an unknown section, an override that is not
    path=value.
    """
    known = recipes()
    if str(recipe) in known:
        name = str(recipe).replace("-", "_") + ".yaml"
        text = importlib.resources.files("nearfar.recipes").joinpath(name).read_text(encoding="utf-8")
    elif Path(recipe).is_file():
        try:
            text = Path(recipe).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{recipe}: not readable as a recipe ({error}); a recipe is a YAML file") from error
    else:
        raise InputError(f"{recipe}: no recipe of that name and no such file; {nearest(str(recipe), known)}")
    result = _parsed(str(recipe), text)
    for override in overrides:
        _override(result, override)
    return result


def _parsed(where: str, text: str) -> Recipe:
    try:
        result = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{where}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(result, dict):
        raise InputError(f"{where}: a recipe has the sections {', '.join(SECTIONS)}; this has none")
    result.pop("versions", None)  # written into a run's recipe for people
    for section in result:
        if section not in SECTIONS:
            raise InputError(f"{where}: no section {section!r}; {nearest(str(section), SECTIONS)}")
    for section in (*ROOM, "training"):
        if not isinstance(result.get(section, {}), dict):
            raise InputError(f"{where}: {section} must be settings by name, like {{name: ...}}")
    return result


def _override(recipe: Recipe, text: str) -> None:
    path, sign, value = text.partition("=")
    keys = path.strip().split(".")
    if not sign or not all(keys):
        raise InputError(f"{text!r}: write settings as path=value, e.g. training.epochs=3")
    if keys[0] not in SECTIONS:
        raise InputError(f"{text!r}: no section {keys[0]!r}; {nearest(keys[0], SECTIONS)}")
    place: Any = recipe
    for key in keys[:-1]:
        if isinstance(place, list) and key.isdigit() and int(key) < len(place):
            place = place[int(key)]
        elif isinstance(place, dict):
            place = place.setdefault(key, {})
        else:
            raise InputError(f"{text!r}: {key!r} leads nowhere in this recipe")
    try:
        parsed = yaml.safe_load(value) if value else ""
    except yaml.YAMLError:
        parsed = value  # a text with YAML's own signs in it
    if isinstance(place, list):
        raise InputError(f"{text!r}: name an entry of the list, as evaluate.0.split=...")
    if not isinstance(place, dict) or len(keys) == 1:
        raise InputError(f"{text!r}: {path} is a whole section; set one of its settings, e.g. {path}.name=...")
    place[keys[-1]] = parsed


def build(recipe: Recipe) -> Parts:
    """Build a recipe's parts. A user's own recipe may name parts from outside, as `package.module:Class`.

    Errors: `InputError` for an unknown part or setting, with the nearest known one; a value of another type.
    """
    recipe = copy.deepcopy(recipe)
    for section in ROOM:
        if not recipe.get(section):
            raise InputError(f"recipe: section {section} is missing; write {section}: {{name: ...}}")
    training = registry.coerce(Settings, recipe.get("training") or {}, "training")
    Settings(**training)  # wrong values stop here, before anything is read
    encoder = registry.build("encoders", recipe["encoder"], outside=True)
    loss = registry.build("losses", recipe["loss"], outside=True, dim=encoder.dim)
    evaluate = _tasks(recipe.get("evaluate") or [])
    data = registry.build("data", recipe["data"], outside=True)
    positives = registry.build("positives", recipe["positives"], outside=True, data=data)
    return Parts(data, positives, encoder, loss, training, evaluate)


def _tasks(evaluate: Any) -> list[dict[str, Any]]:
    if not isinstance(evaluate, list) or not all(isinstance(entry, Mapping) for entry in evaluate):
        raise InputError("evaluate: a list of {name: metric, split: split}")
    for entry in evaluate:
        registry.find("metrics", str(entry.get("name")))
        unknown = set(entry) - {"name", "split"}
        if unknown:
            raise InputError(f"evaluate: no setting {min(unknown)!r}; known: name, split")
    return [dict(entry) for entry in evaluate]


def resolved(recipe: Recipe) -> Recipe:
    """Return the recipe with every default written out, as a run keeps it: it re-runs to the same numbers."""
    result: Recipe = {}
    for section, room in ROOM.items():
        part = registry.find(room, str(recipe[section]["name"]), outside=True)
        defaults = {n: p.default for n, p in registry.settings(part).items() if p.default is not p.empty}
        result[section] = {**defaults, **recipe[section]}
    defaults = {f.name: f.default for f in fields(Settings)}
    result["training"] = {**defaults, **(recipe.get("training") or {})}
    result["evaluate"] = recipe.get("evaluate") or []
    return result


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
