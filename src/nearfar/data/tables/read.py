"""Reading what the user names, by split: a file, a folder of files, a data set of the `datasets` library, or rows."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from nearfar.data.tables.delimited import Delimited
from nearfar.data.tables.encodings import check_line_ends, first_bytes
from nearfar.data.tables.files import (
    COMPRESSED,
    DOCUMENTS,
    FORMATS,
    KNOWN_FORMATS,
    LINES,
    REFUSED,
    SPLIT_WORDS,
    Reader,
    check_file,
    explain_read_errors,
    first_line,
    format_suffix,
    split_name,
)
from nearfar.data.tables.json_arrays import ArrayLines, JsonArray, starts_with_texts
from nearfar.data.tables.json_lines import JsonLines, table_from_rows
from nearfar.data.tables.parquet import Parquet
from nearfar.data.tables.records import Form
from nearfar.data.tables.row_locator import LocatedTable, RowOrigin
from nearfar.data.tables.store import arrow_copy, quiet_datasets
from nearfar.data.tables.stsb import Stsb, is_stsb
from nearfar.data.tables.text_files import TextFolder, TextLines, documents, split_files
from nearfar.errors import InputError, listed
from nearfar.storage.places import expanded


@dataclass(frozen=True)
class ReadOptions:
    """What the data do not say themselves: the delimiter, the names of the columns, a hub data set's configuration.

    quoting, escape: of delimited files, whether quotation marks enclose cells, and what escapes a mark inside one.
    """

    delimiter: str | None = None
    header: tuple[str, ...] | None = None
    config: str | None = None
    quoting: bool | None = None
    escape: str | None = None


def read(path: Any, options: ReadOptions) -> dict[str, LocatedTable]:
    """Return the splits, each of at least one row, of a path, a data set's name or object, or a list of dictionaries.

    Errors: InputError for what cannot be found or read, and for a split without rows.
    """
    if isinstance(path, list):
        found = {"train": LocatedTable.single("the list of rows", table_from_rows("the list of rows", path))}
    elif isinstance(path, str | Path):
        found = _read_name(path, options)
    else:
        found = from_dataset("the data set", path)
    for split in found.values():
        if split.table.num_rows == 0:
            raise InputError(f"{split.where}: holds no rows; write at least one")
    return found


def _read_name(name: str | Path, options: ReadOptions) -> dict[str, LocatedTable]:
    if name == "":
        raise InputError("table: the path is empty; give a file, a folder or a data set's name")
    path = expanded(name)
    with explain_read_errors(path):
        is_folder, exists = path.is_dir(), path.exists()
    if is_folder:
        return _read_folder(path, options)
    if exists or isinstance(name, Path) or is_file_name(name):
        return {"train": _read_file(path, options)}
    return from_hub(name, options.config)


def is_file_name(name: str) -> bool:
    """Say whether the name of no existing file must mean a file, not a data set on the hub."""
    suffixes = (*COMPRESSED, LINES, ".arrow", ".zip")
    by_suffix = format_suffix(Path(name)) in (*FORMATS, *REFUSED) or Path(name).suffix in suffixes
    return by_suffix or name.startswith(("/", ".", "~")) or name.count("/") > 1 or "\\" in name


def _read_file(path: Path, options: ReadOptions) -> LocatedTable:
    with explain_read_errors(path):
        check_file(path)
    reader = reader_of(path, options)
    table = arrow_copy(reader)
    if isinstance(reader, Delimited) and options.quoting is None:
        reader.warn_of_marks(table, first_bytes(path))
    return LocatedTable.single(str(path), table, reader)


def reader_of(path: Path, options: ReadOptions) -> Reader:
    """Return the reader of a file. Errors: InputError for a name that does not say what it holds, and for no text."""
    kind = file_kind(path, delimited=options.delimiter is not None)
    if kind == "parquet":
        return Parquet(path)
    head = first_bytes(path)
    if kind == "json":
        if not head.lstrip().startswith(b"["):
            return JsonLines(path)
        return ArrayLines(path) if starts_with_texts(path, head) else JsonArray(path)
    check_line_ends(path, head)
    if kind == "lines":
        return TextLines(path)
    if options.delimiter in (None, "\t") and options.header is None and is_stsb(head):
        return Stsb(path)
    usual = "\t" if kind == "tsv" else ","
    form = Form.of(head, usual, options.delimiter, options.quoting, options.escape)
    return Delimited(path, form, options.header, guessed=options.delimiter is None and not form.sep_line)


def file_kind(path: Path, *, delimited: bool) -> str:
    """Return what a file holds by its name. delimited: a delimiter is given, so it holds fields.

    Errors: InputError for a name that does not say it.
    """
    suffix = format_suffix(path)
    kind = "csv" if delimited else "lines" if suffix == LINES else FORMATS.get(suffix)
    if kind is None:
        fix = f"rename it to {KNOWN_FORMATS}, or give a delimiter"
        if suffix in DOCUMENTS:
            fix += "; a folder of such files is read as a document a file"
        raise InputError(f"{path}: its name does not say what it holds; {fix}")
    return kind


def _read_folder(path: Path, options: ReadOptions) -> dict[str, LocatedTable]:
    if (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists():
        return from_saved(path)
    with explain_read_errors(path):
        visible = (file for file in path.iterdir() if not file.name.startswith("."))
        files = sorted(file for file in visible if format_suffix(file) in FORMATS)
    if not files:
        return _read_texts(path, options)
    if corpus := beir_corpus(path):
        return {"train": _read_file(corpus, options)}
    splits: dict[str, list[Path]] = {}
    for file in files:
        splits.setdefault(split_name(file.name.partition(".")[0]) or "train", []).append(file)
    return _read_splits(splits, options)


def _read_splits(splits: dict[str, list[Path]], options: ReadOptions) -> dict[str, LocatedTable]:
    return {name: concatenated([_read_file(file, options) for file in files]) for name, files in splits.items()}


def _read_texts(folder: Path, options: ReadOptions) -> dict[str, LocatedTable]:
    """Return the text files of a folder: lines where their names are those of splits, else a document a file.

    Sub-folders that are all called train, test and the like are splits of documents.
    """
    files = documents(folder)
    if not files:
        raise InputError(f"{folder}: the folder holds no table; put {KNOWN_FORMATS} into it, or text files")
    if splits := split_files(folder, files):
        return _read_splits(splits, options)
    tops = [file.relative_to(folder).parts[0].lower() for file in files]
    if not all(top in SPLIT_WORDS and file.parent != folder for top, file in zip(tops, files, strict=True)):
        tops = ["train"] * len(files)
    by_split: dict[str, list[Path]] = {}
    for top, file in zip(tops, files, strict=True):
        by_split.setdefault(SPLIT_WORDS[top], []).append(file)
    return {name: _read_documents(folder, of_split) for name, of_split in by_split.items()}


def _read_documents(folder: Path, files: list[Path]) -> LocatedTable:
    reader = TextFolder(folder, files)
    if not reader.files:
        raise InputError(f"{folder}: the {len(files):,} text files in it are all empty; write some text")
    if reader.empty:
        warnings.warn(f"{folder}: {reader.empty:,} of {len(files):,} text files are empty and left out", stacklevel=2)
    origins = [RowOrigin(str(file), 1) for file in reader.files]
    return LocatedTable(arrow_copy(reader, of_folder=True), origins, folder=str(folder))


def beir_corpus(folder: Path) -> Path | None:
    """Return the corpus of a BEIR folder, which is the table in it; its queries and judgements are no rows of that."""
    beside = any(folder.glob("queries.jsonl*")) or any(folder.glob("qrels*"))
    return next(iter(sorted(folder.glob("corpus.jsonl*"))), None) if beside else None


def concatenated(tables: list[LocatedTable]) -> LocatedTable:
    """Return the tables of several files as one; they must have the same columns."""
    first = tables[0]
    for other in tables[1:]:
        if set(other.table.column_names) != set(first.table.column_names):
            raise InputError(
                f"{other.where}: has the columns {listed(other.table.column_names)}; {first.where} has "
                f"{listed(first.table.column_names)}. Give one file, or files of the same columns"
            )
    try:
        whole = pa.concat_tables([table.table for table in tables], promote_options="permissive")
    except pa.ArrowException as error:
        raise InputError(
            f"{first.where}: its columns have other types than the files beside it ({first_line(error)}); "
            "give all files the same types"
        ) from error
    return LocatedTable(whole, [origin for table in tables for origin in table.origins])


def from_hub(name: str, config: str | None) -> dict[str, LocatedTable]:
    """Return the splits of a data set on the hub, downloaded by `datasets`; code that comes with it is never run."""
    try:
        with quiet_datasets() as datasets:
            # Before datasets 4.0, a data set could bring code, and the library asked at the terminal whether to run it.
            no_code = {"trust_remote_code": False} if int(datasets.__version__.split(".")[0]) < 4 else {}
            data = datasets.load_dataset(name, config, **no_code)
    except Exception as error:  # the network, the hub and the data set's files can raise anything
        raise InputError(
            f"{name}: is no file or folder here, and no Hugging Face data set could be loaded by that name "
            f"({first_line(error)}); check the path, or the name and the connection"
        ) from error
    return from_dataset(name, data)


def from_saved(path: Path) -> dict[str, LocatedTable]:
    """Return the splits of a folder that `save_to_disk` wrote."""
    try:
        with quiet_datasets() as datasets:
            return from_dataset(str(path), datasets.load_from_disk(str(path)))
    except (OSError, ValueError, TypeError, KeyError, pa.ArrowException) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: the saved data set is damaged ({first_line(error)}); save it again") from error


def from_dataset(where: str, data: Any) -> dict[str, LocatedTable]:
    """Return the splits of a `DatasetDict`, or a `Dataset` as "train". where: what errors call the data."""
    with quiet_datasets() as datasets:
        if isinstance(data, datasets.DatasetDict):
            return {str(name): split for name in data for split in from_dataset(where, data[name]).values()}
        if not isinstance(data, datasets.Dataset):
            raise InputError(
                f"{where}: a {type(data).__name__} is no table; give a path, a list of dictionaries or a "
                "datasets.Dataset (a streamed one must be downloaded first)"
            )
        if data._indices is not None:  # shuffled or selected rows are copied once, so that slices are contiguous
            data = data.flatten_indices()
        return {"train": LocatedTable.single(where, data.data.table)}
