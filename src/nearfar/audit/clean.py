"""Cleaning: a data set without the rows that an audit found to be wrong, and a log of every row that went."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from nearfar.audit.audit import Audit
from nearfar.audit.findings import Drop
from nearfar.column import Column
from nearfar.data.table import Table
from nearfar.errors import InputError
from nearfar.storage.folders import file_aside, folder_aside, made, writing

KINDS = (".jsonl", ".parquet", ".csv")
_READ_BACK = ("train", "validation", "test", "heldout")  # the splits that a folder's file names say
_BLOCK = 50_000  # rows in memory at once


def clean(source: str | Path | Table, found: Audit, out: Path, *, near: bool = False, outliers: bool = False) -> Any:
    """Write a table without some training rows; the rows of all other splits stay as they are.

    Left out are exact duplicates beyond the first, rows with an empty text, and rows that hold a query or text of
    another split. `near` leaves out near duplicates beyond the first and near leaks, too; `outliers` pairs that are
    probably wrong. A duplicate goes only where the row it repeats stays.

    `out`: a file (.jsonl, .parquet, .csv) for the training rows alone, or a folder for all splits, in the kind of the
    input where that is one of the three. Beside it, `OUT.dropped.jsonl` holds a line for each row that went.

    Returns counts of rows: {"out", "log", "rows", "kept", "dropped": {why: count}}.

    Errors: `InputError`: a BEIR folder, which is judged as it is; a place that is taken or of an unknown kind; a split
    that would be read back as training; nothing left.
    """
    if found.kind == "BEIR folder":
        raise InputError("--fix: a BEIR folder is judged as it is, cleaning it would change its figures; fix a table")
    check_out(source, out)
    table = source if isinstance(source, Table) else Table(source)
    kinds = {"exact duplicate", "empty", "leak"}
    kinds |= {"near duplicate", "near leak"} if near else set()
    kinds |= {"probably wrong"} if outliers else set()
    going = chosen([drop for drop in found.drops if drop.what in kinds])
    rows = found.splits[found.main]
    if len(going) == rows:
        raise InputError(f"--fix {out}: all {rows:,} rows would go, most as {_most(going)}; nothing is written")
    keep = np.ones(rows, bool)
    keep[list(going)] = False
    log = out.with_name(f"{out.name}.dropped.jsonl")
    made(out.parent)
    if out.suffix in KINDS:
        _write_file(table.split(found.main), keep, out)
    else:
        _write_folder(table, found.main, keep, out)
    _write_log(going, found.main, log)
    counts = Counter(drop.what for drop in going.values())
    return {"out": str(out), "log": str(log), "rows": rows, "kept": int(keep.sum()), "dropped": dict(counts)}


def check_out(source: str | Path | Table, out: Path) -> None:
    """Refuse a place that is taken or of an unknown kind, before the time that an audit takes is spent."""
    if out.suffix not in (*KINDS, ""):
        raise InputError(f"--fix {out}: unknown kind of file; end it in {', '.join(KINDS)}, or name a new folder")
    if not isinstance(source, Table) and Path(source).exists() and out.exists() and Path(source).samefile(out):
        raise InputError(f"--fix {out}: is the data itself, which stays as it is; name another place")
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"--fix {out}: the folder is not empty; name a new one")
    if out.suffix in KINDS and out.is_dir():
        raise InputError(f"--fix {out}: is a folder; name a file, or a folder without {out.suffix}")
    if not out.suffix and out.is_file():
        raise InputError(f"--fix {out}: a file stands there; name a new folder, or a file that ends in {KINDS[0]}")


def chosen(drops: Sequence[Drop]) -> dict[int, Drop]:
    """Return the row and the first reason of each that goes: a copy stays where what it repeats goes."""
    going: dict[int, Drop] = {}
    for drop in drops:
        if drop.like is None:
            going.setdefault(drop.row, drop)
    others = set(going)
    for drop in drops:
        if drop.like is not None and drop.like not in others:
            going.setdefault(drop.row, drop)
    return dict(sorted(going.items()))


def _most(going: dict[int, Drop]) -> str:
    return Counter(drop.what for drop in going.values()).most_common(1)[0][0]


def _write_folder(table: Table, main: str, keep: npt.NDArray[np.bool_], out: Path) -> None:
    if odd := [split for split in table.splits if split not in _READ_BACK]:
        raise InputError(
            f"--fix {out}: split {odd[0]!r} would be read back as training; write the training rows alone: {out}.jsonl"
        )
    kind = next((kind for kind in KINDS if kind in Path(table.where(0).partition(": row ")[0]).suffixes), ".jsonl")
    with folder_aside(out) as aside:
        for split in table.splits:
            rows = table.split(split)
            _fill(rows, keep if split == main else np.ones(len(rows), bool), aside / f"{split}{kind}")


def _write_file(table: Table, keep: npt.NDArray[np.bool_], out: Path) -> None:
    with file_aside(out) as aside:
        _fill(table, keep, aside)


def _fill(table: Table, keep: npt.NDArray[np.bool_], path: Path) -> None:
    """Write the rows to keep, all columns with their types."""
    rows = np.flatnonzero(keep)
    if path.suffix == ".jsonl":
        with path.open("w", encoding="utf-8") as file:
            for start in range(0, len(rows), _BLOCK):
                part = _rows(table, rows[start : start + _BLOCK])
                file.writelines(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in part.to_pylist())
        return
    whole = _rows(table, rows)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(whole, path)
        return
    try:
        pyarrow.csv.write_csv(whole, path)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path.name}: CSV holds no lists ({error}); write .jsonl or .parquet") from error


def _rows(table: Table, rows: npt.NDArray[np.intp]) -> pa.Table:
    columns = {name: _picked(table.column(name), rows) for name in table.columns}
    return pa.table(columns)


def _picked(column: Column, rows: npt.NDArray[np.intp]) -> Any:
    """Return some rows of a column as Arrow has them; a column that is no Arrow column as its cells are."""
    if not hasattr(column, "arrays"):
        cells = column.read(0, len(column))
        return pa.array([cells[row] for row in rows.tolist()])
    return pa.chunked_array(list(_arrays(column))).take(rows.astype(np.int64))


def _arrays(column: Any) -> Iterator[Any]:
    yield from column.arrays()


def _write_log(going: dict[int, Drop], split: str, log: Path) -> None:
    lines = [{"split": split, "row": row + 1, "what": drop.what, "why": drop.why} for row, drop in going.items()]
    with writing(log):
        log.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
