"""What the laboratory works on: pairs drawn from DATA, some to measure on, others to train on for a moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nearfar.cli import _sources
from nearfar.column import Column, Ids, content_ids, take
from nearfar.errors import InputError

if TYPE_CHECKING:
    from nearfar.model import Model
    from nearfar.positives.columns import Columns

LEAST = 16  # pairs that are measured on: below, no mean says anything


@dataclass(frozen=True)
class Examples:
    """All pairs of DATA: cells (n, 2) of a query and its key in two columns, and each pair's label, if asked for."""

    queries: Column
    keys: Column
    cells: Ids
    labels: Sequence[Any] | None


@dataclass(frozen=True)
class Material:
    """Pairs to measure on and, sharing no text with them, pairs to train on; labels by a key's text."""

    name: str
    measured: Columns
    training: Columns | None
    labels: dict[str, str] | None
    pairs: int  # that DATA has


def gather(
    model: Model, data: str, *, split: str | None, label: str | None, rows: int, train: int, seed: int
) -> Material:
    """Draw `rows` pairs to measure on, of a small DATA half, and at most `train` others to train on.

    The model's prompts stand in front of the texts, which are then all there is.

    Errors: those of the data; a label that is no column; fewer than 16 pairs to measure on; none left to train on.
    """
    examples = _examples(data, split, label)
    n = len(examples.cells)
    order = np.random.default_rng(seed).permutation(n)
    size = min(rows, n // 2 if train else n)
    if size < LEAST:
        raise InputError(
            f"{data}: {n} pairs, of which {size} would be measured on; the laboratory needs {LEAST}: give "
            f"{2 * LEAST if train else LEAST} pairs or more"
        )
    chosen, rest = _closed(examples, order[:size]), order[size:]
    texts = _table(model, examples, chosen)
    others = _table(model, examples, _closed(examples, _foreign(examples, chosen, rest)[:train]))
    if train and len(others) < 2:
        raise InputError(
            f"{data}: no pairs to train on, as all share a text with the {size} that are measured on; give more data, "
            "fewer --rows, or --steps 0 for the curves alone"
        )
    labels = None
    if examples.labels is not None:
        told = zip((row["key"] for row in texts), (examples.labels[place] for place in chosen.tolist()))
        labels = {key: str(name) for key, name in reversed(list(told)) if name is not None}
    return Material(data, _columns(texts), _columns(others) if others else None, labels, n)


def _examples(data: str, split: str | None, label: str | None) -> Examples:
    from nearfar import positives
    from nearfar.data.table import Table

    if _sources.is_beir(Path(data)):
        if label is not None:
            raise InputError(f"--label {label}: a BEIR folder has no column for it; give a table of pairs")
        task: Any = _sources.task(data, split)
        pairs = [(q, d) for q, grades in task.relevance.items() for d, grade in grades.items() if grade > 0]
        texts = take(task.documents, np.array([d for _, d in pairs], np.int64))
        cells = np.array([pair for pair, text in zip(pairs, texts) if text.strip()], np.int64).reshape(-1, 2)
        return Examples(task.queries, task.documents, cells, None)
    table = Table(data)
    table = table if split is None else table.split(split)
    columns = positives.Columns(table, negative=[])
    row = columns.examples[:, 0]
    labels = None if label is None else take(table.column(label), row)
    return Examples(columns.views["query"], columns.views["key"], columns.examples[:, 1:], labels)


def _foreign(examples: Examples, chosen: Ids, rest: Ids) -> Ids:
    """Return those of the rest that share no text with the chosen ones."""
    shared = np.zeros(len(rest), bool)
    for side, column in enumerate((examples.queries, examples.keys)):
        ids = content_ids(column)[examples.cells[:, side]]
        shared |= np.isin(ids[rest], ids[chosen])
    return rest[~shared]


def _closed(examples: Examples, rows: Ids) -> Ids:
    """Return the pairs of some rows once each, and all others that DATA knows of between the same texts.

    Or a key that answers a query, though not in the row that was drawn, would count as its negative.
    """
    ids = [content_ids(c)[examples.cells[:, i]] for i, c in enumerate((examples.queries, examples.keys))]
    inside = np.flatnonzero(np.isin(ids[0], ids[0][rows]) & np.isin(ids[1], ids[1][rows]))
    first = np.unique(np.stack(ids, 1)[inside], axis=0, return_index=True)[1]
    return np.sort(inside[first])


def _table(model: Model, examples: Examples, rows: Ids) -> list[dict[str, str]]:
    queries = take(examples.queries, examples.cells[rows, 0])
    keys = take(examples.keys, examples.cells[rows, 1])
    before = model.prompts
    return [{"query": before["query"] + q, "key": before["key"] + k} for q, k in zip(queries, keys)]


def _columns(rows: list[dict[str, str]]) -> Columns:
    from nearfar import positives
    from nearfar.data.table import Table

    made: Columns = positives.Columns(Table(rows), query="query", key="key")
    return made
