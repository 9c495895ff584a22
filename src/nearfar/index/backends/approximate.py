"""Settings of approximate indexes: by the index's name, whole numbers with their defaults and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nearfar.errors import InputError, nearest


@dataclass(frozen=True)
class Setting:
    """A whole number. effort: whether more of it finds more of the nearest rows, and takes longer, in each search.

    default: None leaves it to the database.
    """

    default: int | None
    least: int
    most: int
    part: Literal["build", "search", "effort"] = "build"


@dataclass(frozen=True)
class Effort:
    """Settings with all defaults, and the one of which more makes each search find more, within limits."""

    settings: Mapping[str, Any]
    name: str
    least: int
    most: int


Known = Mapping[str, Mapping[str, Setting]]  # by the name of an index, by the name of a setting


def checked(settings: Mapping[str, Any], known: Known, backend: str) -> dict[str, Any]:
    """Return settings with the defaults of those that are left out. Errors: `InputError` for a wrong name or number."""
    name = settings.get("name")
    if not isinstance(name, str) or name not in known:
        raise InputError(f"approximate: {backend} has no index {name!r:.40}; {nearest(str(name), known)}")
    found: dict[str, Any] = {"name": name} | {key: each.default for key, each in known[name].items()}
    for key, value in settings.items():
        if key not in found:
            raise InputError(f"approximate: {name} has no setting {key!r:.40}; {nearest(str(key), known[name])}")
        if key == "name" or (value is None and found[key] is None):
            continue
        allowed = known[name][key]
        if type(value) is not int or not allowed.least <= value <= allowed.most:
            limits = f"a whole number from {allowed.least} to {allowed.most:,}"
            raise InputError(f"approximate: {key} is {value!r:.40}; {name} takes {limits}")
        found[key] = value
    return found


def effort_of(settings: Mapping[str, Any], known: Known, backend: str) -> Effort:
    """Return the effort of a search by an index; it begins where settings say. Errors: as of `checked`."""
    given = checked(settings, known, backend)
    [(name, setting)] = [item for item in known[given["name"]].items() if item[1].part == "effort"]
    return Effort(given, name, settings.get(name, setting.least), setting.most)
