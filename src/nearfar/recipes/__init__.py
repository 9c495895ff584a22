"""The recipes that ship, one YAML file each: this folder is their catalogue. Here they, and a user's own, are read."""

from __future__ import annotations

import copy
import importlib.resources
import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from nearfar.errors import InputError, nearest
from nearfar.recipes.yaml_text import LARGEST, read_yaml

SECTIONS = ("data", "positives", "encoder", "heads", "loss", "objective", "ship", "training", "mining", "evaluate")
PACKAGES = {  # the sections that are parts, and the package of each
    "data": "data",
    "positives": "positives",
    "encoder": "encoders",
    "loss": "losses",
    "objective": "objectives",
}
SEVERAL = ("data", "positives")  # may be lists: several data sets
# What stands beside a part's own settings, by section or list, and stays when the part is replaced by another.
BESIDE = {"evaluate": ("split", "direction"), "views": ("times", "side"), "objective": ("weight",)}
Recipe = dict[str, Any]


def catalogue() -> dict[str, str]:
    """Return the recipes that ship: name and the first sentence of the comment above."""
    found = {}
    for entry in importlib.resources.files("nearfar.recipes").iterdir():
        if entry.name.endswith(".yaml"):
            lines = takewhile(lambda line: line.startswith("#"), entry.read_text(encoding="utf-8").splitlines())
            comment = " ".join(line.lstrip("# ") for line in lines)
            found[entry.name[:-5]] = re.split(r"[.;](?: |$)", comment)[0] + "."
    return dict(sorted(found.items()))


def load(recipe: str | Path, overrides: Sequence[str] | Mapping[str, Any] = ()) -> Recipe:
    """Return a recipe, by its name or its file, with settings overridden by path.

    A name is that of the recipe's file; a dash may stand for an underscore.

    overrides: texts as on the command line ("training.epochs=3"), or values by path ({"training.epochs": 3}), in any
    order; of two for one path the last counts. A part of another name ("loss.name=triplet", "encoder.of.name=static",
    "evaluate.0.name=knn") comes with its own defaults: the recipe's settings belonged to the part that it replaces and
    are dropped, those of the same name, too, while the overrides beside it hold. What is no setting of the part stays:
    the `split` of an entry of `evaluate`, `times` and `side` of one of `views`, `weight` and `column` of an objective.

    Errors: `InputError` for an unknown name, a file that is no recipe, an unknown section, an override that is not
    path=value, or one whose path leads nowhere.
    """
    result = _parsed(str(recipe), _text(recipe))
    for path, (value, text) in sorted(by_path(overrides).items(), key=lambda one: _outer_first(one[0])):
        _set(result, path, value, text)
    return result


