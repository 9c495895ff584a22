"""nearfar audit: what is wrong with a data set before it is trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nearfar.cli import Json, Quiet, emit
from nearfar.cli._early import refuse_data, refuse_model, reserve
from nearfar.cli._table_settings import Delimiter, TableOverrides, reading
from nearfar.storage.folders import json_safe


def command(
    data: Annotated[str, typer.Argument(help="A table, a folder of train.jsonl and test.jsonl, or a BEIR folder.")],
    overrides: TableOverrides = None,
    column: Annotated[str | None, typer.Option(help="Audit this column alone, as texts.")] = None,
    query: Annotated[str | None, typer.Option(help="Column of queries, where names do not say so.")] = None,
    key: Annotated[str | None, typer.Option(help="Column of keys.")] = None,
    label: Annotated[str | None, typer.Option(help="Column of classes.")] = None,
    delimiter: Delimiter = None,
    model: Annotated[str | None, typer.Option(help="A model's folder; without it, tf-idf of the words.")] = None,
    out: Annotated[Path, typer.Option(help="The page.")] = Path("runs/audit.html"),
    fix: Annotated[Path | None, typer.Option(help="Write a cleaned copy: a .jsonl, .parquet, .csv, or folder.")] = None,
    fix_near: Annotated[bool, typer.Option("--fix-near", help="Leave out near copies and near leaks, too.")] = False,
    fix_outliers: Annotated[bool, typer.Option("--fix-outliers", help="... and pairs that look unrelated.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of samples.", min=0)] = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Find copies, leaks, broken texts and pairs that look wrong.

    Says what is fine, too; every finding names rows and its fix. Writes a page. --fix writes a cleaned copy and a log
    of each row that was left out. It keeps texts as they are: a cell that begins with =, +, - or @ is data, which a
    spreadsheet would run as a formula, so import a .csv there as text.
    """
    read = reading(overrides, delimiter=delimiter, pairs=False)
    refuse_data(data, delimited="delimiter" in read.data)
    if model is not None:
        refuse_model(model)
    reserve(out, fix)
    from nearfar.audit.audit import audit
    from nearfar.errors import InputError
    from nearfar.evaluation import sources
    from nearfar.reports import console
    from nearfar.reports.audit import page
    from nearfar.storage.folders import write_text

    if fix is None and (fix_near or fix_outliers):
        raise InputError("--fix-near and --fix-outliers say what to leave out; say where to write: --fix OUT")
    if fix is not None:
        from nearfar.audit.clean import check_destination

        check_destination(data, fix)
    loaded = None if model is None else sources.text_model(model, "an audit reads text")
    source = sources.table_or_path(data, read)
    with console.progress(quiet=quiet or as_json) as progress:
        found = audit(
            source, column=column, query=query, key=key, label=label, model=loaded, seed=seed, progress=progress
        )
    facts: dict[str, Any] = found.to_json() | {"model": model, "page": str(out)}
    if fix is not None:
        from nearfar.audit.clean import clean

        facts["fixed"] = clean(source, found, fix, near=fix_near, outliers=fix_outliers)
    facts = json_safe(facts)
    write_text(out, page(facts))
    emit(facts, as_json, lambda: console.show_audit(facts))
