"""What a command's DATA, INPUT or CORPUS argument is: told by its content, not by a flag."""

from __future__ import annotations

from pathlib import Path


from nearfar.column import Column, ListColumn
from nearfar.errors import InputError
from nearfar.tasks import Task

TEXT_COLUMNS = ("text", "sentence", "document", "passage", "content", "code", "key", "query")


def is_beir(path: Path) -> bool:
    """Say whether a folder is of BEIR's form."""
    return path.is_dir() and any((path / f"corpus.jsonl{ending}").is_file() for ending in ("", ".gz"))


def task(path: str, split: str) -> Task:
    """Return DATA as a task: a BEIR folder, a file of graded sentence pairs, or a table of pairs."""
    from nearfar import data, positives

    if is_beir(Path(path)):
        found: Task = data.Beir(path, split=split).task()
        return found
    table = data.Table(path)
    if "score" in table.columns and len(table.columns) >= 3:
        graded: Task = data.Similarity(path).task()
        return graded
    pairs: Task = positives.Columns(table).task(split if split in table.splits else table.splits[0])
    return pairs


def texts(path: str, column: str | None) -> tuple[list[str], Column]:
    """Return ids and texts of INPUT or CORPUS: lines of a .txt file, a BEIR corpus, or a column of a table."""
    from nearfar import data

    place = Path(path)
    if is_beir(place):
        beir = data.Beir(path)
        return beir.corpus()
    if place.suffix == ".txt":
        lines = _lines(place)
        return [str(i + 1) for i in range(len(lines))], ListColumn("line", lines)
    table = data.Table(path)
    name = column or next((c for c in TEXT_COLUMNS if c in table.columns), None)
    if name is None:
        raise InputError(f"{path}: which column holds the texts? give --column; columns: {', '.join(table.columns)}")
    found = table.text(name)
    key = next((c for c in ("_id", "id") if c in table.columns), None)
    ids = [str(cell) for cell in table.column(key).read(0, len(table))] if key else [str(i + 1) for i in range(len(table))]
    return ids, found


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a .txt file, a table or a BEIR folder")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    kept = [line for line in lines if line.strip()]
    if not kept:
        raise InputError(f"{path}: empty; put a text on each line")
    return kept


