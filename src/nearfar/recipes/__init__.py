"""The recipes that ship, one YAML file each: this folder is their catalogue. Here they, and a user's own, are read."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from nearfar.errors import InputError, nearest

SECTIONS = ("data", "positives", "encoder", "loss", "training", "mining", "evaluate")
SEVERAL = ("data", "positives")  # may be lists: several data sets
Recipe = dict[str, Any]


def catalogue() -> dict[str, str]:
    """Return the recipes that ship: name and first comment line."""
    found = {}
    for entry in importlib.resources.files("nearfar.recipes").iterdir():
        if entry.name.endswith(".yaml"):
            found[entry.name[:-5]] = entry.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
    return dict(sorted(found.items()))


def load(recipe: str | Path, overrides: Sequence[str] | Mapping[str, Any] = ()) -> Recipe:
    """Return a recipe, by its name or its file, with settings overridden by path.

    A name is that of the recipe's file; a dash may stand for an underscore.

    overrides: texts as on the command line ("training.epochs=3"), or values by path ({"training.epochs": 3}).

    Errors: `InputError` for an unknown name, a file that is no recipe, an unknown section, an override that is not
    path=value, or one whose path leads nowhere.
    """
    result = _parsed(str(recipe), _text(recipe))
    if isinstance(overrides, Mapping):
        for path, value in overrides.items():
            _set(result, path, value, f"{path}={value!r:.60}")
    else:
        for text in overrides:
            path, sign, value = text.partition("=")
            if not sign:
                raise InputError(f"{text!r}: write settings as path=value, e.g. training.epochs=3")
            _set(result, path, _value(value), text)
    return result


def _text(recipe: str | Path) -> str:
    known, name = catalogue(), str(recipe).replace("-", "_")
    if name in known:
        return importlib.resources.files("nearfar.recipes").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    try:
        if Path(recipe, "recipe.yaml").is_file():
            raise InputError(f"{recipe}: a folder; to run its recipe again name {recipe}/recipe.yaml")
        if Path(recipe).is_file():
            return Path(recipe).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{str(recipe)[:200]}: not readable as a recipe ({error}); a recipe is a YAML file") from error
    raise InputError(f"{recipe}: no recipe of that name and no such file; {nearest(str(recipe), known)}")


def _yaml(text: str) -> Any:
    """Return what a YAML text says. Errors: `ValueError`, for all that can be wrong with it."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from error


def _parsed(where: str, text: str) -> Recipe:
    try:
        result = _yaml(text)
    except ValueError as error:
        raise InputError(f"{where}: not YAML ({error}); mend the place named") from error
    if not isinstance(result, dict):
        what = "empty" if result is None else f"a {type(result).__name__}"
        raise InputError(f"{where}: a recipe has the sections {', '.join(SECTIONS)}; this is {what}")
    result.pop("versions", None)  # written into a run's recipe for people
    for section, value in result.items():
        if section not in SECTIONS:
            raise InputError(f"{where}: no section {section!r}; {nearest(str(section), SECTIONS)}")
        kind, shape = (list, "[{name: ..., split: ...}]") if section == "evaluate" else (dict, "{name: ..., ...}")
        several = section in SEVERAL and isinstance(value, list) and value and all(isinstance(v, dict) for v in value)
        if value is not None and not several and not isinstance(value, kind):
            shape = {"training": "{epochs: 3, ...}", "mining": "{negatives: 1, ...}"}.get(section, shape)
            raise InputError(f"{where}: section {section} is {str(value)[:60]!r}; write {section}: {shape}")
    return {section: value for section, value in result.items() if value is not None}


def _set(recipe: Recipe, path: str, value: Any, text: str) -> None:
    """Set one setting of a recipe; `text` is how the user wrote it, for errors."""
    keys = path.strip().split(".")
    if not all(keys):
        raise InputError(f"{text!r}: write settings as path=value, e.g. training.epochs=3")
    if keys[0] not in SECTIONS:
        raise InputError(f"{text!r}: no section {keys[0]!r}; {nearest(keys[0], SECTIONS)}")
    if len(keys) == 1:
        ones = {"training": "training.epochs=3", "mining": "mining.negatives=2"}
        one = {**ones, "evaluate": "evaluate.0.split=heldout"}.get(path, f"{path}.name=...")
        raise InputError(f"{text!r}: {path} is a whole section; set one of its settings, e.g. {one}")
    place: Any = recipe
    for i, key in enumerate(keys):
        last = i == len(keys) - 1
        if isinstance(place, list) and key.isdecimal() and int(key) < len(place) and not last:
            place = place[int(key)]
        elif isinstance(place, dict) and not last:
            place = place.setdefault(key, [] if key == "evaluate" else {})
        elif isinstance(place, dict):
            place[key] = value
        else:
            one = "evaluate.0.split=..." if keys[0] == "evaluate" else f"{'.'.join(keys[:i])}.0.name=..."
            entries = f"; it has entries 0 to {len(place) - 1}, e.g. {one}" if place else ""
            raise InputError(f"{text!r}: {'.'.join(keys[: i + 1])} leads nowhere in this recipe{entries}")


def _value(text: str) -> Any:
    try:
        return _yaml(text) if text else ""
    except ValueError:
        return text  # a text with YAML's own signs in it
