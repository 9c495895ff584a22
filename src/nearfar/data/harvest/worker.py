"""The harvest of some files of one distribution: what a worker process runs. It imports nothing heavy."""

from __future__ import annotations

import gc
import json
import os
import re
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import pyarrow as pa
import pyarrow.parquet as pq

from nearfar.column import content_id
from nearfar.data.harvest.arrow_columns import numbers, texts
from nearfar.data.harvest.distributions import Distribution, File
from nearfar.data.harvest.parse import Limits, Slice, promising_parts, slices
from nearfar.storage.fingerprint import fingerprint
from nearfar.text.minhash import PLACES, signatures, without_comments

FORMAT = 1  # of the cache: raise it whenever the same files would give other rows
HUGE = 1_000_000  # bytes; longer files are tables or generated
_FIELDS: list[tuple[str, pa.DataType]] = [
    ("docstring", pa.large_string()),
    ("code", pa.large_string()),
    ("name", pa.large_string()),
    ("module", pa.large_string()),
    ("distribution", pa.large_string()),
    ("kind", pa.large_string()),
    ("row_id", pa.int64()),  # of the six columns above
    ("query_id", pa.int64()),  # of the docstring without case and white space
    ("code_id", pa.int64()),  # of the code without comments and white space
    ("signature", pa.binary(4 * PLACES)),
]
SCHEMA = pa.schema(_FIELDS)
_PASSING = ("missing", "unreadable")  # a later look may find these files, so what lacks them is not kept


@dataclass(frozen=True)
class Job:
    """Some files of one distribution."""

    distribution: str
    files: tuple[File, ...]
    limits: Limits

    @property
    def size(self) -> int:
        """Bytes of source."""
        return sum(file.size for file in self.files)


def harvest(job: Job) -> tuple[pa.Table, Counter[str]]:
    """Return the rows of a job's files in order, and the number of files by outcome: "read" or why it was skipped."""
    outcomes: Counter[str] = Counter()
    found: list[tuple[str, Slice]] = []
    collecting = gc.isenabled()
    gc.disable()  # syntax trees have no cycles, and walking them for some is a sixth of the time
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes and the like in other people's code
            for file in job.files:
                outcome, rows = _read(file, job.limits)
                outcomes[outcome] += 1
                found += ((file.module, row) for row in rows)
    finally:
        if collecting:
            gc.enable()
    return _table(job.distribution, found), outcomes


def _read(file: File, limits: Limits) -> tuple[str, list[Slice]]:
    try:
        path = Path(file.path)
        if path.stat().st_size > HUGE:
            return "huge", []
        data = path.read_bytes()
        if b"\0" in data:
            return "null bytes", []
        text = data.decode("utf-8-sig")
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        return "read", _slices(text, limits)
    except FileNotFoundError:
        return "missing", []
    except OSError:
        return "unreadable", []
    except UnicodeDecodeError:
        return "not UTF-8", []
    except (SyntaxError, ValueError):
        return "syntax error", []
    except (RecursionError, MemoryError):  # both are what the parser makes of deep nesting
        return "nested too deeply", []


def _slices(text: str, limits: Limits) -> list[Slice]:
    try:
        return [row for part in promising_parts(text) for row in slices(part, limits)]
    except SyntaxError:  # of the file, or of a part because the text was cut in the middle of something
        return list(slices(text, limits))


def _table(distribution: str, found: list[tuple[str, Slice]]) -> pa.Table:
    plain = [without_comments(row.code) for _, row in found]
    columns = [
        [row.summary for _, row in found],
        [row.code for _, row in found],
        [row.name for _, row in found],
        [module for module, _ in found],
        [distribution] * len(found),
        [row.kind for _, row in found],
    ]
    arrays: list[pa.Array[Any]] = [
        *map(texts, columns),
        _ids("\0".join(cells) for cells in zip(*columns)),
        _ids(" ".join(row.summary.casefold().split()) for _, row in found),
        _ids("".join(code.split()) for code in plain),
        numbers(signatures(plain), pa.binary(4 * PLACES)),
    ]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _ids(cells: Iterable[str]) -> pa.Array[Any]:
    return numbers(np.array([content_id(cell) for cell in cells], np.int64), pa.int64())


def folder() -> Path:
    """Return the cache's folder: below NEARFAR_CACHE if that is set, else where the system keeps a user's caches."""
    named = os.environ.get("NEARFAR_CACHE")
    return (Path(named) if named else platformdirs.user_cache_path("nearfar")) / "python_packages"


def path(distribution: Distribution, limits: Limits) -> Path:
    """Return the file of one distribution: by name, version, and a digest of all that its rows depend on."""
    grammar = sys.version_info[:2]  # an older Python reads fewer files
    digest = fingerprint(distribution.name, distribution.version, distribution.digest, FORMAT, HUGE, limits, grammar)
    stem = re.sub(r"[^\w.+-]", "_", f"{distribution.name}-{distribution.version}")
    return folder() / f"{stem}-{digest[:16]}.parquet"


def load(distribution: Distribution, limits: Limits) -> tuple[pa.Table, Counter[str]] | None:
    """Return what `store` wrote, or None where that is missing, of another shape, or damaged."""
    try:
        with pq.ParquetFile(path(distribution, limits), page_checksum_verification=True) as file:
            table = file.read()
        outcomes = Counter[str](json.loads(table.schema.metadata[b"nearfar"]))
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None
    if not table.schema.equals(SCHEMA):
        return None
    return table.replace_schema_metadata(None), outcomes


def store(distribution: Distribution, limits: Limits, table: pa.Table, outcomes: Counter[str]) -> bool:
    """Write a distribution's rows aside, then rename: a reader sees all or nothing. False where nothing can be kept."""
    if any(outcomes[kind] for kind in _PASSING):
        return True
    target = path(distribution, limits)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, suffix=".part", delete=False) as file:
            temporary = Path(file.name)
            kept = table.replace_schema_metadata({"nearfar": json.dumps(outcomes)})
            pq.write_table(kept, file, compression="zstd", use_dictionary=False, write_page_checksum=True)
        temporary.replace(target)
    except OSError:  # a full disk, a folder that may not be written: slower next time, nothing worse
        if temporary:
            temporary.unlink(missing_ok=True)
        return False
    except BaseException:
        if temporary:
            temporary.unlink(missing_ok=True)
        raise
    return True
