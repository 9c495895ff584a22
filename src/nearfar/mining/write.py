"""Mined negatives as a table that `positives.columns` reads without being told anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nearfar.errors import InputError
from nearfar.folders import file_aside, made
from nearfar.mining._search import Hard

Form = Literal["lists", "triplets"]
Row = dict[str, Any]
SLICE = 5_000
SUFFIXES = (".jsonl", ".parquet")


def check_out(out: Path) -> None:
    """Refuse a file that could not be written, before the work is done. Errors: `InputError`."""
    if out.suffix not in SUFFIXES:
        raise InputError(f"{out}: unknown kind of file; write to a name that ends in .jsonl or .parquet")
    made(out.parent)


def write(hard: Hard, out: Path, form: Form = "lists") -> int:
    """Write query, key, negative for each example that has negatives, aside and then renamed; return the rows.

    "lists" is a row for each example with all its negatives in a list, "triplets" a row for each negative.
    """
    check_out(out)
    with file_aside(out) as aside:
        return (_jsonl if out.suffix == ".jsonl" else _parquet)(aside, rows(hard, form), form)


def rows(hard: Hard, form: Form) -> Iterator[list[Row]]:
    """Yield the table in lists of rows, in the order of the examples."""
    for start in range(0, len(hard.pairs[0]), SLICE):
        query, key = (ids[start : start + SLICE] for ids in hard.pairs)
        negatives = hard.mined.rows[query]  # (b, negatives)
        some = negatives[:, 0] >= 0
        query, key, negatives = query[some], key[some], negatives[some]
        count = (negatives >= 0).sum(1)
        texts = hard.keys.texts(negatives[negatives >= 0])
        lists = [texts[end - n : end] for end, n in zip(np.cumsum(count).tolist(), count.tolist())]
        pairs = zip(hard.queries.texts(query), hard.keys.texts(key), lists)
        if form == "lists":
            yield [{"query": q, "key": k, "negative": some} for q, k, some in pairs]
        else:
            yield [{"query": q, "key": k, "negative": text} for q, k, some in pairs for text in some]


def _jsonl(path: Path, tables: Iterator[list[Row]], form: Form) -> int:  # noqa: ARG001
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for table in tables:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in table)
            count += len(table)
    return count


def _parquet(path: Path, tables: Iterator[list[Row]], form: Form) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    negative = pa.string() if form == "triplets" else pa.list_(pa.string())
    schema = pa.schema([("query", pa.string()), ("key", pa.string()), ("negative", negative)])
    count = 0
    with pq.ParquetWriter(path, schema) as writer:
        for table in tables:
            writer.write_table(pa.Table.from_pylist(table, schema=schema))
            count += len(table)
    return count
