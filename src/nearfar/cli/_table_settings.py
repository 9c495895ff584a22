"""How a command reads the table it is given: its columns, its split, and settings by path as a recipe has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from nearfar.errors import InputError, nearest

if TYPE_CHECKING:
    from nearfar.evaluation.sources import Reading


Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SETTINGS]...", help="How to read it: data.delimiter=';' positives.query=de."),
]
TableOverrides = Annotated[
    list[str] | None, typer.Argument(metavar="[SETTINGS]...", help="How to read it: data.delimiter=';'.")
]
Delimiter = Annotated[str | None, typer.Option(help="What parts the fields of a table, whatever its name says.")]


def reading(
    overrides: Sequence[str] | None,
    *,
    delimiter: str | None = None,
    query: str | None = None,
    key: str | None = None,
    pairs: bool = True,
) -> Reading:
    """Return how to read a table, from a command's options and its settings by path; pairs: whether it reads pairs.

    Errors: `InputError` for a setting of another section, or one that stands beside an option that says otherwise.
    """
    from nearfar import recipes
    from nearfar.evaluation.sources import Reading

    sections: dict[str, dict[str, object]] = {"data": {}, "positives": {}} if pairs else {"data": {}}
    for path, (value, text) in recipes.by_path(overrides or []).items():
        section, _, name = path.partition(".")
        if section not in sections:
            known = " and ".join(f"{section}.SETTING" for section in sections)
            raise InputError(f"{text!r}: no setting of how data are read; {nearest(section, sections)} ({known})")
        if section == "data" and name in ("name", "path"):
            raise InputError(f"{text!r}: what to read is the argument; leave this out")
        if not name or "." in name:
            raise InputError(f"{text!r}: write {section}.SETTING=VALUE, e.g. data.delimiter=';'")
        sections[section][name] = value
    options = [("data", "delimiter", delimiter), ("positives", "query", query), ("positives", "key", key)]
    for section, name, given in options:
        if given is not None:
            if sections[section].get(name, given) != given:
                raise InputError(f"--{name} {given} and {section}.{name}={sections[section][name]}: give one of them")
            sections[section][name] = given
    return Reading(sections["data"], sections.get("positives", {}))
