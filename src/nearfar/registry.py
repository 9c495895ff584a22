"""A folder is its own registry: a part's name is its file's stem, its settings are its constructor's signature."""

# This file is long because a part, a part in a part and a list of parts are checked, built and described by functions
# that call each other.

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import typing
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from nearfar import requirements
from nearfar.coerce import fitted, refuse_seed
from nearfar.compute.scheduled import Scheduled
from nearfar.errors import InputError, nearest

PART_PACKAGES = ("data", "positives", "augmentations", "encoders", "heads", "losses", "objectives", "metrics")
PLAIN = (str, bytes, int, float, list, tuple, set)  # no part is of these types
_SETTINGS: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()  # of the parts that `build` made
# By package, what nearfar hands to a constructor itself, so that no recipe sets it.
HANDED_IN = {
    "data": ("in_use",),
    "positives": ("data", "encoder", "load_model"),
    "losses": ("dim",),
    "heads": ("dim",),
    "objectives": ("encoder",),
}


@dataclass(frozen=True)
class PartOf:
    """Marks a setting that is a part itself: `of: Annotated[Loss, PartOf("losses")]`; a recipe gives its spec."""

    package: str


@dataclass(frozen=True)
class PartsOf:
    """Marks a setting that is a list of records with a part each: `Annotated[Sequence[Any], PartsOf("x", Record)]`.

    record: a dataclass. Its first field is the part, or None; a recipe gives the further ones beside the part's own
    settings: {name: text_crop, longest: 0.4, times: 2}. An entry without a name has no part.
    """

    package: str
    record: type[Any]

    @property
    def fields(self) -> tuple[str, list[str]]:
        """The record's field that holds the part, and the further ones."""
        first, *others = settings(self.record)
        return first, others


def names(package: str) -> list[str]:
    """Return the names of the parts in a package, without importing them."""
    folder = importlib.import_module(f"nearfar.{package}").__path__
    return sorted(module.name for module in pkgutil.iter_modules(folder) if not module.ispkg)


def find(package: str, name: str, *, outside: bool = False) -> type[Any]:
    """Return the class of a part: `name` in a package of parts, or `package.module:Class` where `outside` allows it.

    Errors: an unknown name, with the nearest known one; a name from outside where none is allowed; a class that lacks
    what the contract of its package asks for.
    """
    part = _named(package, name, outside=outside)
    requirements.refuse_incomplete(package, part, name)
    return part


def _named(package: str, name: str, *, outside: bool) -> type[Any]:
    if ":" in name or "." in name:
        if not outside:
            raise InputError(
                f"{package}: {name!r} would run code from outside nearfar; here only built-in parts are allowed "
                f"({', '.join(names(package))}). Name it in a recipe of your own, and train with that"
            )
        return _outside(package, name)
    if name not in names(package):
        raise InputError(f"{package}: no part is called {name!r}; {nearest(name, names(package))}")
    return public_class(f"nearfar.{package}.{name}")


def public_class(module_name: str) -> type[Any]:
    """Return the one public class that a part's file defines."""
    module = importlib.import_module(module_name)
    found = [
        value
        for key, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module_name and not key.startswith("_")
    ]
    if len(found) != 1:
        raise InputError(f"{module_name} must define exactly one public class, it defines {len(found)}")
    return found[0]


def _outside(package: str, name: str) -> type[Any]:
    module_name, _, class_name = name.partition(":")
    if str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.append(str(Path.cwd()))  # a script on the PATH does not see the folder it is called from
    try:
        part = getattr(importlib.import_module(module_name), class_name)
    except Exception as error:  # whatever the user's module raises when it is imported
        why = f"{type(error).__name__}: {error}"
        raise InputError(f"{package}: cannot import {name!r} ({why}); write it as package.module:Class") from error
    if not inspect.isclass(part):
        raise InputError(f"{package}: {name!r} is no class but a {type(part).__name__}; name the part's class")
    return part