def by_path(overrides: Sequence[str] | Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
    """Return the value of each override by its path, and how the user wrote it, for errors.

    Errors: `InputError` for a text that is not path=value.
    """
    if isinstance(overrides, Mapping):
        return {str(path).strip(): (value, f"{path}={value!r:.60}") for path, value in overrides.items()}
    found = {}
    for text in overrides:
        path, sign, value = text.partition("=")
        if not sign:
            raise InputError(f"{text!r}: write settings as path=value, e.g. training.epochs=3")
        found[path.strip()] = _value(value), text
    return found


def _outer_first(path: str) -> tuple[int, bool]:
    """Return the place of a path among the overrides: a part before its settings, and before the parts inside it."""
    return path.count("."), not path.endswith(".name")


def _text(recipe: str | Path) -> str:
    known, name = catalogue(), str(recipe).replace("-", "_")
    if name in known:
        return importlib.resources.files("nearfar.recipes").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    try:
        if Path(recipe, "recipe.yaml").is_file():
            raise InputError(f"{recipe}: a folder; to run its recipe again name {recipe}/recipe.yaml")
        if Path(recipe).is_file():
            with Path(recipe).open(encoding="utf-8") as file:
                return file.read(LARGEST + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{str(recipe)[:200]}: not readable as a recipe ({error}); a recipe is a YAML file") from error
    raise InputError(f"{recipe}: no recipe of that name and no such file; {nearest(str(recipe), known)}")


def _parsed(where: str, text: str) -> Recipe:
    try:
        result = read_yaml(text)
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
        if section == "ship" and isinstance(value, str):
            continue
        several = section in SEVERAL and isinstance(value, list) and value and all(isinstance(v, dict) for v in value)
        if value is not None and not several and not isinstance(value, kind):
            shapes = {
                "training": "{epochs: 3, ...}",
                "mining": "{negatives: 1, ...}",
                "heads": "{projection: {name: ..., ...}}",
                "ship": "encoder or projection",
            }
            shape = shapes.get(section, shape)
            raise InputError(f"{where}: section {section} is {str(value)[:60]!r}; write {section}: {shape}")
    return {section: value for section, value in result.items() if value is not None}


def _set(recipe: Recipe, path: str, value: Any, text: str) -> None:
    """Set one setting of a recipe; `text` is how the user wrote it, for errors."""
    keys = path.strip().split(".")
    if not all(keys):
        raise InputError(f"{text!r}: write settings as path=value, e.g. training.epochs=3")
    if keys[0] not in SECTIONS:
        raise InputError(f"{text!r}: no section {keys[0]!r}; {nearest(keys[0], SECTIONS)}")
    if path == "ship":
        recipe["ship"] = value
        return
    if len(keys) == 1:
        ones = {"training": "training.epochs=3", "mining": "mining.negatives=2", "heads": "heads.projection.name=mlp"}
        one = {**ones, "evaluate": "evaluate.0.split=heldout"}.get(path, f"{path}.name=...")
        raise InputError(f"{text!r}: {path} is a whole section; set one of its settings, e.g. {one}")
    place: Any = recipe
    for i, key in enumerate(keys[:-1]):
        if isinstance(place, list) and key.isdecimal() and int(key) < len(place):
            step: Any = int(key)
        elif isinstance(place, dict):
            step = key
            if place.get(key) is None:
                place[key] = [] if key == "evaluate" or keys[i + 1].isdecimal() else {}
        else:
            raise _leads_nowhere(keys, i, place, text)
        if isinstance(place[step], dict | list):
            place[step] = copy.copy(place[step])  # it may be the user's own, given as a value
        place = place[step]
    if not isinstance(place, dict):
        raise _leads_nowhere(keys, len(keys) - 1, place, text)
    if keys[-1] == "name" and place.get("name", value) != value:
        _drop_settings(place, keys)
    place[keys[-1]] = value


def _drop_settings(entry: dict[str, Any], keys: Sequence[str]) -> None:
    """Drop the settings of the part that another one replaces, but for what stands beside them."""
    where = next(key for key in reversed(keys[:-1]) if not key.isdecimal())
    kept = BESIDE.get(where, ())
    for key in [key for key in entry if key not in ("name", *kept)]:
        del entry[key]


def _leads_nowhere(keys: Sequence[str], i: int, place: Any, text: str) -> InputError:
    """Return the error of a path whose key `i` is not in its place."""
    one = "evaluate.0.split=..." if keys[0] == "evaluate" else f"{'.'.join(keys[:i])}.0.name=..."
    several = isinstance(place, list) and len(place)
    entries = f"; it has entries 0 to {len(place) - 1}, e.g. {one}" if several else ""
    return InputError(f"{text!r}: {'.'.join(keys[: i + 1])} leads nowhere in this recipe{entries}")


def _value(text: str) -> Any:
    if text[:1] in ("|", ">", "#", "!"):  # a delimiter: YAML would see a block, a comment or a tag, and no text
        return text
    try:
        return read_yaml(text) if text else ""
    except ValueError:
        return text  # a text with YAML's own signs in it
