"""The recipes that ship, one YAML file each: this folder is their catalogue. Here they, and a user's own, are read."""

from __future__ import annotations

import copy
import importlib.resources
import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

from nearfar.column_names import repeated
from nearfar.errors import InputError, nearest

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
BESIDE = {"evaluate": ("split",), "views": ("times", "side"), "objective": ("weight",)}
LARGEST = 1 << 20  # characters of a recipe, aliases written out; ours have some hundred
DEEPEST = 32  # levels of lists and mappings
Recipe = dict[str, Any]


class _RecipeLoader(yaml.SafeLoader):
    """YAML 1.2's reading of plain words: 2e-3 is a number; yes, no, on, off, 010, 1:30 and 2024-01-01 are texts.

    YAML 1.1, PyYAML's own, reads 2e-3 as text, and a column called `on` as true.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping. Errors: `yaml.YAMLError` for a key that is there twice: the last would silently count."""
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if (twice := repeated(names)) is not None:
            raise yaml.constructor.ConstructorError(None, None, f"{twice!r} is there twice", node.start_mark)
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


class _RecipeDumper(yaml.SafeDumper):
    """Puts quotes around the texts that `_RecipeLoader` or YAML 1.1 would read as something else."""


PLAIN_WORDS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    "float": (
        r"[-+]?(([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(inf|Inf|INF))|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    "merge": (r"<<", ["<"]),
}
_RecipeLoader.yaml_implicit_resolvers = {}  # none of YAML 1.1's; the dumper adds to them
for _tag, (_words, _first) in PLAIN_WORDS.items():
    for _reader in (_RecipeLoader, _RecipeDumper):
        _reader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_words})$"), _first)


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


def dumped(recipe: Mapping[str, Any]) -> str:
    """Return a recipe, or any plain values, as YAML that `load` reads back as the same values."""
    return str(yaml.dump(dict(recipe), Dumper=_RecipeDumper, sort_keys=False, allow_unicode=True))


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


def _yaml(text: str) -> Any:
    """Return what a YAML text says. Errors: `ValueError`, for all that can be wrong with it."""
    try:
        _refuse_explosion(text)
        return _RecipeLoader(text).get_single_data()
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from error


def _refuse_explosion(text: str) -> None:
    """Refuse a text that stands for too much, before any of it is built: aliases that repeat aliases, deep nesting.

    Errors: `ValueError`, and `yaml.YAMLError` for what is no YAML.
    """
    if len(text) > LARGEST:
        raise ValueError(f"more than {LARGEST:,} characters, the most that are read")
    sizes: dict[str, int] = {}  # of what each anchor stands for: values and their characters, aliases written out
    inside: list[tuple[str | None, int]] = [(None, 0)]  # the anchors and sizes of the collections that are open
    for event in yaml.parse(text, Loader=_RecipeLoader):
        where = "" if event.start_mark is None else f"line {event.start_mark.line + 1}: "
        if isinstance(event, yaml.CollectionStartEvent):
            inside.append((event.anchor, 1))
            if len(inside) > DEEPEST:
                raise ValueError(f"{where}nested more than {DEEPEST} levels deep")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, size = inside.pop()
        elif isinstance(event, yaml.ScalarEvent):
            anchor, size = event.anchor, 1 + len(event.value)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise ValueError(f"{where}*{event.anchor:.60} stands for nothing that is whole before it")
            anchor, size = None, sizes[event.anchor]
        else:
            continue
        if anchor is not None:
            sizes[anchor] = size
        inside[-1] = inside[-1][0], inside[-1][1] + size
        if inside[-1][1] > LARGEST:
            raise ValueError(f"{where}its aliases stand for more than {LARGEST:,} characters, the most that are read")


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
        return _yaml(text) if text else ""
    except ValueError:
        return text  # a text with YAML's own signs in it
