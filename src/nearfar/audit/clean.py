"""Clean a data set: write it without the training rows that an audit found wrong, and log every row left out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from nearfar.audit.audit import Audit
from nearfar.audit.findings import Drop
from nearfar.column import Column, Ids
from nearfar.data.table import Table
from nearfar.data.tables.columns import ChunkedColumn
from nearfar.data.tables.files import SPLITS
from nearfar.errors import InputError
from nearfar.storage.folders import write_file_atomically, write_folder_atomically, write_text

KINDS = (".jsonl", ".parquet", ".csv")
_BLOCK = 50_000  # rows converted together


def clean(source: str | Path | Table, audit: Audit, out: Path, *, near: bool = False, outliers: bool = False) -> Any:
    """Write a table without some training rows; the rows of all other splits stay as they are.

    Left out are exact duplicates beyond the first, rows with an empty text, and rows that hold a query or text of
    another split. `near` leaves out near duplicates beyond the first and near leaks, too; `outliers` pairs that are
    probably wrong. A duplicate is left out only where the row that it repeats stays.

    `out`: a file (.jsonl, .parquet, .csv) for the training rows alone, or for all rows where a column names the splits;
    or a folder for all splits, in the input's file format where that is one of the three. Beside it,
    `OUT.dropped.jsonl` holds a line for each row left out.

    Returns counts of rows: {"out", "log", "rows", "kept", "dropped": {kind: count}}.

    Errors: `InputError`: a BEIR folder, as its metrics depend on the whole corpus; an `out` that exists or has an
    unknown ending; a split that would be read back as training; no row left.
    """
    if audit.kind == "BEIR folder":
        raise InputError("--fix: a BEIR folder is judged as it is, cleaning it would change its figures; fix a table")
    check_destination(source, out)
    table = source if isinstance(source, Table) else Table(source)
    kinds = {"exact duplicate", "empty", "leak"}
    kinds |= {"near duplicate", "near leak"} if near else set()
    kinds |= {"probably wrong"} if outliers else set()
    dropped = rows_to_drop([drop for drop in audit.drops if drop.what in kinds])
    rows = audit.splits[audit.main]
    if len(dropped) == rows:
        commonest = Counter(drop.what for drop in dropped.values()).most_common(1)[0][0]
        raise InputError(f"--fix {out}: all {rows:,} rows would go, most as {commonest}; nothing is written")
    keep = np.ones(rows, bool)
    keep[list(dropped)] = False
    log = out.with_name(f"{out.name}.dropped.jsonl")
    if out.suffix in KINDS:
        _write_file(table, audit.main, keep, out)
    else:
        _write_folder(table, audit.main, keep, out)
    _write_log(dropped, audit.main, table.split(audit.main).positions, log)
    counts = Counter(drop.what for drop in dropped.values())
    return {"out": str(out), "log": str(log), "rows": rows, "kept": int(keep.sum()), "dropped": dict(counts)}


def check_destination(source: str | Path | Table, out: Path) -> None:
    """Check that `out` can be written, before the audit takes its time. Errors: as `clean`, of `out`."""
    if out.suffix not in (*KINDS, ""):
        raise InputError(f"--fix {out}: unknown kind of file; end it in {', '.join(KINDS)}, or name a new folder")
    if not isinstance(source, Table) and Path(source).exists() and out.exists() and Path(source).samefile(out):
        raise InputError(f"--fix {out}: is the data itself, which stays as it is; name another place")
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"--fix {out}: the folder is not empty; name a new one")
    if out.suffix in KINDS and out.is_dir():
        raise InputError(f"--fix {out}: is a folder; name a file, or a folder without {out.suffix}")
    if not out.suffix and out.is_file():
        raise InputError(f"--fix {out}: is a file; name a new folder, or a file that ends in {KINDS[0]}")


def rows_to_drop(drops: Sequence[Drop]) -> dict[int, Drop]:
    """Return the rows to leave out, each with its first reason; a copy stays where the row it repeats is left out."""
    dropped: dict[int, Drop] = {}
    for drop in drops:
        if drop.like is None:
            dropped.setdefault(drop.row, drop)
    originals_dropped = set(dropped)
    for drop in drops:
        if drop.like is not None and drop.like not in originals_dropped:
            dropped.setdefault(drop.row, drop)
    return dict(sorted(dropped.items()))


def _write_folder(table: Table, main: str, keep: npt.NDArray[np.bool_], out: Path) -> None:
    if unknown := [split for split in table.splits if split not in SPLITS]:
        raise InputError(
            f"--fix {out}: split {unknown[0]!r} would be read back as training; "
            f"write the training rows alone: {out}.jsonl"
        )
    kind = next((kind for kind in KINDS if kind in Path(table.where(0).partition(": row ")[0]).suffixes), ".jsonl")
    with write_folder_atomically(out) as aside:
        for split in table.splits:
            rows = table.split(split)
            _write_rows(rows, keep if split == main else np.ones(len(rows), bool), aside / f"{split}{kind}")


def _write_file(table: Table, main: str, keep: npt.NDArray[np.bool_], out: Path) -> None:
    rows = table.split(main)
    whole = table.rows_of_all_splits()
    if whole is not None:  # one file with a column of splits stays one
        left = rows.positions[~keep]
        rows, keep = whole, np.ones(len(whole), bool)
        keep[left] = False
    with write_file_atomically(out) as aside:
        _write_rows(rows, keep, aside)


def _write_rows(table: Table, keep: npt.NDArray[np.bool_], path: Path) -> None:
    """Write the rows to keep, all columns with their types."""
    rows = np.flatnonzero(keep)
    if path.suffix == ".jsonl":
        with path.open("w", encoding="utf-8") as file:
            for start in range(0, len(rows), _BLOCK):
                block = _arrow_table(table, rows[start : start + _BLOCK])
                file.writelines(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in block.to_pylist())
        return
    kept = _arrow_table(table, rows)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(kept, path)
        return
    try:
        pyarrow.csv.write_csv(kept, path)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path.name}: CSV holds no lists ({error}); write .jsonl or .parquet") from error


def _arrow_table(table: Table, rows: npt.NDArray[np.intp]) -> pa.Table:
    return pa.table({name: _take(table.column(name), rows) for name in table.columns})


def _take(column: Column, rows: npt.NDArray[np.intp]) -> Any:
    """Return some rows of a column as Arrow data; a column that is stored by Arrow keeps its type."""
    if isinstance(column, ChunkedColumn):
        return pa.chunked_array(list(column.arrays())).take(rows.astype(np.int64))
    cells = column.read(0, len(column))
    return pa.array([cells[row] for row in rows.tolist()])


def _write_log(dropped: dict[int, Drop], split: str, positions: Ids, log: Path) -> None:
    """Write the log, with the numbers that the rows have in their file where a column names the splits."""
    lines = [
        {"split": split, "row": int(positions[row]) + 1, "what": drop.what, "why": drop.why}
        for row, drop in dropped.items()
    ]
    write_text(log, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
