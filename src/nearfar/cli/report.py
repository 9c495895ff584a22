"""nearfar report: the page of a run, made again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearfar.cli import Json, emit
from nearfar.printable import printable


def command(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    as_json: Json = False,
) -> None:
    """Write a run's report.html again.

    From what the run recorded: a single page that needs no network.
    """
    import json

    from nearfar.errors import InputError
    from nearfar.reports.run import write_page

    if not (run / "events.jsonl").is_file():
        raise InputError(f"{run}: no events.jsonl, so this is no run; nearfar train and nearfar demo write one")
    page = write_page(run)
    results = run / "results.json"
    facts = json.loads(results.read_text(encoding="utf-8")) if results.is_file() else {}
    emit({"report": str(page), "metrics": facts.get("metrics", {})}, as_json, lambda: print(printable(str(page))))
