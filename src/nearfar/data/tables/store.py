"""The Arrow copy of a file: written once into the cache of the `datasets` library, memory-mapped from then on."""

from __future__ import annotations

import csv
import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from nearfar.data.tables.files import CHANGED, Reader, RestartReadingError, explain_read_errors, first_line
from nearfar.errors import InputError, NearfarError, RunError, listed
from nearfar.storage.places import WRONG_PLACE

LARGEST_SURE = 1 << 30  # bytes of a copy that any file may have
MOST_TIMES = (
    200  # times its own size that a file may stand for beyond these; text compresses to a third, logs to a fiftieth
)
_END = b"\xff\xff\xff\xff\0\0\0\0"  # of a stream in Arrow's format
_VERSION = 3  # raise it when a reader makes other tables of the same bytes


def arrow_copy(reader: Reader, *, of_folder: bool = False) -> pa.Table:
    """Return a file's rows as a memory-mapped table; the first call writes the copy.

    of_folder: the reader reads a folder, and its `cache_key` says what all files hold.

    Errors: InputError for what is wrong with the file; RunError when the cache cannot be written.
    """
    digest = hashlib.blake2b(digest_size=16) if of_folder else _file_digest(reader.path)
    content = None if of_folder else digest.digest()
    # By content, not by name and time: a file may be rewritten within one tick of the clock.
    digest.update(f"{_VERSION} {type(reader).__name__} {reader.cache_key}".encode())
    with quiet_datasets() as datasets:
        path = Path(datasets.config.HF_DATASETS_CACHE) / "nearfar" / f"{digest.hexdigest()}.arrow"
        if path.parts[0] == "~":
            raise InputError(f"{path.parent}: there is no home folder; set HOME, or point HF_DATASETS_CACHE elsewhere")
        if not _is_whole(path):
            _write(reader, path, content)
        try:
            table: pa.Table = datasets.Dataset.from_file(str(path)).data.table
        except (ValueError, TypeError, NotImplementedError, pa.ArrowException) as error:
            raise InputError(
                f"{reader.path}: the datasets library has no type for one of its columns ({first_line(error)}); "
                "leave that column out"
            ) from error
    return table


def _file_digest(path: Path) -> Any:
    with explain_read_errors(path), path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16))


def _write(reader: Reader, path: Path, content: bytes | None) -> None:
    """Write the copy to a temporary file, then rename it: another process sees all of it or nothing.

    content: the digest of the file that the copy must be of; None for a folder.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    except OSError as error:
        raise _cache_error(path, error) from error
    try:
        with os.fdopen(handle, "wb") as file, _unchanged(reader.path, content):
            while True:
                try:
                    _write_tables(reader, file)
                    break
                except RestartReadingError:
                    file.seek(0)
                    file.truncate()
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError as error:
        raise _cache_error(path, error) from error
    finally:
        Path(name).unlink(missing_ok=True)


@contextmanager
def _unchanged(path: Path, content: bytes | None) -> Iterator[None]:
    """Raise InputError where a file has changed since its digest was taken, whatever else was wrong while reading it.

    Else its copy would be taken for one of the old content by every later run.
    """
    try:
        yield
    except (InputError, OSError) as error:
        if _has_changed(path, content):
            raise InputError(f"{path}: {CHANGED}") from error
        raise
    if _has_changed(path, content):
        raise InputError(f"{path}: {CHANGED}")


def _has_changed(path: Path, content: bytes | None) -> bool:
    try:
        return content is not None and _file_digest(path).digest() != content
    except InputError:  # it is gone
        return True


def _write_tables(reader: Reader, file: Any) -> None:
    writer = None
    size = reader.path.stat().st_size
    for table in _tables(reader):
        if writer is None:
            _check_names(reader.path, table)
            writer = pa.ipc.new_stream(file, table.schema)
        writer.write_table(table)
        if file.tell() > max(LARGEST_SURE, MOST_TIMES * size):
            raise InputError(
                f"{reader.path}: stands for more than {file.tell() / 1e9:.1f} GB, over {MOST_TIMES} times its "
                f"{size / 1e6:.1f} MB; if it should, decompress it or write it in parts"
            )
    if writer is None:
        raise InputError(f"{reader.path}: holds no rows; write at least one")
    writer.close()


def _tables(reader: Reader) -> Iterator[pa.Table]:
    """Yield a reader's tables; its errors become InputErrors that name the row."""
    try:
        with explain_read_errors(reader.path):
            yield from reader.tables()
    except (InputError, RestartReadingError):
        raise
    except (pa.ArrowException, csv.Error, ValueError, RecursionError) as error:
        with explain_read_errors(reader.path):
            diagnosis = reader.diagnose(error)
        raise diagnosis from error


def _check_names(path: Path, table: pa.Table) -> None:
    names = table.column_names
    if not names:
        raise InputError(f"{path}: has no columns; write one object with named values on each line")
    if len(set(names)) < len(names):
        raise InputError(f"{path}: two columns have the same name ({listed(names)}); give each its own")


def _is_whole(path: Path) -> bool:
    """Return whether a copy exists and ends as it was written: Arrow reads one that is cut off as fewer rows."""
    try:
        with path.open("rb") as file:
            file.seek(-len(_END), os.SEEK_END)
            return file.read() == _END
    except OSError:
        return False


def _cache_error(path: Path, error: OSError) -> NearfarError:
    why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
    kind = InputError if error.errno in WRONG_PLACE else RunError
    return kind(f"{path.parent}: cannot keep a copy of the table here ({why}); point HF_DATASETS_CACHE elsewhere")


@contextmanager
def quiet_datasets() -> Iterator[Any]:
    """Give the `datasets` library with its progress bars and messages off; restore them afterwards."""
    import datasets

    level, bars = datasets.logging.get_verbosity(), datasets.is_progress_bar_enabled()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    datasets.disable_progress_bars()
    try:
        yield datasets
    finally:
        datasets.logging.set_verbosity(level)
        if bars:
            datasets.enable_progress_bars()
