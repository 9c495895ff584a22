"""nearfar mine: hard negatives for a table of pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from nearfar.cli._output import Json, Quiet, emit

if TYPE_CHECKING:
    from nearfar.mining._search import Hard
    from nearfar.mining.controls import Sampling


def command(
    model: Annotated[str, typer.Argument(help="A model's folder.")],
    data: Annotated[str, typer.Argument(help="A table of pairs, or a BEIR folder.")],
    out: Annotated[Path, typer.Option(help="A .jsonl or .parquet file: query, key, negative.")],
    negatives: Annotated[int, typer.Option(help="For each query.")] = 5,
    form: Annotated[str, typer.Option(help="lists: a row a pair; triplets: a row a negative.")] = "lists",
    range_min: Annotated[int, typer.Option(help="Pass over so many of the nearest.")] = 0,
    range_max: Annotated[int, typer.Option(help="Look at so many of the nearest.")] = 100,
    absolute_margin: Annotated[float | None, typer.Option(help="At least so far below the positive's score.")] = None,
    relative_margin: Annotated[float | None, typer.Option(help="The same, as a share of it; 0.05 is good.")] = None,
    min_score: Annotated[float | None, typer.Option(help="Score at least this.")] = None,
    max_score: Annotated[float | None, typer.Option(help="Score at most this.")] = None,
    sampling: Annotated[str, typer.Option(help="top, random, or spread over the ranks.")] = "top",
    seed: Annotated[int, typer.Option(help="Of random sampling.")] = 0,
    query: Annotated[str | None, typer.Option(help="The table's column of queries.")] = None,
    key: Annotated[str | None, typer.Option(help="The table's column of keys.")] = None,
    split: Annotated[str | None, typer.Option(help="Of data that has several; train, where there is one.")] = None,
    corpus: Annotated[str | None, typer.Option(help="More documents: a .txt file, a table, a BEIR folder.")] = None,
    rescore: Annotated[Path | None, typer.Option(help="A cross-encoder's folder; its scores then decide.")] = None,
    decisions: Annotated[Path | None, typer.Option(help="What was decided on a page of --review.")] = None,
    review: Annotated[Path | None, typer.Option(help="Write likely false negatives to this .html file.")] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write hard negatives for a table of pairs.

    The nearest texts that are not known to be near. No known positive, and no copy of one, is ever a negative.
    """
    import time

    from nearfar.cli import _mining
    from nearfar.mining import write
    from nearfar.mining.controls import Controls
    from nearfar.model import Model

    asked = Controls(
        negatives=negatives,
        range_min=range_min,
        range_max=range_max,
        absolute_margin=absolute_margin,
        relative_margin=relative_margin,
        min_score=min_score,
        max_score=max_score,
        sampling=cast("Sampling", sampling),
        seed=seed,
    )
    shape = _mining.checked(form, out, review)
    begin = time.perf_counter()
    loaded = Model.load(model)
    source = _mining.source(data, split, query, key)
    hard = _mining.mined(loaded, source, asked, corpus, decisions, rescore, quiet)
    rows = write.write(hard, out, shape)
    facts = {"out": str(out), "rows": rows, **_facts(hard), "fingerprint": loaded.fingerprint}
    if review is not None:
        found = _mining.reviewed(hard, review, model, data, rescore is not None)
        facts |= {"review": str(review), "likely_false": found.found}
    facts["seconds"] = round(time.perf_counter() - begin, 3)
    emit(facts, as_json, lambda: _show(facts))


def _facts(hard: Hard) -> dict[str, Any]:
    """Count what was mined: examples without any negative are skipped, and why candidates were turned away."""
    count = (hard.mined.rows >= 0).sum(1)[hard.pairs[0]]
    return {
        "examples": len(count),
        "negatives": int(count.sum()),
        "skipped": int((count == 0).sum()),
        "fewer": int((count < hard.mined.rows.shape[1]).sum()),
        "removed": hard.mined.removed,
        "queries": len(hard.queries),
        "documents": len(hard.keys),
    }


def _show(facts: dict[str, Any]) -> None:
    print(f"{facts['negatives']:,} negatives for {facts['examples']:,} pairs in {facts['out']}")
    for name, count in facts["removed"].items():
        print(f"{count:,} candidates turned away by {name.replace('_', '-')}")
    if facts["skipped"]:
        print(f"{facts['skipped']:,} pairs left out: no candidate remained; raise range-max or loosen a bound")
    if "review" in facts:
        print(f"{facts['likely_false']:,} are likely false: look at {facts['review']}")
