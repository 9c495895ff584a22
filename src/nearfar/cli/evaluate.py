"""nearfar evaluate: a verdict on a model, beside a baseline, with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearfar.cli._output import Json, emit, finite


def command(
    model: Annotated[str, typer.Argument(help="A model's folder.")],
    data: Annotated[str, typer.Argument(help="A BEIR folder, a file of graded sentence pairs, or a table of pairs.")],
    baseline: Annotated[list[str] | None, typer.Option(help="bm25, or another model's folder; may be repeated.")] = None,
    split: Annotated[str, typer.Option(help="Of a data set that has several.")] = "test",
    out: Annotated[Path | None, typer.Option(help="Keep the whole report as JSON in this file.")] = None,
    as_json: Json = False,
) -> None:
    """Judge a model on data it was not trained on; every difference comes with a 95 % interval."""
    import json

    from nearfar.cli import _sources
    from nearfar.evaluation.evaluate import evaluate
    from nearfar.folders import made, write_text
    from nearfar.model import Model

    loaded = Model.load(model)
    others = [name if name == "bm25" else Model.load(name) for name in baseline or []]
    report = evaluate(loaded, _sources.task(data, split), baselines=others)
    facts = report.to_json()
    if out is not None:
        made(out.parent)
        write_text(out, json.dumps(finite(facts), indent=1, ensure_ascii=False) + "\n")

    def show() -> None:
        from rich.console import Console

        Console().print(report.table())

    emit(facts, as_json, show)
