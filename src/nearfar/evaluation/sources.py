"""What a command's DATA, INPUT, CORPUS or MODEL argument is: told by its content, not by a flag."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearfar.column import Column, ListColumn
from nearfar.data.beir import is_beir
from nearfar.errors import InputError, nearest
from nearfar.tasks import Retrieval, Task
from nearfar.text.bm25 import BASELINES

if TYPE_CHECKING:
    from nearfar.model import Model
    from nearfar.positives.columns import Columns


TEXT_COLUMNS = ("text", "sentence", "document", "passage", "content", "code", "key", "query")
GRADED = {"sentence1", "sentence2", "score"}


def task(path: str, split: str | None) -> Task:
    """Return DATA as a task: a BEIR folder, a file of graded sentence pairs, or a table of pairs.

    Errors: those of the data; a split that was asked for and is not there.
    """
    from nearfar import data, positives

    if is_beir(Path(path)):
        found: Task = data.Beir(path, split=split or "test").task()
        return found
    table = data.Table(path)
    if split is None:
        split = "test" if "test" in table.splits else table.splits[0]
    if set(table.columns) >= GRADED:
        graded: Task = data.Similarity(table.split(split)).task()
        return graded
    pairs: Task = positives.Columns(table).task(split)
    return pairs


def pairs(
    path: str, split: str | None, *, usual: str = "train", query: str | None = None, key: str | None = None, **more: Any
) -> Columns | Retrieval:
    """Return DATA as pairs: a BEIR folder's judgements, or the columns of a table.

    usual: the split of a BEIR folder where none is named. more: settings of `positives.Columns`.

    Errors: those of the data; columns named for a BEIR folder, which has none.
    """
    from nearfar import data, positives

    if is_beir(Path(path)):
        if query is not None or key is not None:
            raise InputError(f"{path}: a BEIR folder has no columns to choose; leave --query and --key out")
        task: Retrieval = data.Beir(path, split=split or usual).task()
        return task
    table = data.Table(path)
    found: Columns = positives.Columns(table if split is None else table.split(split), query=query, key=key, **more)
    return found


def baselines(names: Sequence[str]) -> list[str | Model]:
    """Return what to compare with: a form of BM25 by its name, "none" as nothing, a model's folder as the model."""
    from nearfar.encoders.pretrained.folder import is_pretrained
    from nearfar.model import Model

    found: list[str | Model] = []
    for name in dict.fromkeys(names):
        if name in BASELINES:
            found.append(name)
        elif name != "none":
            if not Path(name).exists() and not is_pretrained(name):
                raise InputError(
                    f"--baseline {name}: no such folder; {nearest(name, [*BASELINES, 'none'])}, or a model's folder"
                )
            found.append(Model.load(name))
    return found


def texts(path: str, column: str | None) -> tuple[list[str], Column]:
    """Return ids and texts of INPUT or CORPUS: lines of a .txt file, a BEIR corpus, or a column of a table.

    Errors: those of the data; a table whose columns do not say which one holds the texts.
    """
    from nearfar import data

    place = Path(path)
    if is_beir(place):
        documents: tuple[list[str], Column] = data.Beir.corpus(path)
        return documents
    if place.suffix == ".txt":
        lines = _lines(place)
        return list(lines), ListColumn("line", list(lines.values()))
    table = data.Table(path)
    name = column or next((c for c in TEXT_COLUMNS if c in table.columns), None)
    if name is None:
        raise InputError(f"{path}: which column holds the texts? give --column; columns: {', '.join(table.columns)}")
    found = table.text(name)
    key = next((c for c in ("_id", "id") if c in table.columns), None)
    ids = range(1, len(table) + 1) if key is None else table.column(key).read(0, len(table))
    return [str(cell) for cell in ids], found


def _lines(path: Path) -> dict[str, str]:
    """Return the lines that hold text, by their number from 1."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a .txt file, a table or a BEIR folder")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    kept = {str(number): line for number, line in enumerate(lines, 1) if line.strip()}
    if not kept:
        raise InputError(f"{path}: the file is empty; put a text on each line")
    return kept
