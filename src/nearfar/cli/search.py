"""nearfar search: the texts nearest to a query."""

from __future__ import annotations

from typing import Annotated

import typer

from nearfar.cli import Json, emit


def command(
    model: Annotated[str, typer.Argument(help="A model's folder.")],
    corpus: Annotated[str, typer.Argument(help="A .txt file (a text a line), a table, or a BEIR folder.")],
    query: Annotated[str, typer.Argument(help="What to look for, in words.")],
    k: Annotated[int, typer.Option("-k", help="How many to show.")] = 10,
    column: Annotated[str | None, typer.Option(help="The table's column of texts.")] = None,
    as_json: Json = False,
) -> None:
    """Search a corpus for a query, exactly."""
    from nearfar.errors import InputError
    from nearfar.evaluation import sources
    from nearfar.index.exact import search
    from nearfar.model import Model

    if k < 1:
        raise InputError(f"-k {k}: ask for at least one result")
    if not query.strip():
        raise InputError("the query is empty; say in words what to look for")
    loaded = Model.load(model)
    ids, texts = sources.texts(corpus, column)
    found = [{**hit, "id": ids[hit["id"]]} for hit in search(loaded, texts, query, k=k)]

    def show() -> None:
        for hit in found:
            print(f"{hit['score']:.3f}  {hit['id']}\n{_excerpt(hit['text'])}")

    emit(found, as_json, show)


def _excerpt(text: str) -> str:
    """Return a text's beginning, two lines that fit the terminal, indented."""
    import shutil
    import textwrap

    width = min(shutil.get_terminal_size().columns, 120)
    return textwrap.fill(
        text[:1000],
        width,
        initial_indent=" " * 7,
        subsequent_indent=" " * 7,
        max_lines=2,
        placeholder=" ...",
        break_on_hyphens=False,
    )
