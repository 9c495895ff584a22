"""nearfar index approximate: an approximate index by its name, with the recall that was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from nearfar.cli import Json, Quiet, emit
from nearfar.errors import InputError
from nearfar.printable import show


def approximate(
    index: Annotated[Path, typer.Argument(help="The index's folder.")],
    name: Annotated[
        str, typer.Argument(help="Of lance ivf_flat, ivf_pq, ivf_hnsw_sq; of pgvector hnsw, ivfflat; none.")
    ],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[SETTINGS]...", help="How it is built: m=32 ef_construction=200.")
    ] = None,
    recall: Annotated[float, typer.Option(help="The share of the 10 nearest rows that must be found.")] = 0.99,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Search approximately, with a recall that is measured.

    An approximate index is built, and how far a search looks is raised until --recall is reached on 400 rows of your
    own as queries. What was measured is kept: nearfar index info shows it, and nearfar index check measures again.
    Where the recall is not reached, that is an error and searches stay exact. The name none makes them exact again.
    """
    given = _numbers(settings or [])
    from nearfar.index.index import Index

    with Index.open(index) as opened:

        def say(line: str) -> None:
            if not quiet:
                show(line, error=True, flush=True)

        measured = opened.approximate(None if name == "none" else name, given, recall=recall, say=say)
    line = f"{index}: searches are exact" if measured is None else f"{index}: {described(measured)}"
    emit({"index": str(index), "approximate": measured}, as_json, lambda: show(line))


def described(measured: Mapping[str, Any]) -> str:
    """Return what was measured of an approximate index, for people."""
    settings = ", ".join(
        f"{key} {value}" for key, value in measured["settings"].items() if key != "name" and value is not None
    )
    return (
        f"{measured['settings']['name']} ({settings}) finds {measured['recall']:.4f} of the {measured['k']} nearest "
        f"(asked: {measured['asked']}) in {measured['milliseconds']:.2f} ms a query, exact: "
        f"{measured['exact_milliseconds']:.2f} ms; {measured['queries']} queries, {measured['date']}"
    )


def _numbers(given: Sequence[str]) -> dict[str, int]:
    """Return settings by name. Errors: `InputError` for what is not NAME=NUMBER."""
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals or not (value.isascii() and value.isdecimal()) or len(value) > 9:
            raise InputError(f"{text:.60}: write SETTING=NUMBER, e.g. ef_construction=200")
        found[name] = int(value)
    return found
