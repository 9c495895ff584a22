"""nearfar index build: documents into an index, and what changed since into one that is there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from nearfar.cli import Json, Quiet, emit
from nearfar.cli._early import refuse_model
from nearfar.cli._table_settings import backend_of, backend_settings
from nearfar.errors import InputError, Interrupted
from nearfar.printable import show
from nearfar.storage.places import expanded

if TYPE_CHECKING:
    from nearfar.index.documents.build import BuildProgress, BuildReport
    from nearfar.index.documents.pictures_or_texts import Only

SHOWN = 20  # problems


def build(
    index: Annotated[Path, typer.Argument(help="The index's folder; it is made where there is none.")],
    model: Annotated[str, typer.Argument(help="A model's folder.")],
    path: Annotated[
        Path, typer.Argument(help="A folder of texts, code, HTML, PDF, tables or pictures, a BEIR folder, or a file.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SETTINGS]...", help="Of a new index: backend.host=db backend.port=5432."),
    ] = None,
    column: Annotated[str | None, typer.Option(help="The column of texts of tables.")] = None,
    field: Annotated[
        list[str] | None, typer.Option(help="A field's kind: year=integer (number, boolean, text). Repeatable.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Names that are not read: 'build/*', '*.min.js'. Repeatable.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Read hidden files, too, and what .gitignore and tools leave out.")
    ] = False,
    tokens: Annotated[int | None, typer.Option(help="Tokens of a passage, at most.  [default: 256]")] = None,
    again: Annotated[bool, typer.Option("--again", help="Read every file again, changed or not.")] = False,
    only: Annotated[
        str | None,
        typer.Option(help="Of a model of both: pictures or texts.  [default: pictures, where there are any]"),
    ] = None,
    thumbnails: Annotated[
        bool | None,
        typer.Option(
            help="Keep a small copy of each picture, which nearfar serve shows; without, those that are there go. "
            "[default: as it is, of a new index kept]"
        ),
    ] = None,
    moved: Annotated[bool, typer.Option("--moved", help="PATH is where the same documents are now.")] = False,
    backend: Annotated[
        str | None, typer.Option(help="Of a new index: what keeps its rows, exact, lance or pgvector.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="Of a new index: float32, float16, int8 or bits.")] = None,
    language: Annotated[
        str, typer.Option(help="Of a new index: that of its texts, for words; none knows none.")
    ] = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Bring an index to what a folder of documents holds now.

    Texts are cut into passages that the model reads whole; each keeps its file, and its line or page, as fields, and a
    table's other columns become fields. Only files that changed are read and embedded again, and what is gone is
    removed. A build that was broken off goes on with the same command. With another model than the index has, the rows
    go into a second generation, which nearfar index swap puts in the place of the first.

    Of a model with a side for pictures and one for texts, a folder's pictures become rows, and its texts do not, unless
    --only texts is given. A small copy of each picture without its metadata is kept in the index, unless
    --no-thumbnails is given.

    What cannot be read, and what holds no text, is a line of the report, and no failure: the exit code is 0 as long as
    the index holds a passage of some file. Left out and counted are hidden files, what .gitignore files name, and
    installed packages, caches and build outputs.
    """
    refuse_model(model)
    kinds, kept = _kinds(field or []), backend_of(backend, precision, backend_settings(overrides))
    if not expanded(path).exists():
        raise InputError(f"{path}: no such file or folder; give the documents to index")
    from nearfar.index.documents.build import BuildSettings
    from nearfar.index.documents.build_index import NewIndex, build_index
    from nearfar.index.documents.passages import TOKENS
    from nearfar.model import Model

    settings = BuildSettings(
        column=column,
        kinds=kinds,
        tokens=TOKENS if tokens is None else tokens,
        exclude=tuple(exclude or ()),
        everything=everything,
        again=again,
        moved=moved,
        only=cast("Only | None", only),
        thumbnails=thumbnails,
    )
    new = NewIndex(kept, None if language == "none" else language)
    try:
        with _bar(quiet) as progress:
            report, waits = build_index(index, Model.load(model), path, settings, new, progress=progress)
    except KeyboardInterrupt:
        raise Interrupted(f"{index}: interrupted; what is written stays, and the same command goes on") from None
    emit({"index": str(index), **report.facts(), "waits": waits}, as_json, lambda: _show(index, report, waits))
    if not report.passages:
        raise InputError(f"{path}: the index is empty, as no file gave a passage{_first(report)}")


def _first(report: BuildReport) -> str:
    """Return why a build came to nothing: the first of its problems, or what was passed over."""
    if report.problems:
        more = f", and {len(report.problems) - 1:,} more problems" if len(report.problems) > 1 else ""
        return f" ({report.problems[0]}{more})"
    return f" (passed over: {report.reasons()})" if report.passed_over else ""


def _kinds(given: Sequence[str]) -> dict[str, str]:
    """Return the kinds of fields by name. Errors: `InputError` for what is not NAME=KIND."""
    kinds = {}
    for text in given:
        name, equals, kind = text.partition("=")
        if not name or not equals:
            raise InputError(f"--field {text}: write NAME=KIND, e.g. --field year=integer")
        kinds[name] = kind
    return kinds


@contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[BuildProgress], object]]:
    """Show a bar on standard error, with the rate and the time left, if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    rate = TextColumn("{task.fields[passages]:,} passages, {task.fields[rate]:,.0f}/s")
    columns = (TextColumn("indexing"), BarColumn(bar_width=24), DownloadColumn(), rate, TimeRemainingColumn())
    silent = quiet or not sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), disable=silent, transient=True) as bar:
        line = bar.add_task("", total=None, passages=0, rate=0.0)

        def update(now: BuildProgress) -> None:
            seconds = bar.tasks[0].elapsed or 0.0
            rate = now.passages / seconds if seconds else 0.0
            bar.update(line, completed=now.done, total=now.total, passages=now.passages, rate=rate)

        yield update


def _show(index: Path, report: BuildReport, waits: bool) -> None:
    """Print what was done, what there is, and what is wrong."""
    kinds = ", ".join(f"{kind}: {count:,}" for kind, count in report.files.items())
    show(f"{index}: {report.passages:,} passages of {sum(report.files.values()):,} files ({kinds or 'none'})")
    done = [
        f"read {report.read:,} files that are new or changed, {report.unchanged:,} are as they were",
        f"embedded {report.embedded:,} passages",
        *([f"gave {report.updated:,} other fields or a thumbnail"] if report.updated else []),
        *([f"removed {report.deleted:,}"] if report.deleted else []),
        f"{report.seconds:.1f} s",
    ]
    show(f"  {'; '.join(done)}")
    if report.characters_in:  # pictures have none
        show(f"  characters, without white space: {report.characters_in:,} read, {report.characters_out:,} in passages")
    if report.passed_over:
        show(f"  passed over: {report.reasons()}")
    if report.problems:
        show(f"  problems: {len(report.problems):,}")
        show(*(f"    {line}" for line in report.problems[:SHOWN]))
        if (more := len(report.problems) - SHOWN) > 0:
            show(f"    and {more:,} more, which --json lists")
    if waits:
        show(f"  it waits beside the generation that is searched: nearfar index swap {index}")
