"""The Arrow copy of a file: written once into the cache of the `datasets` library, memory-mapped from then on."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nearfar.data.tables.files import PACKED, open_bytes, reading
from nearfar.data.tables.row_locator import AgainError, Reader, first_line
from nearfar.errors import InputError, RunError

_VERSION = 1  # of what the readers make of a file's bytes: raise it when that changes


@contextmanager
def quiet() -> Iterator[Any]:
    """Give the `datasets` library, its progress bars and messages off, and put them back afterwards."""
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


def stored(reader: Reader) -> pa.Table:
    """Return a file's rows as a memory-mapped table.

    Errors: InputError for what is wrong with the file; RunError when the cache's disk is full or closed to us.
    """
    with reading(reader.path), reader.path.open("rb") as stream:
        digest = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16))
    # By content, not by name and time: a file that is written twice within a clock's tick is not taken for the first.
    digest.update(f"{_VERSION} {type(reader).__name__} {reader.key}".encode())
    with quiet() as datasets:
        path = Path(datasets.config.HF_DATASETS_CACHE) / "nearfar" / f"{digest.hexdigest()}.arrow"
        if not path.exists():
            _write(reader, path)
        try:
            table: pa.Table = datasets.Dataset.from_file(str(path)).data.table
        except (ValueError, TypeError, NotImplementedError, pa.ArrowException) as error:
            raise InputError(
                f"{reader.path}: the datasets library has no type for one of its columns ({first_line(error)}); "
                "leave that column out"
            ) from error
    return table


def _write(reader: Reader, path: Path) -> None:
    """Write the copy aside, then rename it: another process sees all of it or nothing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    except OSError as error:
        raise _no_cache(path, error) from error
    try:
        with os.fdopen(handle, "wb") as target:
            while True:
                try:
                    _copy(reader, target)
                    break
                except AgainError:
                    target.seek(0)
                    target.truncate()
            target.flush()
            os.fsync(target.fileno())
        Path(name).replace(path)
    except OSError as error:
        raise _no_cache(path, error) from error
    finally:
        Path(name).unlink(missing_ok=True)


def _copy(reader: Reader, target: Any) -> None:
    writer = None
    tables = _explained(reader)
    for table in tables:
        if writer is None:
            _check_names(reader.path, table)
            writer = pa.ipc.new_stream(target, table.schema)
        writer.write_table(table)
    if writer is None:
        raise InputError(f"{reader.path}: holds no rows; write at least one")
    writer.close()


def _explained(reader: Reader) -> Iterator[pa.Table]:
    try:
        with reading(reader.path):
            yield from reader.tables()
    except (InputError, AgainError):
        raise
    except (pa.ArrowException, csv.Error, ValueError, RecursionError) as error:
        with reading(reader.path):
            found = reader.explain(error)
        raise found from error


def _check_names(path: Path, table: pa.Table) -> None:
    names = table.column_names
    if not names:
        raise InputError(f"{path}: has no columns; write one object with named values on each line")
    if len(set(names)) < len(names):
        raise InputError(f"{path}: two columns have the same name ({', '.join(names)}); give each its own")


def _no_cache(path: Path, error: OSError) -> RunError:
    why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
    return RunError(f"{path.parent}: cannot keep a copy of the table here ({why}); point HF_DATASETS_CACHE elsewhere")


class Parquet:
    """Reads one Parquet file; one that is compressed as a whole is unpacked into memory first."""

    key = "parquet"

    def __init__(self, path: Path) -> None:
        self.path = path

    def tables(self) -> Iterator[pa.Table]:
        """Yield tables of at most 10,000 rows."""
        with open_bytes(self.path) as stream:  # a reader needs to jump, which only an unpacked file can
            source = io.BytesIO(stream.read()) if self.path.suffix.lower() in PACKED else stream
            for batch in pq.ParquetFile(source).iter_batches(10_000):
                yield _decoded(pa.Table.from_batches([batch]))

    def explain(self, error: Exception) -> InputError:
        """Return what is wrong; the format has no rows to point at before it is read."""
        return InputError(f"{self.path}: is not a Parquet file, or damaged ({first_line(error)}); write it again")

    def line(self, row: int) -> None:
        """Return None: Parquet has no lines."""
        del row


def _decoded(table: pa.Table) -> pa.Table:
    """Return dictionary columns as plain ones: dictionaries may differ from batch to batch."""
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(field.type.value_type))
    return table
