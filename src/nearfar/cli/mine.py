"""nearfar mine: hard negatives for a table of pairs."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from nearfar.cli import Json, Quiet, emit
from nearfar.cli._early import refuse_data, refuse_model, reserve
from nearfar.cli._table_settings import Delimiter, Overrides, further_texts, reading
from nearfar.errors import InputError, nearest
from nearfar.printable import show

if TYPE_CHECKING:
    from nearfar.column import Column
    from nearfar.contracts import Positives
    from nearfar.mining.controls import Controls, Sampling
    from nearfar.mining.mine import TableForm
    from nearfar.mining.search import MiningResult
    from nearfar.mining.suspects import Review
    from nearfar.model import Model
    from nearfar.tasks import Retrieval


def command(
    model: Annotated[str, typer.Argument(help="A model's folder.")],
    data: Annotated[str, typer.Argument(help="A table of pairs, or a BEIR folder.")],
    overrides: Overrides = None,
    *,
    out: Annotated[Path, typer.Option(help="A .jsonl or .parquet file: query, key, negative.")],
    negatives: Annotated[int, typer.Option(help="Negatives for each query.")] = 5,
    form: Annotated[str, typer.Option(help="lists: a row a pair; triplets: a row a negative.")] = "lists",
    range_min: Annotated[int, typer.Option(help="Skip this many of the nearest keys.")] = 0,
    range_max: Annotated[int, typer.Option(help="Take negatives from this many nearest keys.")] = 100,
    absolute_margin: Annotated[float | None, typer.Option(help="Lowest distance below the positive's score.")] = None,
    relative_margin: Annotated[float | None, typer.Option(help="The same, as a share of that score; try 0.05.")] = None,
    min_score: Annotated[float | None, typer.Option(help="The lowest score of a negative.")] = None,
    max_score: Annotated[float | None, typer.Option(help="The highest score of a negative.")] = None,
    sampling: Annotated[str, typer.Option(help="top, random, or spread over the ranks.")] = "top",
    seed: Annotated[int, typer.Option(help="Seed of random sampling.", min=0)] = 0,
    query: Annotated[str | None, typer.Option(help="The table's column of queries.")] = None,
    key: Annotated[str | None, typer.Option(help="The table's column of keys.")] = None,
    delimiter: Delimiter = None,
    split: Annotated[str | None, typer.Option(help="Split of data with several; train, where there is one.")] = None,
    corpus: Annotated[str | None, typer.Option(help="More documents: a .txt file, a table, a BEIR folder.")] = None,
    rescore: Annotated[Path | None, typer.Option(help="A cross-encoder's folder; its scores then decide.")] = None,
    decisions: Annotated[
        Path | None,
        typer.Option(help="What was decided on a page of --review, or of serve."),
    ] = None,
    review: Annotated[
        Path | None, typer.Option(help="Write likely false negatives: an .html page, or a .jsonl for serve.")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write hard negatives for a table of pairs.

    The keys nearest to each query that are not known positives. No copy of a positive is ever a negative. --corpus is
    read as DATA is, where it has its format, and by its own settings: corpus.column=text corpus.split=test.
    """
    refuse_model(model)
    further = None if corpus is None else "corpus"
    read = reading(overrides, delimiter=delimiter, query=query, key=key, further=further)
    refuse_data(data, split or "train", delimited="delimiter" in read.data)
    reserve(out, review)
    import time

    from nearfar.evaluation import sources
    from nearfar.mining import mine
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
    shape = _checked_outputs(form, out, review)
    begin = time.perf_counter()
    loaded = Model.load(model)
    pairs = sources.pairs(data, split, read)
    more = None
    if corpus is not None:
        likely = read.positives.get("key")
        more = further_texts(corpus, "corpus", overrides, beside=data, read=read, likely=likely)
    hard = _mined(loaded, pairs, asked, more, decisions, rescore, quiet)
    rows = mine.write_table(hard, out, shape)
    facts = {"out": str(out), "rows": rows, **_facts(hard), "fingerprint": loaded.fingerprint}
    if review is not None:
        found = _write_review(hard, review, model, data, rescore is not None)
        facts |= {"review": str(review), "likely_false": found.found}
        if found.why_none is not None:
            facts["why_none"] = found.why_none
    facts["seconds"] = round(time.perf_counter() - begin, 3)
    emit(facts, as_json, lambda: _show(facts))


