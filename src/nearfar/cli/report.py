"""nearfar report: the page of a run, made again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearfar.cli import Json, emit
from nearfar.printable import show


def command(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    as_json: Json = False,
) -> None:
    """Write a run's report.html again.

    From what the run recorded: a single page that needs no network.
    """
    from nearfar.errors import InputError
    from nearfar.reports.results import results_of
    from nearfar.reports.run import write_page

    if not (run / "events.jsonl").is_file():
        raise InputError(f"{run}: no events.jsonl, so this is no run; nearfar train and nearfar demo write one")
    page = write_page(run)
    emit({"report": str(page), "metrics": results_of(run).get("metrics", {})}, as_json, lambda: show(str(page)))
