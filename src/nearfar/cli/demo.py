"""nearfar demo: code search from nothing, on the packages of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nearfar.cli import Json, Quiet, emit
from nearfar.cli._early import reserve_run
from nearfar.printable import show

if TYPE_CHECKING:
    from nearfar.config import RecipeParts
    from nearfar.experiment import Experiment


QUERIES = ("split a path into directory and file name", "wait until all threads have finished", "draw random numbers")


def command(
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings by path: training.epochs=1.")] = None,
    out: Annotated[Path, typer.Option(help="The run's folder; an older demo there is replaced.")] = Path("runs/demo"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a code-search model from nothing, judge and search it.

    It learns from the docstrings and source of the Python packages on this machine: no label, no download.
    """
    reserve_run(out, allowed=True)
    import time

    from nearfar import config, experiment

    began = time.perf_counter()

    def say(text: str) -> None:
        if not as_json and not quiet:
            show(*text.split("\n"), flush=True)

    recipe = config.load("python_packages", overrides or [])
    parts = config.build(recipe)  # first, so that nothing is said before a refusal
    say(f"1  Harvest docstrings and source of the installed packages\n{_harvested(parts)}")
    say("2  Train a tokenizer and its vectors from nothing; judge beside BM25")
    done = experiment.run(recipe, parts, out, None, resume=False, overwrite=True, quiet=quiet or as_json)
    if done is None:  # a rank that is not the first has nothing to say
        return
    searches, corpus = _search(done, parts)
    done.facts.update(searches=searches, seconds=round(time.perf_counter() - began, 2))
    experiment.write_results(done.run, done.reports, done.facts)
    emit(done.facts, as_json, lambda: _show(done, searches, corpus))


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


def _search(done: Experiment, parts: RecipeParts) -> tuple[list[dict[str, Any]], Path]:
    """Write all harvested code as a corpus beside the model, and search it."""
    import json

    from nearfar.index.exact import search
    from nearfar.storage.folders import write_text

    path = done.run.folder / "corpus.jsonl"
    columns = [parts.data.column(name) for name in ("module", "name", "code")]
    rows = list(zip(*(column.read(0, len(column)) for column in columns), strict=True))
    documents = [{"id": f"{module}.{name}", "text": code} for module, name, code in rows]
    write_text(path, "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents))
    found = search(done.run.model, documents, list(QUERIES), k=3)
    return [{"query": query, "found": hits} for query, hits in zip(QUERIES, found, strict=True)], path


def _show(done: Experiment, searches: list[dict[str, Any]], corpus: Path) -> None:
    from nearfar.reports.console import show_results

    show_results(done.reports.values(), done.facts)
    show("", "3  Search all of it, in words")
    for entry in searches:
        show("", f'   "{entry["query"]}"')
        for hit in entry["found"]:
            show(f"   {hit['score']:.3f}  {hit['id']}")
    model = done.run.folder / "model"
    show(
        "",
        "Next:",
        f'   nearfar search {model} {corpus} "parse a date"',
        "   nearfar train static data.path=PAIRS.jsonl --out runs/mine",
        "   nearfar evaluate runs/mine/model TEST.jsonl --baseline bm25",
        '   (a line of PAIRS.jsonl: {"query": "sort a list", "key": "sorted(items)"})',
    )
