"""Mining a data set with a model, and writing its hard negatives as a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nearfar.column import Column, content_ids
from nearfar.contracts import MiningPairs, Positives
from nearfar.errors import InputError
from nearfar.mining.controls import Controls
from nearfar.mining.hard import COPIES
from nearfar.mining.search import MiningResult, Rescorer, embed_cached, mine_pairs, mining_pairs_of
from nearfar.positives.relations.decisions import Decisions
from nearfar.storage.folders import write_file_atomically
from nearfar.tasks import Retrieval

TableForm = Literal["lists", "triplets"]
Row = dict[str, Any]
ROW_BLOCK = 5_000  # examples whose rows are in memory together
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
    """Return the hard negatives of each query of a data set, by the scores of a model.

    Equal texts are one document, and so are texts that the model reads alike (capitals under a tokenizer that lowers
    case). A known positive of a query is never its negative, nor is a copy of one or of the query: a key with its
    tokens or its vector.
    Distinct texts are embedded once, and their vectors stay on disk for the next call with the same model.

    Args:
        model: a `Model`, or any object with `embed(cells, role=)`; the model adds its prompts by role.
        positives: `positives.Columns`, or a retrieval task (`data.Beir(...).task()`) with its relevant pairs.
        controls: which of the nearest keys become negatives, see `Controls`.
        corpus: further documents, which are positives of no query.
        decisions: people's decisions about pairs, in addition to those that `positives` holds: dropped ones are
            neither examples nor negatives, positive ones are positives.
        rescore: a scorer of pairs whose scores replace the model's, such as `CrossEncoder`.
        advance: is called with (queries done, all queries).

    Errors: those of embedding; `InputError` for positives that are no pairs.

    Example:
        >>> import nearfar as nf
        >>> pairs = [{"query": "open a file", "key": "open(path)"}, {"query": "sort a list", "key": "sorted(x)"}]
        >>> positives = nf.positives.Columns(nf.data.Table(pairs))
        >>> encoder = nf.encoders.Static(dim=8, vocabulary=300)
        >>> encoder.prepare(list(positives.views.values()))
        >>> hard = mine(nf.Model(encoder), positives)
        >>> hard.keys.texts(hard.mined.rows[:, 0])
        ['sorted(x)', 'open(path)']

    When not to use it: see `hard_negatives`.
    """
    pairs = mining_pairs_of(positives)
    listed = len(pairs.examples)
    if decisions is not None:
        pairs = decided(pairs, decisions)
    hard = mine_pairs(pairs, model, embed_cached, controls, corpus=corpus, rescore=rescore, advance=advance)
    reasons = {reason for reason, count in hard.mined.removed.items() if count}
    if reasons == {COPIES} and not (hard.mined.rows >= 0).any():
        raise InputError(
            f"mining: all candidates of all {len(hard.queries)} queries are copies of a positive or of the query: the "
            f"model gives these {len(hard.keys)} texts the same vector. Take a model that tells them apart, or give "
            "other documents (--corpus)"
        )
    return replace(hard, dropped=listed - len(pairs.examples))


def decided(pairs: MiningPairs, decisions: Decisions) -> MiningPairs:
    """Return what to mine from, as people decided: dropped pairs are neither examples nor negatives.

    Errors: `InputError` where no example is left.
    """
    query, key = pairs.examples.T
    kept = ~decisions.drops(content_ids(pairs.query)[query], content_ids(pairs.key)[key])
    if len(kept) and not kept.any():
        raise InputError(f"mining: the decisions drop all {len(kept):,} pairs; give other data, or keep some")
    positives = pairs.positives[~decisions.drops(*pairs.positives.T)]
    return replace(
        pairs,
        examples=pairs.examples[kept],
        positives=np.concatenate([positives, np.stack(decisions.positive, 1)]),
        ignored=np.concatenate([pairs.ignored, np.stack(decisions.dropped, 1)]),
    )


def check_table_file(out: Path) -> None:
    """Check that a table can be written under the name `out`. Errors: `InputError`."""
    if out.suffix not in SUFFIXES:
        raise InputError(f"{out}: unknown kind of file; write to a name that ends in .jsonl or .parquet")


def write_table(hard: MiningResult, out: Path, form: TableForm = "lists") -> int:
    """Write query, key and negative of each example that has negatives; return the number of rows.

    "lists" is one row for each example with its negatives in a list, "triplets" one row for each negative. The file is
    written next to `out` and then renamed.
    """
    check_table_file(out)
    with write_file_atomically(out) as temporary:
        return (_jsonl if out.suffix == ".jsonl" else _parquet)(temporary, rows(hard, form), form)


def rows(hard: MiningResult, form: TableForm) -> Iterator[list[Row]]:
    """Yield the table's rows in lists, in the order of the examples."""
    for start in range(0, len(hard.distinct), ROW_BLOCK):
        negatives = hard.mined.rows[hard.pairs[0][start : start + ROW_BLOCK]]  # (b, negatives)
        has_negatives = negatives[:, 0] >= 0
        examples, negatives = hard.distinct[start : start + ROW_BLOCK][has_negatives], negatives[has_negatives]
        count = (negatives >= 0).sum(1)
        texts = hard.keys.texts(negatives[negatives >= 0])
        lists = [texts[end - n : end] for end, n in zip(np.cumsum(count).tolist(), count.tolist())]
        pairs = zip(*hard.texts(examples), lists)
        if form == "lists":
            yield [{"query": q, "key": k, "negative": negative} for q, k, negative in pairs]
        else:
            yield [{"query": q, "key": k, "negative": text} for q, k, negative in pairs for text in negative]


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
