"""nearfar search: the texts or pictures nearest to a query."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from nearfar.cli import Json, emit
from nearfar.cli._early import refuse_data, refuse_model
from nearfar.cli._hits import excerpt, show_hits, text_width
from nearfar.cli._search_index import found as hits_of_index
from nearfar.cli._search_index import is_index
from nearfar.cli._table_settings import Delimiter, TableOverrides, reading
from nearfar.errors import InputError, nearest
from nearfar.printable import show

if TYPE_CHECKING:
    from nearfar.evaluation.sources import Reading
    from nearfar.index.hybrid import Mode

Hits = list[dict[str, Any]]
Display = Callable[[Hits], None]


def command(
    model: Annotated[str, typer.Argument(help="A model's folder; or an index, and then no corpus.")],
    corpus: Annotated[
        str | None,
        typer.Argument(help="A table, a .txt file (a text a line), a folder of texts or pictures, a BEIR folder."),
    ] = None,
    query: Annotated[
        str | None, typer.Argument(help="What to look for: words, a picture's path; - reads a query a line.")
    ] = None,
    overrides: TableOverrides = None,
    k: Annotated[int, typer.Option("-k", help="How many to show.")] = 10,
    mode: Annotated[
        str | None,
        typer.Option(help="vectors, words (BM25) or hybrid (their fusion, usual in an index of texts)."),
    ] = None,
    where: Annotated[str | None, typer.Option(help="Of an index: a filter, \"year >= 2020 and lang = 'de'\".")] = None,
    like: Annotated[
        list[str] | None, typer.Option(help="Of an index: the id of a row to find more like. Repeatable.")
    ] = None,
    rerank: Annotated[
        Path | None, typer.Option(help="Of an index: a cross-encoder's folder, which orders the best anew.")
    ] = None,
    depth: Annotated[int | None, typer.Option(help="How many of the best are reranked.  [default: 50]")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Of an index: say what words and vectors gave.")] = False,
    its_model: Annotated[str | None, typer.Option("--model", help="Of an index: where its model is now.")] = None,
    column: Annotated[str | None, typer.Option(help="The table's column of texts.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of data with several; train, where there is one.")] = None,
    delimiter: Delimiter = None,
    as_json: Json = False,
) -> None:
    """Search a corpus, or an index, for a query, or for several.

    Scores are cosines, those of words are BM25's. Scores of hybrid are fusion scores (reciprocal ranks): they order the
    documents of one query and say nothing beyond that. With - queries are the lines of standard input that are not
    blank; JSON then is a list of lists, one for each of them. Pictures, in a folder or an archive, are found by their
    paths, and a query that is a picture's path is that picture.

    nearfar search INDEX QUERY searches what nearfar index build or add has made; nearfar search INDEX --like ID finds
    more like a row. With --rerank a cross-encoder scores the best --depth rows of each query, and orders them.
    """
    if k < 1:
        raise InputError(f"-k {k}: ask for at least one result")
    if mode is not None:
        _refuse_mode(mode)
    if depth is not None and (rerank is None or depth < 1):
        raise InputError(f"--depth {depth}: it is how many rows --rerank reads, at least one; give both or neither")
    of_index = {"--where": where, "--like": like, "--rerank": rerank, "--explain": explain, "--model": its_model}
    display: Display = _show_documents
    of_corpus = {"--column": column, "--split": split, "--delimiter": delimiter}
    if is_index(model):
        _refuse(model, "an index", of_corpus | {f"{query!r}": query, f"{overrides}": overrides})
        if (corpus is None) == (not like):
            raise InputError(f"{model}: give a query, or --like with the id of a row; one of the two")
        queries = {} if corpus is None else _queries(corpus)
        how: dict[str, Any] = {"where": where, "mode": mode}
        how["explain"] = explain or not as_json  # people see the lines that have the query's words
        if rerank is not None:
            how |= {"rerank": rerank} | ({} if depth is None else {"depth": depth})
        found = hits_of_index(model, [*queries.values()], k, like=like or [], model=its_model, how=how)
        query = corpus
        display = partial(show_hits, scores=mode in ("vectors", "words") or bool(like or rerank), explained=explain)
    else:
        _refuse(model, "no index (it has no index.json)", of_index)
        if corpus is None or query is None:
            missing = "corpus" if corpus is None else "query"
            raise InputError(
                f"Missing argument '{missing}' (of an index, the query is enough); see nearfar search --help"
            )
        refuse_model(model)
        read = reading(overrides, delimiter=delimiter, pairs=False)
        refuse_data(corpus, delimited="delimiter" in read.data)
        queries = _queries(query)
        found = _in_corpus(model, corpus, read, [*queries.values()], k, mode or "vectors", column, split)
    if query == "-":
        emit(found, as_json, lambda: _show_several(queries, found, display, where))
    else:
        emit(found[0], as_json, lambda: _show(found[0], display, where))


def _refuse_mode(mode: str) -> None:
    from nearfar.index.hybrid import MODES

    if mode not in MODES:
        raise InputError(f"--mode {mode}: no such mode; {nearest(mode, MODES)}")


def _refuse(place: str, what: str, options: dict[str, Any]) -> None:
    """Refuse options that say nothing of what is searched."""
    if given := [name for name, value in options.items() if value]:
        raise InputError(f"{place}: is {what}; leave out {', '.join(given)}")


def _in_corpus(
    model: str, corpus: str, read: Reading, queries: list[str], k: int, mode: str, column: str | None, split: str | None
) -> list[list[dict[str, Any]]]:
    """Return the documents of a corpus that are found for each query."""
    from nearfar.evaluation import sources

    ids, texts = sources.texts(corpus, column, read, split=split)
    from nearfar.index.exact import search
    from nearfar.model import Model
    from nearfar.sides import kinds_of_sides

    loaded = Model.load(model)
    known = kinds_of_sides(loaded.encoder)
    cells = [sources.query(one, texts, known) for one in queries]
    if mode != "words" and "image" in known and "text" not in known and (words := next(filter(_is_text, cells), None)):
        raise InputError(
            f"{words!r:.60}: {model} reads pictures and no words; give a picture's path as the query, or a model that "
            "reads both (encoder dual)"
        )
    return [
        [{**hit, "id": ids[hit["id"]]} for hit in hits]
        for hits in search(loaded, texts, cells, k=k, mode=cast("Mode", mode))
    ]


def _is_text(cell: Any) -> bool:
    return isinstance(cell, str)


def _queries(query: str) -> dict[int, str]:
    """Return the queries by their line: the one given, or those on standard input."""
    from nearfar.column import is_empty

    if query != "-":
        if is_empty(query):
            raise InputError("the query is empty; say in words what to look for")
        return {1: query}
    try:
        lines = sys.stdin.read().split("\n")  # form feeds and the like stay inside a query
    except UnicodeDecodeError as error:
        raise InputError(f"standard input: not UTF-8 text (byte {error.start}); give a query a line") from error
    queries = {number: line for number, line in enumerate(lines, 1) if not is_empty(line)}
    if not queries:
        raise InputError("standard input: no query in it; give a query a line")
    return queries


def _show_several(
    queries: dict[int, str], found: list[Hits], display: Callable[[Hits], None], where: str | None
) -> None:
    """Print each query under its line's number, and what was found."""
    for i, (number, query) in enumerate(queries.items()):
        if i:
            show("")
        show(f"{number}: {query}", "")
        _show(found[i], display, where)


def _show(hits: Hits, display: Display, where: str | None) -> None:
    display(hits)
    if not hits:
        filtered = "" if where is None else ", or none meets the filter"
        show(f"nothing found: no document shares a word with the query{filtered}")


def _show_documents(hits: Hits) -> None:
    """Print the documents of a corpus with their scores and their beginnings."""
    for hit in hits:
        text = excerpt(hit["text"], {}, text_width(7)) if "text" in hit else []  # a picture has none
        show(f"{hit['score']:.3f}  {hit['id']}", *(f"{' ' * 7}{line}" for line in text))
