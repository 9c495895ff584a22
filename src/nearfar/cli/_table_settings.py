"""How a command reads the table it is given: its columns, its split, and settings by path as a recipe has them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nearfar.errors import InputError, nearest

if TYPE_CHECKING:
    from nearfar.column import Column
    from nearfar.evaluation.sources import Reading


Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SETTINGS]...", help="How to read it: data.delimiter=';' positives.query=de."),
]
TableOverrides = Annotated[
    list[str] | None, typer.Argument(metavar="[SETTINGS]...", help="How to read it: data.delimiter=';'.")
]
PARSING = (
    "delimiter",
    "header",
    "quoting",
    "escape",
)  # settings that a further file in the format of the first has, too
Delimiter = Annotated[str | None, typer.Option(help="What parts the fields of a table, whatever its name says.")]


def reading(
    overrides: Sequence[str] | None,
    *,
    delimiter: str | None = None,
    query: str | None = None,
    key: str | None = None,
    pairs: bool = True,
    further: str | None = None,
) -> Reading:
    """Return how to read a table, from a command's options and its settings by path; pairs: whether it reads pairs.

    further: the section of another file's settings, which `further_texts` reads.

    Errors: `InputError` for a setting of another section, or one that stands beside an option that says otherwise.
    """
    from nearfar import recipes
    from nearfar.evaluation.sources import Reading

    sections: dict[str, dict[str, object]] = {"data": {}, "positives": {}} if pairs else {"data": {}}
    for path, (value, text) in recipes.by_path(overrides or []).items():
        section, _, name = path.partition(".")
        if section == further:
            continue
        if section not in sections:
            names = [*sections, *([further] if further else [])]
            known = " and ".join(f"{name}.SETTING" for name in names)
            raise InputError(f"{text!r}: no setting of how data are read; {nearest(section, names)} ({known})")
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


def backend_settings(overrides: Sequence[str] | None, *, others: bool = False) -> dict[str, Any]:
    """Return the settings of what keeps the rows of an index, by name: backend.host=db.example backend.first_dim=64.

    others: whether there may be settings of other sections, which are somebody else's.

    Errors: `InputError` for a setting of another section, and for one that an option gives. No value is shown: it may
    be a connection string.
    """
    from nearfar import recipes

    found: dict[str, Any] = {}
    for path, (value, _) in recipes.by_path(overrides or []).items():
        section, _, name = path.partition(".")
        if section == "backend" and name in ("name", "precision"):
            option = "--backend" if name == "name" else "--precision"
            raise InputError(f"{path}: write {option} in its place")
        if section == "backend" and name and "." not in name:
            found[name] = value
        elif section == "backend" or not others:
            raise InputError(f"{path}: no setting of what keeps an index; write backend.port=5432 and the like")
    return found


def backend_of(backend: str | None, precision: str | None, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what was given of an index's backend, as arguments of `Index.create`."""
    given = {"backend": backend, "precision": precision, "settings": settings or None}
    return {name: value for name, value in given.items() if value is not None}


def further_texts(
    path: str, section: str, overrides: Sequence[str] | None, *, beside: str, read: Reading, likely: str | None
) -> Column:
    """Return the texts of a further file of a command, by its own settings: corpus.column=text corpus.delimiter=';'.

    Args:
        section: of its settings: those of a table, column and split.
        beside, read: the command's first file and how it is read; a file of the same format is parsed alike.
        likely: the column where none is given, if the file has it.

    Errors: those of `sources.texts`; an unknown setting.
    """
    from nearfar import recipes
    from nearfar.data.tables.files import format_suffix
    from nearfar.evaluation import sources
    from nearfar.evaluation.sources import Reading

    own: dict[str, Any] = {}
    for setting, (value, text) in recipes.by_path(overrides or []).items():
        of, _, name = setting.partition(".")
        if of == section and (not name or "." in name or name in ("name", "path")):
            raise InputError(f"{text!r}: write {section}.SETTING=VALUE, e.g. {section}.column=text")
        if of == section:
            own[name] = value
    column, split = own.pop("column", None), own.pop("split", None)
    alike = format_suffix(Path(path)) == format_suffix(Path(beside)) != ""
    parsing = {name: value for name, value in read.data.items() if alike and name in PARSING}
    return sources.texts(path, column, Reading({**parsing, **own}), split=split, likely=likely)[1]
