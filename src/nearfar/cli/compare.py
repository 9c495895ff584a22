"""nearfar compare: runs beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearfar.cli import Json, emit
from nearfar.cli._early import reserve


def command(
    runs: Annotated[
        list[Path], typer.Argument(help="The folders of two or more runs; each is compared with the first.")
    ],
    out: Annotated[Path | None, typer.Option(help="Write a page to look at: FILE.html.")] = None,
    as_json: Json = False,
) -> None:
    """Compare runs with the first of them, row by row.

    Differences with intervals, the queries that went better and worse, learning curves, settings that differ. Runs that
    were judged on different data or splits are refused.
    """
    reserve(out)
    from nearfar.reports.comparison import comparison
    from nearfar.reports.comparison_tables import show_comparison
    from nearfar.reports.run_record import run_records

    records = run_records(runs)
    facts = comparison(records)
    if out is not None:
        from nearfar.reports.comparison_page import page
        from nearfar.storage.folders import write_text

        write_text(out, page(facts))
    emit(facts, as_json, lambda: show_comparison(facts))
