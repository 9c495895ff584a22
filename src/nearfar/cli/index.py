"""nearfar index: rows in a folder that is searched, and what it takes to keep them right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nearfar.cli import Json, emit
from nearfar.cli._early import refuse_data, refuse_model
from nearfar.cli._index_approximate import approximate, described
from nearfar.cli._index_build import build
from nearfar.cli._table_settings import Delimiter, backend_of, backend_settings, reading
from nearfar.errors import InputError, NearfarError
from nearfar.figures import mapping
from nearfar.printable import show

if TYPE_CHECKING:
    from nearfar.index.index import Index

Folder = Annotated[Path, typer.Argument(help="The index's folder.")]
RowOverrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SETTINGS]...", help="data.delimiter=';'; of a new index: backend.host=db."),
]
Where = Annotated[str | None, typer.Option(help="A filter: \"year >= 2020 and lang = 'de'\".")]
app = typer.Typer(
    help="Build an index of documents, rows or vectors, and keep it.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(build)
app.command()(approximate)


@app.command()
def add(
    index: Annotated[Path, typer.Argument(help="The index's folder; with --model or --vectors it may be new.")],
    table: Annotated[str, typer.Argument(help="A table with ids, texts, and fields in its other columns.")],
    overrides: RowOverrides = None,
    model: Annotated[str | None, typer.Option(help="A model's folder; by default the index's own.")] = None,
    vectors: Annotated[
        Path | None, typer.Option(help="A .npy file (n, d), a vector for each row of the table.")
    ] = None,
    column: Annotated[str | None, typer.Option(help="The table's column of texts.")] = None,
    id_column: Annotated[
        str | None, typer.Option("--id", help="The table's column of ids; without one, ids are of the texts.")
    ] = None,
    delimiter: Delimiter = None,
    backend: Annotated[
        str | None, typer.Option(help="Of a new index: what keeps the rows, exact, lance or pgvector.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="Of a new index: float32, float16, int8 or bits.")] = None,
    as_json: Json = False,
) -> None:
    """Add the rows of a table, or replace those of their ids.

    Columns of texts, numbers and booleans become fields, by which searches are filtered; others are left out. Where no
    column has ids, they are made of the texts, so that a table that is added again doubles no row.
    """
    if model is not None:
        refuse_model(model)
    read = reading(overrides, delimiter=delimiter, pairs=False, further="backend")
    kept = backend_of(backend, precision, backend_settings(overrides, others=True))
    refuse_data(table, delimited="delimiter" in read.data)
    from nearfar.cli._index_rows import rows_of, vectors_of
    from nearfar.index.folder import IndexFolder
    from nearfar.index.generations import refuse_other_backend
    from nearfar.index.index import Index
    from nearfar.index.upkeep import WORTH_OPTIMISING

    given = None if vectors is None else vectors_of(vectors)
    parts, identity = rows_of(table, read, column, given, id_column)
    if (place := IndexFolder(index)).is_there():
        refuse_other_backend(place, kept)
        opened = Index.open(index, model or _model_of(index))
    elif model is None and given is None:
        raise InputError(f"{index}: no index there; give --model or --vectors to make one, or see nearfar index build")
    else:
        dim = given.shape[1] if model is None and given is not None else None
        opened = Index.create(index, model, dim=dim, **kept)
    with opened:
        added = sum(opened.add(rows, of_rows) for rows, of_rows in parts)
        if added >= WORTH_OPTIMISING:
            opened.optimise()
        facts = {"index": str(index), "added": added, "rows": opened.count(), "ids": identity}
    by_text = [] if identity is not None else ["  ids are of the texts, as the table has no column id (--id names one)"]
    line = f"{index}: {added:,} rows added or replaced; it has {facts['rows']:,}"
    emit(facts, as_json, lambda: show(line, *by_text))


@app.command()
def delete(
    index: Folder,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of rows.")] = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Remove rows by their ids, or those that match a filter."""
    with _opened(index) as opened:
        removed = opened.delete(ids or None, where=where)
        facts = {"index": str(index), "deleted": removed, "rows": opened.count()}
    emit(facts, as_json, lambda: show(f"{index}: {removed:,} rows removed; it has {facts['rows']:,}"))


@app.command()
def check(index: Folder, as_json: Json = False) -> int:
    """Say whether the parts of an index agree, in a moment.

    The recall of an approximate search is measured again.
    """
    with _opened(index) as opened:
        return _told(index, opened.check(), as_json)


@app.command()
def verify(index: Folder, as_json: Json = False) -> int:
    """Read every row, and say whether each is as it was written."""
    with _opened(index) as opened:
        return _told(index, opened.verify(), as_json)


@app.command()
def info(index: Folder, as_json: Json = False) -> None:
    """Say what an index is: model, rows, fields, generations."""
    with _opened(index) as opened:
        facts = opened.info()
    emit(facts, as_json, lambda: _show(index, facts))


@app.command()
def swap(
    index: Folder,
    drop_old: Annotated[bool, typer.Option("--drop-old", help="Delete the generation that is replaced.")] = False,
    as_json: Json = False,
) -> None:
    """Search the generation that was built beside with another model.

    It takes the place of the present one at once; that stays until another is built, unless --drop-old is given.
    """
    from nearfar.index.index import Index

    Index.swap(index, drop_old=drop_old)
    with _opened(index) as opened:
        facts = opened.info()
    emit(facts, as_json, lambda: _show(index, facts))


def _opened(index: Path) -> Index:
    from nearfar.index.index import Index

    return Index.open(index)


def _model_of(index: Path) -> str | None:
    """Return the folder of an index's model; None where it has none, or it is not there any more."""
    from nearfar.index.folder import IndexFolder

    model = IndexFolder(index).contents().searched.model
    if model is not None:
        try:
            refuse_model(model)
        except NearfarError:
            return None
    return model


def _told(index: Path, facts: dict[str, Any], as_json: bool) -> int:
    """Say what a check found; return the exit code."""
    problems = facts["problems"]
    lines = [
        f"{index}: {facts['rows']:,} rows, {'no problem' if not problems else f'{len(problems)} problems'}",
        *problems,
    ]
    if "approximate" in facts:
        lines.append(described(facts["approximate"]))
    emit(facts, as_json, lambda: show(*lines))
    return 1 if problems else 0


def _show(index: Path, facts: dict[str, Any]) -> None:
    fields = ", ".join(f"{name} ({kind})" for name, kind in facts["fields"].items())
    settings = ", ".join(f"{name} {value}" for name, value in mapping(facts["backend"]).items() if name != "name")
    show(
        f"{index}: {facts['rows']:,} rows, {facts['texts']:,} with text, {facts['bytes'] / 1e6:,.1f} MB",
        f"  model    {facts['model'] or 'not known'} ({facts['dim']} dimensions, fingerprint {facts['fingerprint']})",
        f"  backend  {facts['backend']['name']} ({settings})",
        f"  fields   {fields or 'none'}",
        f"  words    {facts['language'] or 'no stems'}",
        f"  digest   {facts['digest']}, generation {facts['generation']}",
    )
    if facts["thumbnails"]:
        show(f"  pictures {facts['thumbnails']:,} thumbnails, {facts['thumbnail_bytes'] / 1e6:,.1f} MB")
    show(f"  search   {'exact' if facts['approximate'] is None else described(facts['approximate'])}")
    if facts["others"]:
        show(f"  beside   generation {', '.join(map(str, facts['others']))}")
