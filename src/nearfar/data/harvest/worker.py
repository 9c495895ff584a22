"""The harvest of some files of one distribution: what a worker process runs. Its imports are light."""

from __future__ import annotations

import gc
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from nearfar.column import content_id
from nearfar.data.harvest.arrow_buffers import fixed_width_array, text_array
from nearfar.data.harvest.distributions import File
from nearfar.data.harvest.parse import DocumentedCode, Limits, documented_code, promising_parts
from nearfar.text.minhash import SIGNATURE_SIZE, signatures, without_comments
from nearfar.text.same_text import folded

MAX_FILE = 1_000_000  # bytes; larger files are tables or generated
_FIELDS: list[tuple[str, pa.DataType]] = [
    ("docstring", pa.large_string()),
    ("code", pa.large_string()),
    ("name", pa.large_string()),
    ("module", pa.large_string()),
    ("distribution", pa.large_string()),
    ("kind", pa.large_string()),
    ("row_id", pa.int64()),  # content id of the six columns above
    ("query_id", pa.int64()),  # content id of the docstring in lower case, white space collapsed
    ("code_id", pa.int64()),  # content id of the code without comments and white space
    ("signature", pa.binary(4 * SIGNATURE_SIZE)),  # MinHash of the code without comments, (32,) uint32
]
SCHEMA = pa.schema(_FIELDS)


@dataclass(frozen=True)
class Job:
    """The files of one distribution that a worker harvests in one call."""

    distribution: str
    files: tuple[File, ...]
    limits: Limits

    @property
    def size(self) -> int:
        """Bytes of source."""
        return sum(file.size for file in self.files)


def harvest(job: Job) -> tuple[pa.Table, Counter[str]]:
    """Return the rows of a job's files in order, and the number of files by outcome: "read", or why it was skipped."""
    outcomes: Counter[str] = Counter()
    found: list[tuple[str, DocumentedCode]] = []  # with the module of each
    collecting = gc.isenabled()
    gc.disable()  # syntax trees have no cycles, and the search for them takes a sixth of the time
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes and the like in other people's code
            for file in job.files:
                outcome, entries = _read(file, job.limits)
                outcomes[outcome] += 1
                found += ((file.module, entry) for entry in entries)
    finally:
        if collecting:
            gc.enable()
    return _table(job.distribution, found), outcomes


def _read(file: File, limits: Limits) -> tuple[str, list[DocumentedCode]]:
    """Return the outcome of a file and its documented definitions."""
    try:
        path = Path(file.path)
        if path.stat().st_size > MAX_FILE:
            return "huge", []
        data = path.read_bytes()
        if b"\0" in data:
            return "null bytes", []
        text = data.decode("utf-8-sig")
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        return "read", _parse(text, limits)
    except FileNotFoundError:
        return "missing", []
    except OSError:
        return "unreadable", []
    except UnicodeDecodeError:
        return "not UTF-8", []
    except (SyntaxError, ValueError):
        return "syntax error", []
    except (RecursionError, MemoryError):  # the parser raises either for deep nesting
        return "nested too deeply", []


def _parse(text: str, limits: Limits) -> list[DocumentedCode]:
    try:
        return [entry for part in promising_parts(text) for entry in documented_code(part, limits)]
    except SyntaxError:  # in the file, or only in a part, because the text was cut inside a statement
        return list(documented_code(text, limits))


def _table(distribution: str, found: list[tuple[str, DocumentedCode]]) -> pa.Table:
    code = [without_comments(entry.code) for _, entry in found]
    columns = [
        [entry.summary for _, entry in found],
        [entry.code for _, entry in found],
        [entry.name for _, entry in found],
        [module for module, _ in found],
        [distribution] * len(found),
        [entry.kind for _, entry in found],
    ]
    arrays: list[pa.Array[Any]] = [
        *map(text_array, columns),
        _ids("\0".join(cells) for cells in zip(*columns)),
        _ids(folded(entry.summary) for _, entry in found),
        _ids("".join(text.split()) for text in code),
        fixed_width_array(signatures(code), pa.binary(4 * SIGNATURE_SIZE)),
    ]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _ids(cells: Iterable[str]) -> pa.Array[Any]:
    return fixed_width_array(np.array([content_id(cell) for cell in cells], np.int64), pa.int64())
