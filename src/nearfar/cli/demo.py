"""nearfar demo: code search from nothing, on the packages of this machine."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nearfar.cli import Json, Quiet, emit
from nearfar.cli._early import reserve_run
from nearfar.printable import show

if TYPE_CHECKING:
    from nearfar.config import RecipeParts
    from nearfar.contracts import Data
    from nearfar.evaluation.index_search import IndexSearch
    from nearfar.experiment import Experiment
    from nearfar.index.index import Index
    from nearfar.model import Model


QUERIES = ("split a path into directory and file name", "wait until all threads have finished", "draw random numbers")
_AT_ONCE = 10_000  # rows that are added to the index at a time


def command(
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings by path: training.epochs=1.")] = None,
    out: Annotated[Path, typer.Option(help="The run's folder; an older demo there is replaced.")] = Path("runs/demo"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a code-search model from nothing; judge and use it.

    It learns from the docstrings and source of the Python packages on this machine: no label, no download. The search
    that it leaves, by words and vectors, is judged beside BM25.
    """
    reserve_run(out, allowed=True)
    import time

    from nearfar import config, experiment, results
    from nearfar.evaluation.index_search import IndexSearch

    began = time.perf_counter()

    def say(text: str) -> None:
        if not as_json and not quiet:
            show(*text.split("\n"), flush=True)

    recipe = config.load("python_packages", overrides or [])
    parts = config.build(recipe)  # first, so that nothing is said before a refusal
    say(f"1  Harvest docstrings and source of the installed packages\n{_harvested(parts)}")
    say("2  Train a tokenizer and its vectors from nothing")
    with ExitStack() as open_until_the_end:

        def indexed(model: Model) -> IndexSearch:
            say("3  Index all of that code for words and vectors; judge the search beside BM25")
            return IndexSearch(open_until_the_end.enter_context(_index(out / "index", model, parts.data)))

        done = experiment.run(
            recipe, parts, out, None, resume=False, overwrite=True, quiet=quiet or as_json, search=indexed
        )
        if done is None:  # a rank that is not the first has nothing to say
            return
        searches = _searches(out / "index", done.model)
    done.facts.update(index=str(out / "index"), searches=searches, seconds=round(time.perf_counter() - began, 2))
    results.write_results(done.run, done.reports, done.facts)
    emit(done.facts, as_json, lambda: _show(done, searches))


def _harvested(parts: RecipeParts) -> str:
    from nearfar.abilities import notes_of

    notes = notes_of(parts.data)
    lines = [
        f"{notes.get('files read', 0):,} files of {notes.get('distributions', 0):,} distributions; "
        f"{len(parts.data):,} pairs to train on"
    ]
    for split in dict.fromkeys(entry.get("split", "heldout") for entry in parts.evaluate):
        reasons = notes.get("dropped", {}).get(split, {})
        lines.append(f"{len(parts.data.split(split)):,} {split} ({sum(reasons.values()):,} dropped: too like training)")
    return "\n".join(f"   {line}" for line in lines)


def _index(folder: Path, model: Model, data: Data) -> Index:
    """Return a new index of all harvested code, whatever split it is in; each row is named by its module and name."""
    from nearfar.abilities import pool_of
    from nearfar.index.index import Index
    from nearfar.text.language import detect

    rmtree(folder, ignore_errors=True)  # an older demo's, of another model
    code, words = data.column("code"), data.column("docstring")
    model.folder = folder.with_name("model")  # which the index names, so that it can be searched from a shell
    index = Index.create(folder, model, language=detect(code) or detect(words))
    known: Counter[str] = Counter()
    for rows in (data, *pool_of(data, "train")):
        columns = [rows.column(name) for name in ("module", "name", "code", "distribution", "kind")]
        for start in range(0, len(rows), _AT_ONCE):
            cells = zip(*(column.read(start, min(start + _AT_ONCE, len(rows))) for column in columns), strict=True)
            index.add([_row(known, *each) for each in cells])
    return index


def _row(known: Counter[str], module: str, name: str, code: str, distribution: str, kind: str) -> dict[str, str]:
    """Return a row of the index. known: the names so far; what has the name of another gets a number."""
    whole = f"{module}.{name}"
    known[whole] += 1
    number = known[whole]
    found = {"id": whole if number == 1 else f"{whole} ({number})", "text": code}
    return {**found, "distribution": distribution, "kind": kind}


def _searches(folder: Path, model: Model) -> list[dict[str, Any]]:
    """Return what some searches find in the index, by words and vectors together."""
    from nearfar.index.index import Index

    with Index.open(folder, model) as index:
        found = index.search(list(QUERIES), k=3)
    return [
        {"query": query, "found": [{"id": hit.id, "score": hit.score, "text": hit.text} for hit in hits]}
        for query, hits in zip(QUERIES, found, strict=True)
    ]


def _show(done: Experiment, searches: list[dict[str, Any]]) -> None:
    from nearfar.reports.console import show_results, show_searched

    show("")
    show_searched(done.reports)
    show("", "Of the model's vectors alone", "")
    show_results(done.reports.values(), done.facts)
    show(f"index   {done.facts['index']}", "", "4  Search all of it, in words")
    for entry in searches:
        show("", f'   "{entry["query"]}"')
        show(*(f"   {rank}  {hit['id']}" for rank, hit in enumerate(entry["found"], 1)))
    show(
        "",
        "Next:",
        f'   nearfar search {done.facts["index"]} "parse a date" --explain',
        f"   nearfar index build docs.index {done.facts['model']} DOCUMENTS",
        "   nearfar train static data.path=PAIRS.jsonl --out runs/mine",
        "   nearfar evaluate runs/mine/model TEST.jsonl --baseline bm25",
        '   (a line of PAIRS.jsonl: {"query": "sort a list", "key": "sorted(items)"})',
    )
