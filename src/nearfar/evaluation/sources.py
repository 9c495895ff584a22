"""Read a command's DATA, INPUT or CORPUS argument: its content decides what it is, not a flag."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearfar.column import Column, ListColumn
from nearfar.data.beir import is_beir
from nearfar.errors import InputError
from nearfar.tasks import Retrieval, Task

if TYPE_CHECKING:
    from nearfar.model import Model
    from nearfar.positives.columns import Columns


TEXT_COLUMNS = ("text", "sentence", "document", "passage", "content", "code", "key", "query")  # the first one counts
GRADED = {"sentence1", "sentence2", "score"}  # columns of graded sentence pairs


def task(path: str, split: str | None) -> Task:
    """Return DATA as a task: a BEIR folder, sentence pairs with grades or labels, or a table of pairs.

    Errors: those of the data; a split that it does not have.
    """
    from nearfar import data, positives

    if is_beir(Path(path)):
        retrieval: Task = data.Beir(path, split=split or "test").task()
        return retrieval
    table = data.Table(path)
    if data.LabelledPairs.recognised(table.columns):
        labelled: Task = data.LabelledPairs(table, split=split).task()
        return labelled
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

    usual: the split of a BEIR folder where none is given. more: settings of `positives.Columns`.

    Errors: those of the data; columns given for a BEIR folder, which has none.
    """
    from nearfar import data, positives

    if is_beir(Path(path)):
        if query is not None or key is not None:
            raise InputError(f"{path}: a BEIR folder has no columns to choose; leave --query and --key out")
        task: Retrieval = data.Beir(path, split=split or usual).task()
        return task
    table = data.Table(path)
    columns: Columns = positives.Columns(table if split is None else table.split(split), query=query, key=key, **more)
    return columns


def text_model(name: str, use: str) -> Model:
    """Return the model in a folder. Errors: `InputError` for one that does not read text; `use` says what would.

    Those of `Model.load`, too.
    """
    from nearfar.abilities import reads, side
    from nearfar.model import Model
    from nearfar.sides import ROLES, kinds_read

    loaded = Model.load(name)
    for role in ROLES:
        if (known := reads(side(loaded.encoder, role))) and "text" not in known:
            kinds = kinds_read(side(loaded.encoder, role))
            raise InputError(f"{name}: a model whose {role} side reads {kinds}, not text; {use}: give a text model")
    return loaded


def texts(path: str, column: str | None) -> tuple[list[str], Column]:
    """Return ids and texts of INPUT or CORPUS: lines of a .txt file, a BEIR corpus, or a column of a table.

    Errors: those of the data; a table without a column of a usual name, where `column` is not given.
    """
    from nearfar import data

    if is_beir(Path(path)):
        documents: tuple[list[str], Column] = data.Beir.corpus(path)
        return documents
    if Path(path).suffix == ".txt":
        lines = _lines(Path(path))
        return list(lines), ListColumn("line", list(lines.values()))
    table = data.Table(path)
    name = column or next((c for c in TEXT_COLUMNS if c in table.columns), None)
    if name is None:
        raise InputError(f"{path}: which column holds the texts? give --column; columns: {', '.join(table.columns)}")
    id_column = next((c for c in ("_id", "id") if c in table.columns), None)
    text_column = table.text(name)
    ids = range(1, len(table) + 1) if id_column is None else table.column(id_column).read(0, len(table))
    return [str(cell) for cell in ids], text_column


def _lines(path: Path) -> dict[str, str]:
    """Return the lines that are not blank, by their number from 1."""
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
