"""From what the user names to rows: files, folders of files, and what the `datasets` library holds, by split."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from nearfar.data.tables.delimited import Delimited, Stsb, is_stsb
from nearfar.data.tables.files import FORMATS, KNOWN, PACKED, REFUSED, check_file, first_bytes, reading, suffix
from nearfar.data.tables.json_lines import JsonArray, JsonLines, table_of
from nearfar.data.tables.row_locator import Reader, Source, first_line, single_file
from nearfar.data.tables.store import Parquet, quiet, stored
from nearfar.errors import InputError

_SPLITS = {"train": "train", "training": "train", "test": "test", "heldout": "heldout"}
_SPLITS |= dict.fromkeys(("dev", "val", "valid", "validation"), "validation")


@dataclass(frozen=True)
class ReadOptions:
    """What a source does not say by itself: how fields are parted, what columns are called, which configuration."""

    delimiter: str | None = None
    header: tuple[str, ...] | None = None
    config: str | None = None


def read(path: Any, form: ReadOptions) -> dict[str, Source]:
    """Return the splits of whatever `path` is; each has at least one row."""
    if isinstance(path, list):
        found = {"train": single_file("the list of rows", table_of("the list of rows", path))}
    elif isinstance(path, str | Path):
        found = _named(path, form)
    else:
        found = from_dataset("the data set", path)
    for source in found.values():
        if source.table.num_rows == 0:
            raise InputError(f"{source.where}: holds no rows; write at least one")
    return found


def _named(name: str | Path, form: ReadOptions) -> dict[str, Source]:
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


def _file(path: Path, form: ReadOptions) -> Source:
    with reading(path):
        check_file(path)
    reader = _reader(path, form)
    return single_file(str(path), stored(reader), reader)


def _reader(path: Path, form: ReadOptions) -> Reader:
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


def _folder(path: Path, form: ReadOptions) -> dict[str, Source]:
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


def from_hub(name: str, config: str | None) -> dict[str, Source]:
    """Return the splits of a data set on the hub, downloaded by the library; its code is never run."""
    try:
        with quiet() as datasets:
            # Before 4.0 a data set could bring its own code, and asked at the terminal whether to run it.
            safe = {"trust_remote_code": False} if int(datasets.__version__.split(".")[0]) < 4 else {}
            data = datasets.load_dataset(name, config, **safe)
    except Exception as error:  # whatever the network, the hub and the data set's own files can raise
        raise InputError(
            f"{name}: is no file or folder here, and no Hugging Face data set could be loaded by that name "
            f"({first_line(error)}); check the path, or the name and the connection"
        ) from error
    return from_dataset(name, data)


def from_saved(path: Path) -> dict[str, Source]:
    """Return the splits of a folder that `save_to_disk` wrote."""
    try:
        with quiet() as datasets:
            return from_dataset(str(path), datasets.load_from_disk(str(path)))
    except (OSError, ValueError, TypeError, KeyError, pa.ArrowException) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: the saved data set is damaged ({first_line(error)}); save it again") from error


def from_dataset(where: str, data: Any) -> dict[str, Source]:
    """Return the splits of a `Dataset` or `DatasetDict`; a data set alone is its training rows."""
    with quiet() as datasets:
        if isinstance(data, datasets.DatasetDict):
            return {str(name): source for name in data for source in from_dataset(where, data[name]).values()}
        if not isinstance(data, datasets.Dataset):
            raise InputError(
                f"{where}: a {type(data).__name__} is no table; give a path, a list of dictionaries or a "
                "datasets.Dataset (a streamed one must be downloaded first)"
            )
        if data._indices is not None:  # shuffled or selected rows: written out once, so that slices stay slices
            data = data.flatten_indices()
        return {"train": single_file(where, data.data.table)}
