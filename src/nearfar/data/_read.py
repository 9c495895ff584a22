"""From what the user names to rows: files, folders of files, and what the `datasets` library holds, by split."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from nearfar.data._delimited import Delimited
from nearfar.data._hub import from_dataset, from_hub, from_saved
from nearfar.data._json import JsonArray, JsonLines
from nearfar.data._open import FORMATS, KNOWN, PACKED, REFUSED, check_file, first_bytes, reading, suffix
from nearfar.data._parquet import Parquet
from nearfar.data._place import Source, whole
from nearfar.data._reader import Reader, first_line
from nearfar.data._rows import table_of
from nearfar.data._store import stored
from nearfar.data._stsb import Stsb, is_stsb
from nearfar.errors import InputError

_SPLITS = {"train": "train", "training": "train", "test": "test", "heldout": "heldout"}
_SPLITS |= dict.fromkeys(("dev", "val", "valid", "validation"), "validation")


@dataclass(frozen=True)
class Form:
    """What a source does not say by itself: how fields are parted, what columns are called, which configuration."""

    delimiter: str | None = None
    header: tuple[str, ...] | None = None
    config: str | None = None


def read(path: Any, form: Form) -> dict[str, Source]:
    """Return the splits of whatever `path` is; each has at least one row."""
    if isinstance(path, list):
        found = {"train": whole("the list of rows", table_of("the list of rows", path))}
    elif isinstance(path, str | Path):
        found = _named(path, form)
    else:
        found = from_dataset("the data set", path)
    for source in found.values():
        if source.table.num_rows == 0:
            raise InputError(f"{source.where}: holds no rows; write at least one")
    return found


def _named(name: str | Path, form: Form) -> dict[str, Source]:
    if name == "":
        raise InputError("table: the path is empty; give a file, a folder or a data set's name")
    path = Path(name).expanduser()
    with reading(path):
        is_folder, exists = path.is_dir(), path.exists()
    if is_folder:
        return _folder(path, form)
    if exists or isinstance(name, Path) or _is_file_name(name):
        return {"train": _file(path, form)}
    return from_hub(name, form.config)


def _is_file_name(name: str) -> bool:
    """Say whether a name that is no file must have meant one, rather than a data set."""
    known = suffix(Path(name)) in (*FORMATS, *REFUSED) or Path(name).suffix in (*PACKED, ".txt", ".arrow", ".zip")
    return known or name.startswith(("/", ".", "~")) or name.count("/") > 1 or "\\" in name


def _file(path: Path, form: Form) -> Source:
    with reading(path):
        check_file(path)
    reader = _reader(path, form)
    return whole(str(path), stored(reader), reader)


def _reader(path: Path, form: Form) -> Reader:
    kind = "csv" if form.delimiter is not None else FORMATS.get(suffix(path))
    if kind is None:
        raise InputError(f"{path}: its name does not say what it holds; rename it to {KNOWN}, or give a delimiter")
    if kind == "parquet":
        return Parquet(path)
    head = first_bytes(path)
    if kind == "json":
        return JsonArray(path) if head.lstrip().startswith(b"[") else JsonLines(path)
    if form.delimiter in (None, "\t") and form.header is None and is_stsb(head):
        return Stsb(path)
    return Delimited(path, form.delimiter or ("\t" if kind == "tsv" else ","), form.header)


def _folder(path: Path, form: Form) -> dict[str, Source]:
    if (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists():
        return from_saved(path)
    with reading(path):
        files = sorted(file for file in path.iterdir() if suffix(file) in FORMATS and not file.name.startswith("."))
    if not files:
        raise InputError(f"{path}: the folder holds no table; put {KNOWN} into it")
    splits: dict[str, list[Source]] = {}
    for file in files:
        words = re.split(r"[^a-z]+", file.name.lower().partition(".")[0])
        split = next((_SPLITS[word] for word in words if word in _SPLITS), "train")
        splits.setdefault(split, []).append(_file(file, form))
    return {name: _joined(found) for name, found in splits.items()}


def _joined(found: list[Source]) -> Source:
    """Return files as one split; they must have the same columns."""
    first = found[0]
    for other in found[1:]:
        if set(other.table.column_names) != set(first.table.column_names):
            raise InputError(
                f"{other.where}: has the columns {', '.join(other.table.column_names)}; {first.where} has "
                f"{', '.join(first.table.column_names)}. Give one file, or files of the same columns"
            )
    try:
        table = pa.concat_tables([source.table for source in found], promote_options="permissive")
    except pa.ArrowException as error:
        raise InputError(
            f"{first.where}: its columns have other types than the files beside it ({first_line(error)}); "
            "give all files the same types"
        ) from error
    return Source(table, [part for source in found for part in source.parts])
