"""Mining a data set with a model: texts in, hard negatives out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nearfar.column import Column
from nearfar.contracts import Positives
from nearfar.errors import InputError
from nearfar.mining.controls import Controls
from nearfar.mining.search import MiningResult, Rescorer, embed_cached, mine_pairs, mining_pairs_of
from nearfar.positives.relations.decisions import Decisions
from nearfar.storage.folders import file_aside, made
from nearfar.tasks import Retrieval

TableForm = Literal["lists", "triplets"]
Row = dict[str, Any]
ROWS_A_SLICE = 5_000
SUFFIXES = (".jsonl", ".parquet")


def mine(
    model: Any,
    positives: Positives | Retrieval,
    controls: Controls | None = None,
    *,
    corpus: Column | None = None,
    decisions: Decisions | None = None,
    rescore: Rescorer | None = None,
    advance: Callable[[int, int], None] | None = None,
) -> MiningResult:
    """Return the hard negatives of each query of a data set, as a model sees them.

    Equal texts are one document, every known positive of a query is none of its negatives, and neither is a text that
    repeats the query word for word. Distinct texts are embedded once, and their vectors kept on disk for the next call
    with the same model.

    Args:
        model: a `Model`, or whatever has `embed(cells, role=)`; the model's prompts are put in front by role.
        positives: `positives.Columns`, or a retrieval task (`data.Beir(...).task()`), whose judged pairs are near.
        controls: which of the nearest are taken, see `Controls`.
        corpus: further documents, which are nobody's positive.
        decisions: what people said of earlier negatives, besides those that the positives know of: dropped pairs are
            left out, positive ones are near.
        rescore: a judge of pairs whose scores replace the model's, see `mining.rescore`.
        advance: is told (queries done, queries).

    Errors: those of embedding; `InputError` for positives that are no pairs.

    Example:
        >>> import nearfar as nf
        >>> pairs = [{"query": "near?", "key": "near"}, {"query": "far?", "key": "far"}]
        >>> positives = nf.positives.Columns(nf.data.Table(pairs))
        >>> encoder = nf.encoders.Static(dim=8, vocabulary=300)
        >>> encoder.prepare(list(positives.views.values()))
        >>> hard = mine(nf.Model(encoder), positives)
        >>> hard.keys.texts(hard.mined.rows[:, 0])
        ['far', 'near']

    When not to use it: see `hard_negatives`.
    """
    side = mining_pairs_of(positives)
    if decisions is not None:
        near, neither = (np.stack(pairs, 1) for pairs in (decisions.positive, decisions.dropped))
        side = replace(side, near=np.concatenate([side.near, near]), neither=np.concatenate([side.neither, neither]))
    return mine_pairs(side, partial(embed_cached, model), controls, corpus=corpus, rescore=rescore, advance=advance)


def check_out(out: Path) -> None:
    """Refuse a file that could not be written, before the work is done. Errors: `InputError`."""
    if out.suffix not in SUFFIXES:
        raise InputError(f"{out}: unknown kind of file; write to a name that ends in .jsonl or .parquet")
    made(out.parent)


def write_table(hard: MiningResult, out: Path, form: TableForm = "lists") -> int:
    """Write query, key, negative for each example that has negatives, aside and then renamed; return the rows.

    "lists" is a row for each example with all its negatives in a list, "triplets" a row for each negative.
    """
    check_out(out)
    with file_aside(out) as aside:
        return (_jsonl if out.suffix == ".jsonl" else _parquet)(aside, rows(hard, form), form)


def rows(hard: MiningResult, form: TableForm) -> Iterator[list[Row]]:
    """Yield the table in lists of rows, in the order of the examples."""
    for start in range(0, len(hard.pairs[0]), ROWS_A_SLICE):
        query, key = (ids[start : start + ROWS_A_SLICE] for ids in hard.pairs)
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


def _jsonl(path: Path, tables: Iterator[list[Row]], form: TableForm) -> int:  # noqa: ARG001
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for table in tables:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in table)
            count += len(table)
    return count


def _parquet(path: Path, tables: Iterator[list[Row]], form: TableForm) -> int:
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
