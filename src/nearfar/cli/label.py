"""nearfar label: classes for pictures or texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nearfar.cli import Json, emit
from nearfar.cli._early import refuse_data, refuse_model, reserve
from nearfar.cli._table_settings import Delimiter, TableOverrides, reading
from nearfar.errors import InputError
from nearfar.figures import counted
from nearfar.printable import show

if TYPE_CHECKING:
    from nearfar.column import Column
    from nearfar.evaluation.sources import Reading
    from nearfar.uses.label import ZeroShotLabels

_CLASSES = 20  # that are shown
_EXAMPLES = 3  # of each kind
app = typer.Typer(
    help="Tell the class of pictures or texts.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _group() -> None:
    """Keep a group of one command a group."""


@app.command(name="zero-shot")
def zero_shot(
    model: Annotated[str, typer.Argument(help="A model's folder; one side of it must read text.")],
    pictures: Annotated[
        str, typer.Argument(help="A folder or archive of pictures, one picture; or a table of texts, as of search.")
    ],
    overrides: TableOverrides = None,
    *,
    classes: Annotated[list[str], typer.Option(help="Their names, with commas: cat,dog. Repeatable.")],
    out: Annotated[Path, typer.Option(help="A .csv or .jsonl file: id, label, cosine, margin.")],
    template: Annotated[
        list[str] | None,
        typer.Option(help="A prompt with {} for the name, 'a photo of a {}.'. Repeatable; five usual ones."),
    ] = None,
    column: Annotated[str | None, typer.Option(help="The table's column of texts.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of data with several; train, where there is one.")] = None,
    delimiter: Delimiter = None,
    as_json: Json = False,
) -> None:
    """Write each picture's class, told by the names of the classes.

    A model with a side for pictures and one for texts embeds prompts such as "a photo of a cat."; the class with the
    highest cosine is the label, and the margin is how far it lies above the second. Every picture gets one of the
    classes, also where it shows none of them. Rows stand in the order of the input.
    """
    from nearfar.text.class_prompts import checked_classes, checked_templates

    if out.suffix.lower() not in (".csv", ".jsonl"):
        raise InputError(f"{out}: unknown kind of file; write to a name that ends in .csv or .jsonl")
    labels = [name.strip() for given in classes for name in given.split(",")] if any(classes) else []
    checked_classes(labels, "--classes")
    templates = checked_templates(template, None, "--template") if template else None
    refuse_model(model)
    read = reading(overrides, delimiter=delimiter, pairs=False)
    if not _is_picture(pictures):
        refuse_data(pictures, delimited="delimiter" in read.data)
    reserve(out)
    from nearfar.model import Model
    from nearfar.uses import label

    ids, cells = _cells(pictures, column, read, split)
    loaded = Model.load(model)
    found = label.zero_shot(loaded, cells, labels, templates)
    label.write_labels(out, ids, found)
    facts = {"out": str(out), "rows": len(ids), "classes": found.counts(), "templates": found.templates}
    facts |= {"sides": found.sides, "examples": _examples(ids, found), "fingerprint": loaded.fingerprint}
    emit(facts, as_json, lambda: _show(facts))


def _is_picture(path: str) -> bool:
    from nearfar.pictures.decode import is_picture_name

    return is_picture_name(path) and not Path(path).is_dir()


def _cells(path: str, column: str | None, read: Reading, split: str | None) -> tuple[list[str], Column]:
    """Return what is to be labelled, with ids: one picture, the pictures of a set, or the texts of a table."""
    from nearfar.column import ListColumn
    from nearfar.evaluation import sources

    if _is_picture(path):
        sources.refuse_for(path, "one picture is read as it is", column, split)
        return [path], ListColumn("image", [sources.picture(path)])
    return sources.texts(path, column, read, split=split)


def _examples(ids: list[str], found: ZeroShotLabels) -> dict[str, list[dict[str, Any]]]:
    """Return the cells that are furthest from a second class, and then those that are nearest to one."""
    order = sorted(range(len(ids)), key=lambda i: (-found.margins[i], i))
    surest, closest = order[:_EXAMPLES], order[_EXAMPLES:][-_EXAMPLES:][::-1]
    chosen = {"surest": surest, "closest to another class": closest}
    return {what: [found.row(i, ids[i]) for i in rows] for what, rows in chosen.items() if rows}


def _show(facts: dict[str, Any]) -> None:
    counts, width = facts["classes"], len(f"{facts['rows']:,}")
    show(f"{counted(facts['rows'], 'rows')} in {facts['out']}, by {counted(len(facts['templates']), 'templates')}", "")
    show(*(f"{count:>{width},}  {name:.60}" for name, count in list(counts.items())[:_CLASSES]))
    if len(counts) > _CLASSES:
        show(f"{len(counts) - _CLASSES:,} more classes")
    for what, rows in facts["examples"].items():
        show("", f"{what}:")
        show(*(f"  {row['margin']:.3f}  {row['label']:.40}  {row['id']}" for row in rows))
