"""nearfar audit: what is wrong with a data set before it is trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nearfar.cli import Json, Quiet, emit
from nearfar.cli._early import refuse_data, refuse_model, reserve
from nearfar.cli._table_settings import Delimiter, TableOverrides, reading
from nearfar.storage.folders import json_safe

if TYPE_CHECKING:
    from nearfar.audit.audit import Audit
    from nearfar.evaluation.sources import Reading


def command(
    data: Annotated[
        str, typer.Argument(help="A table, a folder of train.jsonl and test.jsonl, a BEIR folder, or pictures.")
    ],
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
    review: Annotated[
        Path | None,
        typer.Option(help="Write pairs that look wrong, to decide on: a .jsonl for serve --review."),
    ] = None,
    mirrored: Annotated[bool, typer.Option("--mirrored", help="Pictures: mirrored ones are copies, too.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of samples.", min=0)] = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Find copies, leaks, what is broken and pairs that look wrong.

    Says what is fine, too; every finding names rows and its fix. Writes a page. --fix writes a cleaned copy and a log
    of each row that was left out, --review the pairs that look wrong, for people to decide on. A cleaned copy keeps
    texts as they are: a cell that begins with =, +, - or @ is data, which a spreadsheet would run as a formula, so
    import a .csv there as text. Of pictures, in a folder or an archive, it finds and shows copies and near copies:
    saved again, resized, brightened.
    """
    read = reading(overrides, delimiter=delimiter, pairs=False)
    refuse_data(data, delimited="delimiter" in read.data)
    if model is not None:
        refuse_model(model)
    reserve(out, fix, review)
    from nearfar.data.picture_sets.members import is_picture_set

    if is_picture_set(data):
        given: dict[str, object] = {
            "--column": column,
            "--query": query,
            "--key": key,
            "--label": label,
            "--model": model,
            "--fix": fix,
            "--review": review,
        }
        given |= {"--fix-near": fix_near or None, "--fix-outliers": fix_outliers or None}
        _audit_pictures(data, read, out, mirrored=mirrored, given=given, quiet=quiet, as_json=as_json)
        return
    from nearfar.audit.audit import audit
    from nearfar.errors import InputError
    from nearfar.evaluation import sources
    from nearfar.reports import console
    from nearfar.reports.audit import page
    from nearfar.storage.folders import write_text

    if mirrored:
        raise InputError(f"{data}: holds texts; --mirrored is for pictures, leave it out")
    if fix is None and (fix_near or fix_outliers):
        raise InputError("--fix-near and --fix-outliers say what to leave out; say where to write: --fix OUT")
    if fix is not None:
        from nearfar.audit.clean import check_destination

        check_destination(data, fix)
    if review is not None:
        from nearfar.mining.review_file import refuse_name

        refuse_name(review)
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
    if review is not None:
        facts |= {"review": str(review), "to_review": _write_review(source, found, review, query, key)}
    facts = json_safe(facts)
    write_text(out, page(facts))
    emit(facts, as_json, lambda: console.show_audit(facts))


def _write_review(source: Any, found: Audit, place: Path, query: str | None, key: str | None) -> int:
    """Write the pairs to decide on, and return how many there are."""
    from nearfar.audit.review import listed_suspects
    from nearfar.mining.review_file import write_suspects

    suspects = listed_suspects(source, found, query=query, key=key)
    write_suspects(suspects, place)
    return len(suspects)


def _audit_pictures(
    data: str,
    read: Reading,
    out: Path,
    *,
    mirrored: bool,
    given: dict[str, Any],
    quiet: bool,
    as_json: bool,
) -> None:
    from nearfar.audit.pictures import audit_pictures
    from nearfar.errors import InputError
    from nearfar.reports import console
    from nearfar.reports.audit import page
    from nearfar.storage.folders import write_text

    wrong = next((name for name, value in given.items() if value is not None), None)
    if wrong is not None:
        raise InputError(f"{data}: holds pictures; {wrong} is for tables of texts, leave it out")
    part = next((name for name in ("limit", "heldout", "seed") if name in read.data), None)
    if part is not None:
        raise InputError(f"{data}: an audit compares all pictures; leave data.{part} out")
    with console.progress(quiet=quiet or as_json) as progress:
        found = audit_pictures(read.images(data), mirrored=mirrored, progress=progress)
    facts = json_safe(found.to_json() | {"model": None, "page": str(out)})
    write_text(out, page(facts, found.pictures))
    emit(facts, as_json, lambda: console.show_audit(facts))
