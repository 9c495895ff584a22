"""nearfar evaluate: a verdict on a model, beside a baseline, with intervals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from nearfar.cli import Json, emit
from nearfar.cli._early import refuse_data, refuse_model, reserve
from nearfar.cli._table_settings import Delimiter, Overrides, reading

BASELINE = "bm25, majority, ... (those of the task by default), a model's folder, or none."


def command(
    model: Annotated[str, typer.Argument(help="A model's folder.")],
    data: Annotated[
        str, typer.Argument(help="A BEIR folder, a table of pairs, graded or labelled or neither, pictures, or texts.")
    ],
    overrides: Overrides = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="As zero_shot, knn: these alone. Repeatable; nearfar list metrics.")
    ] = None,
    baseline: Annotated[list[str] | None, typer.Option(help=BASELINE)] = None,
    query: Annotated[str | None, typer.Option(help="The table's column of queries.")] = None,
    key: Annotated[str | None, typer.Option(help="The table's column of keys.")] = None,
    delimiter: Delimiter = None,
    split: Annotated[str | None, typer.Option(help="Split of data with several; test or heldout, if there.")] = None,
    out: Annotated[Path | None, typer.Option(help="Keep the whole report as JSON in this file.")] = None,
    page: Annotated[Path | None, typer.Option(help="Write a page to look at: FILE.html.")] = None,
    as_json: Json = False,
) -> None:
    """Judge a model, beside baselines, with intervals.

    On data that it was not trained on: a BEIR folder, sentence pairs with grades or labels, a table of pairs, a folder
    or archive of pictures, in classes or not; for a language model also texts without pairs.
    """
    refuse_model(model)
    read = reading(overrides, delimiter=delimiter, query=query, key=key)
    refuse_data(data, split or "test", delimited="delimiter" in read.data)
    reserve(out, page)
    from nearfar.evaluation import sources
    from nearfar.evaluation.baselines import chosen_baselines
    from nearfar.evaluation.choose import look_at_no_training
    from nearfar.evaluation.evaluate import evaluate
    from nearfar.model import Model
    from nearfar.reports import console
    from nearfar.storage.folders import write_json, write_text

    loaded, others = Model.load(model), chosen_baselines(baseline or None)
    read = replace(read, no_training=look_at_no_training(metric or ()))
    report = evaluate(loaded, sources.task(data, split, read, loaded), metric or None, baselines=others)
    facts = report.to_json()
    if out is not None:
        write_json(out, facts)
    if page is not None:
        from nearfar.reports import run

        write_text(page, run.page(facts | {"run": model.removesuffix("/model")}, [], pictures=report.pictures))
    emit(facts, as_json, lambda: console.show_report(report))