def _facts(hard: MiningResult) -> dict[str, Any]:
    """Return counts: of examples, of those without a negative (skipped), of candidates that each bound rejected."""
    count = (hard.mined.rows >= 0).sum(1)[hard.pairs[0]]
    return {
        "examples": len(count),
        "negatives": int(count.sum()),
        "dropped": hard.dropped,
        "skipped": int((count == 0).sum()),
        "fewer": int((count < hard.mined.rows.shape[1]).sum()),
        "removed": hard.mined.removed,
        "queries": len(hard.queries),
        "documents": len(hard.keys),
    }


def _show(facts: dict[str, Any]) -> None:
    show(f"{facts['negatives']:,} negatives for {facts['examples']:,} pairs in {facts['out']}")
    for name, count in facts["removed"].items():
        why = (
            "were copies of a positive or of the query" if name == "copies" else f"rejected by {name.replace('_', '-')}"
        )
        show(f"{count:,} candidates {why}")
    if facts["dropped"]:
        show(f"{facts['dropped']:,} listed pairs left out: they were dropped by decisions")
    if facts["skipped"]:
        show(f"{facts['skipped']:,} pairs left out: no candidate remained; raise range-max or loosen a bound")
    if "review" in facts:
        none = facts.get("why_none")
        line = f"{facts['likely_false']:,} are likely false: {none or 'look at ' + facts['review']}"
        show(*(textwrap.wrap(line, 80) if none else [line]))


def _checked_outputs(form: str, out: Path, review: Path | None) -> TableForm:
    """Refuse what could not be written, before the work is done."""
    from nearfar.mining import mine

    if form not in get_args(mine.TableForm):
        raise InputError(f"--form {form}: no such form; {nearest(form, get_args(mine.TableForm))}")
    mine.check_table_file(out)
    if review is not None and review.suffix not in (".html", ".jsonl"):
        raise InputError(
            f"{review}: a page is written to a name that ends in .html, what nearfar serve --review shows to .jsonl"
        )
    return cast("TableForm", form)


def _mined(
    model: Model,
    positives: Positives | Retrieval,
    controls: Controls,
    corpus: Column | None,
    decisions: Path | None,
    rescore: Path | None,
    quiet: bool,
) -> MiningResult:
    """Mine, with a bar on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from nearfar.encoders.pretrained.cross_encoder import CrossEncoder
    from nearfar.mining.mine import mine
    from nearfar.positives.relations.decisions import Decisions

    decided = None if decisions is None else Decisions.read(decisions)
    judge = None if rescore is None else CrossEncoder(rescore)
    columns = (TextColumn("mining"), BarColumn(bar_width=24), TextColumn("{task.completed}/{task.total} queries"))
    silent = quiet or not sys.stderr.isatty()
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), disable=silent, transient=True) as bar:
        line = bar.add_task("", total=None)
        return mine(
            model,
            positives,
            controls,
            corpus=corpus,
            decisions=decided,
            rescore=judge,
            advance=lambda done, of: bar.update(line, completed=done, total=of),
        )


def _write_review(hard: MiningResult, path: Path, model: str, data: str, rescored: bool) -> Review:
    """Write the likely false negatives as a page or as rows, and return them."""
    from nearfar.mining.review_file import write_suspects
    from nearfar.mining.suspects import Bm25Scorer, review
    from nearfar.reports.review import page
    from nearfar.storage.folders import write_text

    words: Any = Bm25Scorer(hard)
    found = review(hard, words, scorer="cross-encoder" if rescored else "model")
    if path.suffix == ".jsonl":
        write_suspects(found.suspects, path)
    else:
        write_text(path, page(found, model=model, data=data, out=path.name))
    return found