def settings(part: type[Any]) -> dict[str, inspect.Parameter]:
    """Return what a part's constructor takes, by name."""
    parameters = list(inspect.signature(part).parameters.values())
    return {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def recipe_settings(package: str, part: type[Any]) -> dict[str, inspect.Parameter]:
    """Return a part's settings as a recipe may give them: without what nearfar hands in itself."""
    return {name: p for name, p in settings(part).items() if name not in HANDED_IN.get(package, ())}


def nested(part: type[Any]) -> dict[str, str]:
    """Return the settings that are parts themselves, and the package of each."""
    return {name: mark.package for name, mark in _marks(part) if isinstance(mark, PartOf)}


def lists(part: type[Any]) -> dict[str, PartsOf]:
    """Return the settings that are lists of records with parts, and the mark of each."""
    return {name: mark for name, mark in _marks(part) if isinstance(mark, PartsOf)}


def _marks(part: type[Any]) -> list[tuple[str, Any]]:
    hints = typing.get_type_hints(part.__init__, include_extras=True)
    return [(name, mark) for name, hint in hints.items() for mark in getattr(hint, "__metadata__", ())]


def coerced_settings(
    part: type[Any], given: Mapping[str, Any], where: str, *, but: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return `given` with each value turned into its parameter's annotated type (`coerce.fitted`: "2e-5" is a number).

    Errors: an unknown setting (those in `but` count as such), with the nearest known one; a value that does not fit.
    """
    known = {name for name in settings(part) if name not in but}
    hints = typing.get_type_hints(part.__init__)
    for key in given:
        if key not in known:
            raise InputError(f"{where}: no setting is called {key!r}; {nearest(str(key), known)}")
    inner, lists_of = nested(part), lists(part)
    found = {
        key: value
        if key in lists_of  # each entry is checked for itself
        else _spec(value, f"{where}.{key}")
        if key in inner
        else fitted(hints.get(key, Any), value, f"{where}.{key}")
        for key, value in given.items()
    }
    refuse_seed(found.get("seed"), f"{where}.seed")
    return found


def _spec(value: Any, where: str) -> Any:
    """Return what a setting that is a part holds: a spec, or the part."""
    if isinstance(value, PLAIN):
        raise InputError(f"{where}: {repr(value)[:60]} is no part; write {where}: {{name: ..., setting: value}}")
    return value


def checked(
    package: str, spec: Mapping[str, Any], *, section: str | None = None, outside: bool = False
) -> tuple[type[Any], dict[str, Any]]:
    """Return the part that `{name: ..., setting: value}` asks for, and its settings, coerced.

    section: what a recipe calls the package, for errors. Errors: those of `find` and `coerced_settings`; a setting that
    must be given and is not.
    """
    section = section or package
    if not isinstance(spec, Mapping):
        raise InputError(f"{section}: {repr(spec)[:60]} is no part; write {section}: {{name: ..., setting: value}}")
    if not spec.get("name"):
        raise InputError(f"{section}: which part? give {section}.name=...; known: {', '.join(names(package))}")
    part = find(package, str(spec["name"]), outside=outside)
    own = {key: value for key, value in spec.items() if key != "name"}
    given = coerced_settings(part, own, section, but=HANDED_IN.get(package, ()))
    missing = [n for n, p in recipe_settings(package, part).items() if p.default is p.empty and n not in given]
    if missing:
        where = f"{section}.{spec['name']}"
        raise InputError(f"{where}: {', '.join(missing)} must be given, e.g. {section}.{missing[0]}=...")
    for key, inner in nested(part).items():
        if isinstance(given.get(key), Mapping):
            _, own_given = checked(inner, given[key], section=f"{section}.{key}", outside=outside)
            given[key] = {"name": given[key]["name"], **own_given}
    for key, mark in lists(part).items():
        if key in given:
            given[key] = checked_list(mark, given[key], f"{section}.{key}", outside=outside)
    return part, given


def checked_list(mark: PartsOf, entries: Any, where: str, *, outside: bool = False) -> list[Any]:
    """Return the entries of a list of records: each a record, or a dictionary of its settings, coerced.

    A part by itself is a record of it, with the further fields at their defaults.

    Errors: those of `checked`, with the entry's place; `InputError` for what is no list of such entries.
    """
    if isinstance(entries, str | Mapping) or not isinstance(entries, Sequence):
        raise InputError(
            f"{where}: {repr(entries)[:60]} is no list; write {where}: [{{name: ..., setting: value}}, ...]"
        )
    return [_checked_entry(mark, entry, f"{where}.{i}", outside) for i, entry in enumerate(entries)]


def _checked_entry(mark: PartsOf, entry: Any, where: str, outside: bool) -> Any:
    first, further = mark.fields
    if isinstance(entry, mark.record):
        return entry
    if not isinstance(entry, Mapping):
        return mark.record(_part_itself(mark, entry, where))
    own = coerced_settings(mark.record, {key: value for key, value in entry.items() if key in further}, where)
    rest = {key: value for key, value in entry.items() if key not in further}
    if list(rest) == [first] and not isinstance(rest[first], Mapping | str):
        return mark.record(_part_itself(mark, rest[first], where), **own)
    name = str(rest.get("name") or "")
    known = {*further, "name", *(settings(find(mark.package, name, outside=outside)) if name else ())}
    for key in rest:
        if key not in known:
            raise InputError(f"{where}: no setting is called {key!r}; {nearest(str(key), known)}")
    part = {"name": name, **checked(mark.package, rest, section=where, outside=outside)[1]} if name else {}
    return part | own


def _part_itself(mark: PartsOf, given: Any, where: str) -> Any:
    """Return a part of a list as Python gives it. Errors: `InputError` for what is none, with what to write."""
    if given is not None and (isinstance(given, PLAIN) or inspect.isclass(given)):
        raise InputError(
            f"{where}: {repr(given)[:60]} is no part; write {{name: ..., setting: value}}, or in Python the part "
            f'itself, {{"{mark.fields[0]}": part}}'
        )
    if given is not None:
        requirements.refuse_incomplete(mark.package, given, where=where)
    return given


def build_list(mark: PartsOf, entries: Any, where: str, *, outside: bool = False, **context: Any) -> list[Any]:
    """Return a list of records, the part of each built. Errors: those of `checked_list`."""
    further, built = mark.fields[1], []
    for i, entry in enumerate(checked_list(mark, entries, where, outside=outside)):
        if isinstance(entry, Mapping):
            own = {key: entry[key] for key in further if key in entry}
            spec, section = {key: value for key, value in entry.items() if key not in own}, f"{where}.{i}"
            part = build(mark.package, spec, section=section, outside=outside, **context) if spec else None
            built.append(mark.record(part, **own))
        else:
            built.append(entry)
    return built


def build(
    package: str, spec: Mapping[str, Any], *, section: str | None = None, outside: bool = False, **context: Any
) -> Any:
    """Build a part from `{name: ..., setting: value}`; it also gets those of `context` that its constructor names.

    Errors: those of `checked`.
    """
    part, given = checked(package, spec, section=section, outside=outside)
    dim: dict[str, Any] = {}  # of the vectors of the encoder that a head stands behind
    for key, inner in nested(part).items():
        if isinstance(given.get(key), Mapping):
            more = context | dim if inner == "heads" else context
            given[key] = build(inner, given[key], section=f"{section or package}.{key}", outside=outside, **more)
        if inner == "encoders" and given.get(key) is not None:
            dim = {"dim": given[key].dim}
    for key, mark in lists(part).items():
        if key in given:
            given[key] = build_list(mark, given[key], f"{section or package}.{key}", outside=outside, **context)
    handed = {key: value for key, value in context.items() if key in settings(part) and key not in given}
    built = part(**given, **handed)
    requirements.refuse_incomplete(package, built, str(spec["name"]))
    remember(built, given)
    return built


def remember(part: Any, given: Mapping[str, Any]) -> None:
    """Remember the settings that a part was made with, as `build` does.

    A part that is made by hand calls it, where its attributes of the same names are something else.
    """
    with suppress(TypeError):  # a class with __slots__ may not allow weak references
        _SETTINGS[part] = dict(given)


def _remembered(part: Any) -> dict[str, Any] | None:
    with suppress(TypeError):  # a class may allow no weak references, or have no hash
        return _SETTINGS.get(part)
    return None


def recipe_of(package: str, part: Any) -> dict[str, Any]:
    """Return a part as a recipe names it: its name, and its settings as they were given, defaults included.

    A tuple is a list, as in the JSON of a model folder.

    Errors: `InputError` for a part that was made by hand, and does not keep a setting as an attribute.
    """
    kind, given = type(part), _remembered(part)
    known = recipe_settings(package, kind)
    if given is None:
        lost = [name for name in known if not hasattr(part, name)]
        if lost:
            raise InputError(
                f"{package} {name_of(kind)}: it does not keep {', '.join(lost)}; keep each setting of the constructor "
                "as an attribute of the same name"
            )
        given = {name: getattr(part, name) for name in known}
    full = {name: given.get(name, p.default) for name, p in known.items()}
    return {"name": name_of(kind)} | {
        n: list(value) if isinstance(value, tuple) else value for n, value in full.items()
    }


def settings_of(part: Any) -> dict[str, Any]:
    """Return a part's name and plain settings, defaults included; a part inside it is a dictionary of the same form.

    The settings of a part that `build` made are remembered (`remember`). Those of any other part are its attributes of
    the same names; where it lacks one of these, all its plain attributes. The identity of a run consists of these.
    """
    kind, given = type(part), _remembered(part)
    found = {key: p.default for key, p in settings(kind).items() if p.default is not p.empty}
    if given is not None:
        found |= given
    elif all(hasattr(part, name) for name in settings(kind)):
        found |= {name: getattr(part, name) for name in settings(kind)}
    else:
        kept = getattr(part, "__dict__", {})  # a class with slots has none
        found = {name: v for name, v in kept.items() if name != "training" and not isinstance(v, tuple)}
    inner = nested(kind)
    marks = lists(kind)
    listed = {name: found[name] for name in marks if isinstance(found.get(name), list | tuple)}
    plain = {name: _as_plain(value) for name, value in found.items() if name not in inner and name not in marks}
    parts = {name: getattr(part, name, found.get(name)) for name in inner}  # as built, where the setting was left out
    own: dict[str, Any] = {name: settings_of(one) for name, one in parts.items() if one is not None}
    for name, entries in listed.items():
        own[name] = [
            settings_of_record(marks[name], one) for one in build_list(marks[name], entries, name, outside=True)
        ]
    return {"name": name_of(kind)} | {name: value for name, value in plain.items() if value is not None} | own


def settings_of_record(mark: PartsOf, record: Any) -> dict[str, Any]:
    """Return the settings of a record and of its part, as one entry of a recipe's list has them."""
    first, further = mark.fields
    part = getattr(record, first)
    return (settings_of(part) if part is not None else {}) | {name: getattr(record, name) for name in further}


def _as_plain(value: Any) -> Any:
    """Return a setting as JSON would give it back; None for what is no setting, such as data and layers."""
    if hasattr(value, "item") and getattr(value, "size", 2) != 0:
        try:
            value = value.item()  # a learnt number
        except (RuntimeError, ValueError):
            return None
    if isinstance(value, float):
        return float(f"{value:.6g}")  # a temperature kept as the logarithm of its inverse comes back as 0.05000000075
    if isinstance(value, Scheduled):
        value = value.plain()
    if isinstance(value, dict):
        return str(sorted((str(key), _as_plain(inner)) for key, inner in value.items()))
    if isinstance(value, list | tuple):
        return str([_as_plain(inner) for inner in value])
    if isinstance(value, set | frozenset):
        return str(sorted(map(str, value)))
    if isinstance(value, Path):
        return str(value)
    return value if isinstance(value, int | str) else None


def attribute(package: str, class_name: str) -> Any:
    """Return a part by its class's name, as `nf.losses.InfoNCE` asks: the `__getattr__` of a package of parts.

    The class has the name of its file, and says more where another package has a part of that name: encoders/image.py
    holds `ImageEncoder`.
    """
    for name in names(package):
        if class_name.lower().startswith(name.replace("_", "")):
            part = public_class(f"nearfar.{package}.{name}")
            if part.__name__ == class_name:
                return part
    raise AttributeError(f"nearfar.{package} has no part {class_name!r}")


def attributes(package: str) -> list[str]:
    """Return the class names of a package's parts (imports them all)."""
    return [public_class(f"nearfar.{package}.{name}").__name__ for name in names(package)]


def name_of(part: type[Any]) -> str:
    """Return the name under which a recipe asks for a part."""
    module = part.__module__
    package = module.removeprefix("nearfar.").split(".")[0]
    inside = module.startswith("nearfar.") and package in PART_PACKAGES
    return module.split(".")[-1] if inside else f"{module}:{part.__name__}"
