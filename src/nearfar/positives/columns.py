"""Columns: a table's row says what is near; everything else in the batch is far."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from nearfar.column import Column, Ids, content_ids, take
from nearfar.contracts import Batch, Data, MiningPairs
from nearfar.errors import InputError
from nearfar.pairs import Known, Pairs
from nearfar.positives.relations.decisions import Decisions
from nearfar.positives.relations.known import KEY_SIDE, QUERY_SIDE, KnownPairs
from nearfar.positives.relations.roles import Roles, flatten, pairs_of, side_cells
from nearfar.positives.relations.tasks import retrieval
from nearfar.storage.fingerprint import fingerprint
from nearfar.tasks import Retrieval


class Columns:
    """Each row's query is near its key and far from other rows' keys and from the row's negatives.

    Nearness follows content, not position: equal keys are one document, a query that occurs with several keys is near
    all of them wherever they meet in a batch, and no copy is ever a false negative.

    Args:
        data: a table, or any data set with columns.
        query, key: columns; left out, the names are recognised: query/key, anchor/positive, query/positive,
            query/pos (lists), question/answer, sentence1/sentence2. The same column for both: the texts of one of its
            lists say the same, and any two different ones are an example.
        negative: columns with texts far from the row's query, one text or a list a cell; recognised: negative, neg,
            and the same with a number (negative_1).
        cluster: column that says which rows are not independent (module, source), for intervals.
        decisions: a file of what people decided about mined negatives (`nearfar mine --review`): a dropped pair of
            query and negative is never far, one marked positive is near, wherever the two meet.

    A list in a query or key cell makes one example for each pair. Errors: `InputError` naming the column and those that
    exist; an empty or non-text cell, by row; a table without rows.

    Example:
        >>> import nearfar as nf
        >>> rows = [{"question": "near?", "answer": "positives"}, {"question": "far?", "answer": "negatives"}]
        >>> faq = nf.positives.Columns(nf.data.Table(rows), query="question", key="answer")
        >>> len(faq), faq.batch(np.arange(2)).pairs.shape
        (2, (2, 2))

    When not to use it: rows with grades (sentence1, sentence2, score) need a graded loss.
    """

    def __init__(
        self,
        data: Data,
        query: str | None = None,
        key: str | None = None,
        negative: str | list[str] | None = None,
        cluster: str | None = None,
        decisions: Path | None = None,
    ) -> None:
        self.data = data
        self.roles = Roles.of(data, query, key, negative, cluster)
        queries, keys = side_cells(data, self.roles)
        self.views: dict[str, Column] = {"query": queries.column, "key": keys.column}
        self.query_views, self.key_views = ["query"], ["key"]
        self.examples = pairs_of(queries, keys)  # (n, 3): row, cell of the query, cell of the key
        if len(self.examples) == 0:
            why = "no rows" if queries is not keys else f"no two different texts in a row of {self.roles.query!r}"
            raise InputError(
                f"positives.columns: the data has {why}, so nothing is near anything; give a table with rows that do"
            )
        self.mined: Ids | None = None  # (n, k) further negatives, see `with_negatives`
        self.negatives = {f"negative {name}": flatten(data, name) for name in self.roles.negatives}
        self.views |= {view: flat.column for view, flat in self.negatives.items()}
        self.key_views += self.negatives
        self.ids = {view: content_ids(column) for view, column in self.views.items()}
        asked, answers = self.ids["query"][self.examples[:, 1]], self.ids["key"][self.examples[:, 2]]
        decided = None if decisions is None else Decisions.read(decisions)
        self.decisions = decided or Decisions.none()
        self.relation = KnownPairs(asked, answers, decided)
        offsets = [flat.offsets for flat in self.negatives.values()]
        said = [] if decided is None else ["decisions", decided.dropped, decided.positive]
        self.fingerprint = fingerprint("columns 2", self.examples, offsets, *self.ids.values(), *said)

    def __len__(self) -> int:
        return len(self.examples)

    def batch(self, examples: Ids, queued: Ids | None = None) -> Batch:
        """Return rows of each view and the pairs of some examples (b,): b queries, b keys, then the negatives.

        Mined negatives are further rows of the view "key"; one that lies in the batch already comes no second time.
        queued: examples whose keys, from earlier batches, come last among the pairs' keys.
        """
        row, query, key = self.examples[examples].T
        rows = {"query": query, "key": key}
        if self.mined is not None:
            rows["key"] = np.concatenate([key, self._harder(self.mined[examples], key)])
        for name, flat in self.negatives.items():
            rows[name] = flat.cells_of(np.unique(row))
        queries = self.ids["query"][query]  # (b,)
        old = self.examples[queued, 2] if queued is not None else key[:0]
        own = [self.ids[view][rows[view]] for view in self.key_views]
        keys = np.concatenate([*own, self.ids["key"][old]])  # (m,)
        known = self.relation.known(queries, keys)
        pairs = Pairs(
            query_group=torch.from_numpy(keys[: len(queries)].copy()),
            query_item=torch.from_numpy(queries ^ QUERY_SIDE),
            key_group=torch.from_numpy(keys),
            key_item=torch.from_numpy(keys ^ KEY_SIDE),
            known=None if known is None else Known(*map(torch.from_numpy, known)),
        )
        return Batch(rows, pairs)

    def sides(self) -> list[MiningPairs]:
        """Return what mining looks through: every key of the data may be found."""
        cells = self.examples[:, 1:]
        own = np.stack([self.ids[view][cells[:, i]] for i, view in enumerate(("query", "key"))], 1)
        near = np.concatenate([own, np.stack(self.decisions.positive, 1)])
        return [MiningPairs(self.views["query"], self.views["key"], cells, near, np.stack(self.decisions.dropped, 1))]

    def with_negatives(self, rows: Ids) -> Self:
        """Return the same examples, each with further cells of the view "key" as negatives: (n, k), -1 for none.

        Errors: `InputError` for another number of examples, or a cell that is not there.
        """
        cells = len(self.views["key"])
        if rows.ndim != 2 or len(rows) != len(self) or not (rows.size == 0 or -1 <= rows.min() <= rows.max() < cells):
            raise InputError(
                f"mined negatives must be ({len(self)}, k) rows below {cells}, or -1 for none; they are {rows.shape}"
            )
        result = copy.copy(self)
        result.mined = rows
        return result

    def _harder(self, mined: Ids, own: Ids) -> Ids:
        """Return the mined keys of a batch (b, k) that are not among its own keys, each content once."""
        cells = mined[mined >= 0]
        ids = self.ids["key"]
        _, first = np.unique(ids[cells], return_index=True)
        cells = cells[np.sort(first)]
        new: Ids = cells[~np.isin(ids[cells], ids[own])]
        return new

    def task(self, split: str) -> Retrieval:
        """Return a split as a retrieval task: its distinct queries against its distinct keys."""
        return retrieval(split, self.data.split(split), self.roles, getattr(self.data, "notes", {}))

    def describe(self, examples: Ids) -> list[dict[str, Any]]:
        """Return some examples as texts, for people: errors, `--dry-run`, the model card."""
        row, query, key = self.examples[examples].T
        texts = zip(row, take(self.views["query"], query), take(self.views["key"], key))
        return [{"row": int(r) + 1, "query": q, "key": k} for r, q, k in texts]
