"""The pieces of nearfar mine: its data, its progress, its page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from nearfar.errors import InputError, nearest

if TYPE_CHECKING:
    from nearfar.contracts import Positives
    from nearfar.mining._search import Hard
    from nearfar.mining.controls import Controls
    from nearfar.mining.report import Review
    from nearfar.mining.write import Form
    from nearfar.model import Model
    from nearfar.tasks import Retrieval


def checked(form: str, out: Path, review: Path | None) -> Form:
    """Refuse what could not be written, before the work is done."""
    from nearfar.folders import made
    from nearfar.mining import write

    if form not in get_args(write.Form):
        raise InputError(f"--form {form}: no such form; {nearest(form, get_args(write.Form))}")
    write.check_out(out)
    if review is not None:
        if review.suffix != ".html":
            raise InputError(f"{review}: the page is HTML; write to a name that ends in .html")
        made(review.parent)
    return cast("Form", form)


def source(path: str, split: str | None, query: str | None, key: str | None) -> Positives | Retrieval:
    """Return DATA as pairs: a BEIR folder's judgements, or the columns of a table.

    Errors: those of the data; columns named for a BEIR folder, which has none.
    """
    from nearfar import data, positives
    from nearfar.cli import _sources

    if _sources.is_beir(Path(path)):
        if query is not None or key is not None:
            raise InputError(f"{path}: a BEIR folder has no columns to choose; leave --query and --key out")
        task: Retrieval = data.Beir(path, split=split or "train").task()
        return task
    table = data.Table(path)
    pairs: Positives = positives.Columns(table if split is None else table.split(split), query=query, key=key)
    return pairs


def mined(
    model: Model,
    positives: Positives | Retrieval,
    controls: Controls,
    corpus: str | None,
    decisions: Path | None,
    rescore: Path | None,
    quiet: bool,
) -> Hard:
    """Mine, with a bar on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from nearfar.cli import _sources
    from nearfar.decisions import Decisions
    from nearfar.mining.mine import mine
    from nearfar.mining.rescore import CrossEncoder

    more = None if corpus is None else _sources.texts(corpus, None)[1]
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
            corpus=more,
            decisions=decided,
            rescore=judge,
            advance=lambda done, of: bar.update(line, completed=done, total=of),
        )


def reviewed(hard: Hard, path: Path, model: str, data: str, rescored: bool) -> Review:
    """Write the page of likely false negatives, and return what is on it."""
    from nearfar.folders import write_text
    from nearfar.mining.report import Words, page, review

    words: Any = Words(hard)
    found = review(hard, words, scorer="cross-encoder" if rescored else "model")
    write_text(path, page(found, model=model, data=data, out=path.name))
    return found
