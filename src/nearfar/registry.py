"""A folder is its own registry: a part's name is its file's stem, its settings are its constructor's signature."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import typing
from collections.abc import Mapping
from typing import Any

from nearfar.errors import InputError, nearest

ROOMS = ("data", "positives", "views", "encoders", "losses", "metrics")


def names(room: str) -> list[str]:
    """Return the names of a room's parts, without importing them."""
    package = importlib.import_module(f"nearfar.{room}")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))


def find(room: str, name: str, *, outside: bool = False) -> type[Any]:
    """Return the class of a part: `name` in a room's folder, or `package.module:Class` where `outside` allows it.

    Errors: an unknown name, with the nearest known one; a name from outside where none is allowed.
    """
    if ":" in name or "." in name:
        if not outside:
            raise InputError(
                f"{room}: {name!r} would run code from outside nearfar; a stored model may name built-in parts only "
                f"({', '.join(names(room))}). Train with your own recipe to use it"
            )
        return _outside(room, name)
    if name not in names(room):
        raise InputError(f"{room}: no part is called {name!r}; {nearest(name, names(room))}")
    return public_class(f"nearfar.{room}.{name}")


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


def _outside(room: str, name: str) -> type[Any]:
    module_name, _, class_name = name.partition(":")
    try:
        return typing.cast("type[Any]", getattr(importlib.import_module(module_name), class_name))
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{room}: cannot import {name!r} ({error}); write it as package.module:Class") from error


def settings(part: type[Any]) -> dict[str, inspect.Parameter]:
    """Return a part's settings: its constructor's parameters by name."""
    parameters = list(inspect.signature(part).parameters.values())
    return {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def coerce(part: type[Any], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return `given` with each value turned into its parameter's annotated type ("2e-5" becomes a number).

    Errors: an unknown setting, with the nearest known one; a value that does not fit its type.
    """
    from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError

    known = settings(part)
    hints = typing.get_type_hints(part.__init__)
    result = {}
    for key, value in given.items():
        if key not in known:
            raise InputError(f"{where}: no setting is called {key!r}; {nearest(key, known)}")
        hint = hints.get(key, Any)
        try:
            result[key] = TypeAdapter(hint).validate_python(value)
        except PydanticSchemaGenerationError:  # a part's own class: checked by isinstance
            result[key] = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
        except ValidationError as error:
            shown = getattr(hint, "__name__", str(hint))
            why = error.errors()[0]["msg"]
            raise InputError(f"{where}.{key}: {value!r} does not fit {shown}: {why}") from error
    return result


def build(room: str, spec: Mapping[str, Any], *, outside: bool = False, **context: Any) -> Any:
    """Build a part from `{name: ..., setting: value}`; it also gets those of `context` that its constructor names."""
    if "name" not in spec:
        raise InputError(f"{room}: which part? give a name; known: {', '.join(names(room))}")
    part = find(room, str(spec["name"]), outside=outside)
    given = coerce(part, {key: value for key, value in spec.items() if key != "name"}, f"{room}.{spec['name']}")
    known = settings(part)
    given |= {key: value for key, value in context.items() if key in known and key not in given}
    missing = [n for n, p in known.items() if p.default is p.empty and n not in given]
    if missing:
        raise InputError(f"{room}.{spec['name']}: {', '.join(missing)} must be given, e.g. {room}.{missing[0]}=...")
    return part(**given)


def attribute(room: str, class_name: str) -> Any:
    """Return a part by its class's name (`losses.InfoNCE` lies in losses/infonce.py): the rooms' `__getattr__`."""
    for name in names(room):
        if name.replace("_", "") == class_name.lower():
            part = public_class(f"nearfar.{room}.{name}")
            if part.__name__ == class_name:
                return part
    raise AttributeError(f"nearfar.{room} has no part {class_name!r}")


def attributes(room: str) -> list[str]:
    """Return the class names of a room's parts (imports them all)."""
    return [public_class(f"nearfar.{room}.{name}").__name__ for name in names(room)]


def name_of(part: type[Any]) -> str:
    """Return the name under which a recipe asks for a part."""
    module = part.__module__
    inside = module.startswith("nearfar.") and module.split(".")[1] in ROOMS
    return module.split(".")[-1] if inside else f"{module}:{part.__name__}"
