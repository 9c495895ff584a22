"""Columns: a row of a table holds a positive pair; every other key of the batch is a negative."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import torch

from nearfar import registry
from nearfar.abilities import DECIDED, notes_of, pool_of
from nearfar.column import Aliases, Column, Ids, content_ids, exact_ids, take
from nearfar.contracts import Augmentation, Batch, Data, Encoder, MiningPairs, Role, StreamedAugmentation
from nearfar.errors import InputError
from nearfar.pairs import Known, Pairs
from nearfar.positives.relations.augmented import shown
from nearfar.positives.relations.decisions import Decisions
from nearfar.positives.relations.further_keys import FurtherKeys
from nearfar.positives.relations.known import KEY_SIDE, QUERY_SIDE, KnownPairs
from nearfar.positives.relations.roles import Roles, flatten, pairs_of, side_cells
from nearfar.positives.relations.similar_texts import Entries, SimilarTexts, compared_role
from nearfar.positives.relations.tasks import judged_and_train, retrieval
from nearfar.registry import PartOf
from nearfar.storage.fingerprint import fingerprint
from nearfar.tasks import Retrieval


class Columns:
    """The positive of each row's query is the row's key; other rows' keys and the row's negatives are negatives.

    Pairs follow content, not position: equal keys are one document, a query that occurs with several keys has all of
    them as positives wherever they are in a batch, and no copy is ever a false negative.

    Args:
        data: a table, or any data set with columns.
        query, key: columns; left out, the names are recognised: query/key, anchor/positive, query/positive,
            query/pos (lists), question/answer, sentence1/sentence2, image/caption. The same column for both
            holds lists of paraphrases: any two different texts of a list are an example.
        negative: columns of the row's negatives, one text or a list a cell; recognised: negative, neg, and the same
            with a number (negative_1).
        cluster: column whose equal values mark rows that are not independent (module, source), for intervals.
        all_keys: an example is a distinct query with all of its keys, a picture with all of its captions: every one of
            them is a positive, and the query is encoded once for all. Without it an example is a query with one key.
        augment_query, augment_key: an augmentation of the queries or of the keys, `{name: image, preset: simclr}`,
            drawn anew in every epoch; the negatives of a column are left as they are.
        decisions: a file of people's decisions about pairs (`nearfar mine --review`, `nearfar audit --review`): a
            dropped pair of query and negative is ignored, one marked positive is a positive, in every batch; a listed
            pair that was dropped is no example. What is judged stays as it is.
        similar: an encoder of texts, `{name: transformer, model: minilm}`. A key that is no positive of a query, but
            whose text has a cosine of more than `similar_above` to the text of the query's own row, is a positive with
            the weight of `SimilarTexts.known`, not a negative. The texts are embedded once, and cached on disk.
        similar_above: that cosine; 0 to below 1.
        similar_by: the side whose texts are compared, "query" or "key"; left out, the keys', where they are texts. By
            "query", the text of a key is its row's query, and keys of `negative` have none.

    Continuous weights from a text model: Srinivasa et al. 2023, arXiv:2309.14580 (CWCL), without the threshold.

    A list in a query or key cell makes one example for each pair. Errors: `InputError` naming the column and those that
    exist; an empty or non-text cell, by row; a table without rows; `similar` where neither side holds texts.

    Example:
        >>> import nearfar as nf
        >>> rows = [{"question": "open a file?", "answer": "open(path)"}, {"question": "sort?", "answer": "sorted(x)"}]
        >>> faq = nf.positives.Columns(nf.data.Table(rows), query="question", key="answer")
        >>> len(faq), faq.batch(np.arange(2)).pairs.shape
        (2, (2, 2))

    When not to use it: rows with grades (sentence1, sentence2, score) need a graded loss.
    """

    takes_queue: bool = True  # see `abilities.TakesQueue`

    def __init__(
        self,
        data: Data,
        query: str | None = None,
        key: str | None = None,
        negative: str | list[str] | None = None,
        cluster: str | None = None,
        all_keys: bool = False,
        augment_query: Annotated[Augmentation | None, PartOf("augmentations")] = None,
        augment_key: Annotated[Augmentation | None, PartOf("augmentations")] = None,
        decisions: Path | None = None,
        similar: Annotated[Encoder | None, PartOf("encoders")] = None,
        similar_above: float = 0.7,
        similar_by: Role | None = None,
    ) -> None:
        self.data = data
        self.roles = Roles.of(data, query, key, negative, cluster)
        queries, keys = side_cells(data, self.roles)
        self.views: dict[str, Column] = {"query": queries.column, "key": keys.column}
        self.query_views, self.key_views = ["query"], ["key"]
        self.listed = pairs_of(queries, keys)  # (e, 3): row, cell of the query, cell of the key
        if len(self.listed) == 0:
            raise InputError(
                f"positives (columns): the data has {self._lack(queries is keys)}, so there is no positive pair; give "
                "a table with rows that do"
            )
        self.mined: Ids | None = None  # (n, k) mined negatives, see `with_negatives`
        self.negatives = {f"negative {name}": flatten(data, name) for name in self.roles.negatives}
        self.views |= {view: cells.column for view, cells in self.negatives.items()}
        self.key_views += self.negatives
        self.ids = {view: content_ids(column) for view, column in self.views.items()}
        self.decisions = None if decisions is None else Decisions.read(decisions)
        self.notes: dict[str, Any] = {}  # see `abilities.HasNotes`
        if self.decisions is not None:
            self._leave_out_dropped(self.decisions)
        self.examples, self.further = self.listed, None
        if all_keys:
            of_query, of_key = (self.ids[view][self.listed[:, i]] for i, view in enumerate(("query", "key"), 1))
            self.examples, self.further = FurtherKeys.of(self.listed, of_query, of_key)
        self.known_pairs = self._known_pairs(self.decisions)
        self.similar, self.similar_above, self.similar_by = similar, similar_above, similar_by
        self.similar_texts = None if similar is None else self._similar_texts(similar)
        self.augment_query, self.augment_key = augment_query, augment_key
        given = {"query": augment_query, "key": augment_key}
        self.augmentations = {
            view: StreamedAugmentation(augmentation, stream)
            for stream, (view, augmentation) in enumerate(given.items())
            if augmentation is not None
        }
        self.fingerprint = self._fingerprint()

    def __len__(self) -> int:
        return len(self.examples)

    def _fingerprint(self) -> str:
        """Return the hash of all that the batches depend on, but for aliases."""
        offsets = [cells.offsets for cells in self.negatives.values()]
        decided = [] if self.decisions is None else ["decisions", self.decisions.dropped, self.decisions.positive]
        near = [] if self.similar_texts is None else [self.similar_texts.identity]
        together = [] if self.further is None else ["all keys"]
        changed = [
            (view, registry.recipe_of("augmentations", streamed.augmentation))
            for view, streamed in self.augmentations.items()
        ]
        ids = map(exact_ids, self.views.values())
        return fingerprint("columns 2", self.listed, offsets, *ids, *decided, *near, *together, *map(str, changed))

    def _lack(self, one_column: bool) -> str:
        """Return what data without a positive pair lacks."""
        query, key = self.roles.query, self.roles.key
        if one_column:
            return f"no two different texts in a row of {query!r}"
        if len(self.data) == 0:
            return "no rows"
        return f"no row with texts in both {query!r} and {key!r}, as lists of one are empty"

    def batch(self, examples: Ids, queued: Ids | None = None) -> Batch:
        """Return the rows of each view and the pairs of some examples (b,): b queries, b keys, then the further ones.

        Mined negatives are further rows of the view "key"; one that is in the batch already is not added again.
        queued: examples whose keys, from earlier batches, come last among the pairs' keys.
        """
        row, query, key = self.examples[examples].T
        rows, of_example = {"query": query, "key": key}, np.arange(len(examples))
        if self.further is not None:
            further, of_further = self.further(examples)
            rows["key"], of_example = np.append(key, further[:, 2]), np.append(of_example, of_further)
            row = np.append(row, further[:, 0])
        if self.mined is not None:
            rows["key"] = np.concatenate([key, self._mined_keys(self.mined[examples], key)])
            of_example = np.resize(of_example, len(rows["key"]))
        for view, cells in self.negatives.items():
            rows[view] = cells.cells_of(np.unique(row))
        queries = self.ids["query"][query]  # (b,)
        queued_keys = self.examples[queued, 2] if queued is not None else key[:0]
        batch_keys = [self.ids[view][rows[view]] for view in self.key_views]
        keys = np.concatenate([*batch_keys, self.ids["key"][queued_keys]])  # (m,)
        known = self.known_pairs.known(queries, keys)
        if self.similar_texts is not None:
            in_queue = examples[:0] if queued is None else queued
            known = self._with_similar(known, self.similar_texts, rows, in_queue, keys)
        pairs = Pairs(
            query_group=torch.from_numpy(keys[: len(queries)].copy()),
            query_item=torch.from_numpy(queries ^ QUERY_SIDE),
            key_group=torch.from_numpy(keys),
            key_item=torch.from_numpy(keys ^ KEY_SIDE),
            known=None if known is None else Known(*map(torch.from_numpy, known)),
        )
        is_asked = self.further is not None or "key" in self.augmentations  # else a mined key is of no example
        return Batch(rows, pairs, example_index={"key": of_example} if is_asked else {})

    def prepare_batches(self) -> None:
        """Let the text encoder embed all texts whose nearness counts, if any (`abilities.PreparedLate`)."""
        if self.similar_texts is not None:
            self.similar_texts.prepare()

    def mining_pairs(self) -> list[MiningPairs]:
        """Return what to mine from: all queries and keys, and the known positive and ignored pairs."""
        cells, decisions = self.examples[:, 1:], self.decisions or Decisions.none()
        views = enumerate(("query", "key"), 1)
        ids = np.stack([content_ids(self.views[view])[self.listed[:, i]] for i, view in views], 1)  # (e, 2)
        positives = np.concatenate([ids, np.stack(decisions.positive, 1)])
        ignored = np.stack(decisions.dropped, 1)
        return [MiningPairs(self.views["query"], self.views["key"], cells, positives, ignored)]

    def with_negatives(self, rows: Ids) -> Self:
        """Return the same examples, each with further cells of the view "key" as negatives: (n, k), -1 for none.

        Errors: `InputError` for another number of examples, or a cell beyond the view.
        """
        if self.further is not None:
            raise InputError("positives (columns): mined negatives are of pairs; leave all_keys out, or the negatives")
        cells = len(self.views["key"])
        if rows.ndim != 2 or len(rows) != len(self) or not (rows.size == 0 or -1 <= rows.min() <= rows.max() < cells):
            raise InputError(
                f"mined negatives must be ({len(self)}, k) rows below {cells}, or -1 for none; they are {rows.shape}"
            )
        result = copy.copy(self)
        result.mined = rows
        return result

    def with_aliases(self, aliases: Aliases) -> Self:
        """Return the same examples, in whose batches the contents count as the aliases say."""
        result = copy.copy(self)
        result.ids = {view: aliases(ids) for view, ids in self.ids.items()}
        result.known_pairs = result._known_pairs(
            None if self.decisions is None else self.decisions.with_aliases(aliases)
        )
        result.fingerprint = fingerprint(self.fingerprint, "aliases", aliases.ids, aliases.representatives)
        return result

    def task(self, split: str) -> Retrieval:
        """Return a split as a retrieval task: its distinct queries, ranking the distinct keys of all rows.

        The documents are its own keys, then those of the data's other splits (`abilities.HasPool`), as a search has
        them all; the task says which of them training has seen.
        """
        pool, (rows, train) = pool_of(self.data, split), judged_and_train(self.data, split)
        task = retrieval(split, rows, self.roles, pool=pool, train=train)
        task.notes["split"] = notes_of(self.data)
        return task

    def describe(self, examples: Ids) -> list[dict[str, Any]]:
        """Return some examples for people, as JSON has them: `--dry-run`, errors; of a picture what it is."""
        row, query, key = self.examples[examples].T
        texts = zip(row, take(self.views["query"], query), take(self.views["key"], key))
        return [{"row": int(r) + 1, "query": shown(q), "key": shown(k)} for r, q, k in texts]

    def _leave_out_dropped(self, decisions: Decisions) -> None:
        """Leave pairs that people dropped out of those that the data lists. Errors: `InputError` where none is left."""
        dropped = decisions.drops(*(self.ids[view][self.listed[:, i]] for i, view in enumerate(("query", "key"), 1)))
        if not dropped.any():
            return
        if dropped.all():
            raise InputError(
                f"positives (columns): the decisions drop all {len(dropped):,} pairs; give other data, or keep some"
            )
        self.listed = self.listed[~dropped]
        self.notes[DECIDED] = f"{int(dropped.sum()):,} of {len(dropped):,} listed pairs are dropped, as was decided"

    def _known_pairs(self, decisions: Decisions | None) -> KnownPairs:
        queries, keys = (self.ids[view][self.listed[:, i]] for i, view in enumerate(("query", "key"), 1))
        return KnownPairs(queries, keys, decisions)

    def _similar_texts(self, encoder: Encoder) -> SimilarTexts:
        """Return the texts that are compared: of the queries, or of the keys and the negatives."""
        role = compared_role(self.views, self.similar_by)
        views = ["query"] if role == "query" else self.key_views
        return SimilarTexts(encoder, self.similar_above, {view: self.views[view] for view in views})

    def _with_similar(
        self, known: Entries | None, similar: SimilarTexts, rows: Mapping[str, Ids], queued: Ids, keys: Ids
    ) -> Entries | None:
        """Return what is known of a batch's queries and keys (m,), and with it the pairs whose texts are near."""
        if "query" in similar.columns:  # the text of a key is its row's query
            queries, mined = rows["query"], self.query_of_key[rows["key"][len(rows["query"]) :]]
            texts = {"query": np.concatenate([queries, mined]), **{view: rows[view] for view in self.negatives}}
            parts = [*texts.items(), ("query", self.examples[queued, 1])]
            own = similar.vectors("query", queries)
        else:
            parts = [*((view, rows[view]) for view in self.key_views), ("key", self.examples[queued, 2])]
            own = similar.vectors("key", rows["key"][: len(rows["query"])])
        return similar.known(own, np.concatenate([similar.vectors(*part) for part in parts]), keys, known)

    @cached_property
    def query_of_key(self) -> Ids:
        """The query of the first example of each cell of the view "key", (k,); 0 for a cell of no example."""
        found = np.zeros(len(self.views["key"]), np.int64)
        found[self.listed[::-1, 2]] = self.listed[::-1, 1]
        return found

    def _mined_keys(self, mined: Ids, keys: Ids) -> Ids:
        """Return the mined negatives of a batch (b, k) that differ from its keys (b,), each content once."""
        cells = mined[mined >= 0]
        ids = self.ids["key"]
        _, first = np.unique(ids[cells], return_index=True)
        cells = cells[np.sort(first)]
        new: Ids = cells[~np.isin(ids[cells], ids[keys])]
        return new
