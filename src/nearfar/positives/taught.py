"""Taught: questions drawn from documents, and a teacher that says how near each lies to the others. No labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.functional import normalize

from nearfar import registry
from nearfar.column import Column, Ids, ListColumn, content_id, content_ids, take
from nearfar.contracts import Augmentation, Batch, Data, Encoder, Store, View
from nearfar.errors import InputError
from nearfar.fingerprint import fingerprint
from nearfar.lexical import BASELINES, Bm25
from nearfar.pairs import Known, Pairs
from nearfar.positives._documents import Documents
from nearfar.positives._looks import facts, task_of
from nearfar.prompts import prompted, side_of
from nearfar.registry import PartOf
from nearfar.tasks import Retrieval

QUERY_SIDE, KEY_SIDE = content_id("query side"), content_id("key side")  # an item is a side and its content
BLOCK = 256  # questions scored, and cells encoded, at once
QUESTION = {"name": "text_crop", "shortest": None, "fewest": 4, "most": 16}
Floats = npt.NDArray[np.float32]


class Taught:
    """Each question's nearness to the documents is what a teacher says: the encoder as it comes, fused with BM25.

    Questions are short stretches of documents. The teacher's score of a question and a document is

        t = z(cosine) + words * z(BM25),  z(x) = (x - mean) / standard deviation over all documents,

    which ranks better than either (on Cranfield, CISI and NPL by 0.04 to 0.06 nDCG@10 with words = 0.5), and needs both
    at search time. A student learns it with `losses.distill`: the fusion's ranking, from vectors alone. The question's
    document, which holds it word for word, and copies and further passages of that are neither near nor far. Distilling
    a stronger ranker into vectors: Hofstätter et al. 2020, arXiv:2010.02666; questions drawn from documents instead of
    being asked: the inverse cloze task, Lee et al. 2019, arXiv:1906.00300. That the teacher is the model itself with
    BM25 is ours, without a source.

    Args:
        data: a table, or any data set with columns.
        encoder: the student, whose vectors as it comes are the teacher's; a recipe's own.
        column: of the documents; left out, it is the only one, or called text, document, passage, ...
        query: how a question is drawn; None is 4 to 16 consecutive words.
        chunk: words of a passage, 0 for whole documents.
        examples: questions in all, and `looks` at most from one document.
        neighbours: documents listed for each question, those that the teacher puts first.
        others: documents listed for all questions beside those, drawn once: what is far.
        words: the weight of BM25. lexical: which (see `lexical.BASELINES`).
        seed: of the draws.

    Batches: b questions; as keys their own documents, their neighbours and the others, each once but the own. `known`
    holds the teacher's scores of listed pairs, from 0 for a question's lowest.

    Errors: `InputError` for fewer than three documents, settings out of range, a column that is not there.

    Example:
        >>> import nearfar as nf
        >>> rows = nf.data.Table([{"text": f"note {i} says how to pull near and push far"} for i in range(9)])
        >>> taught = nf.positives.Taught(rows, nf.encoders.Static(dim=8, vocabulary=300), looks=2)
        >>> len(taught), taught.batch(np.arange(3)).pairs.known.weight.min().item()
        (18, 0.0)

    When not to use it: where people's questions and their answers are known in number (`columns`); for an encoder that
    has learnt nothing yet, whose opinion is none; for languages without spaces between words, which BM25 cannot read
    (words=0 leaves nothing to learn). All documents' vectors are held in memory.
    """

    def __init__(
        self,
        data: Data,
        encoder: Encoder,
        column: str | None = None,
        query: Annotated[View | None, PartOf("views")] = None,
        chunk: int = 0,
        examples: int = 24_000,
        looks: int = 16,
        neighbours: int = 50,
        others: int = 512,
        words: float = 1.0,
        lexical: Literal["bm25", "bm25-english"] = "bm25-english",
        seed: int = 0,
    ) -> None:
        for name, value in (("examples", examples), ("looks", looks), ("neighbours", neighbours)):
            if value < 1:
                raise InputError(f"positives.taught.{name} must be at least 1, it is {value}")
        if chunk < 0 or others < 0 or seed < 0 or not words >= 0:
            raise InputError("positives.taught: chunk, others, words and seed must not be negative")
        self.data, self.column, self.chunk = data, column, chunk
        self.augmented = {"query": Augmentation(query or registry.build("views", QUESTION), 0)}
        documents = Documents.of(data, column, chunk)
        ids = content_ids(documents.texts)
        self.rows = np.sort(np.unique(ids, return_index=True)[1])  # (m,) the distinct documents
        if len(self.rows) < 3:
            raise InputError(
                f"positives.taught: {len(self.rows)} different documents leave nothing to compare; give more"
            )
        self.ids, self.document = ids[self.rows], documents.document[self.rows]
        self.own, texts = self._questions(take(documents.texts, self.rows), examples, looks, seed)
        self.views: dict[str, Column] = {"query": ListColumn("question", texts), "key": documents.texts}
        self.query_views, self.key_views = ["query"], ["key"]
        self.asked = content_ids(self.views["query"])
        random = np.random.default_rng([seed, 1])
        self.others = np.sort(random.permutation(len(self.rows))[:others])
        encoder.prepare(list(self.views.values()))
        self.fingerprint = fingerprint(
            *("taught 1", self.ids, self.document, self.own, self.asked, facts(self.augmented), self.others),
            *(neighbours, words, lexical, fingerprint(*encoder.identity())),
        )
        self.lists = self._scored(
            encoder, Bm25(take(documents.texts, self.rows), **BASELINES[lexical]), words, neighbours
        )

    def _questions(self, texts: list[Any], examples: int, looks: int, seed: int) -> tuple[Ids, list[str]]:
        """Return which document each question is of (n,), and the questions, documents in turn."""
        random = np.random.default_rng(seed)
        turns = [random.permutation(len(texts)) for _ in range(looks)]
        own = np.concatenate(turns)[:examples]
        number = np.arange(len(own)) // len(texts)
        draws = (np.random.default_rng([seed, *pair]) for pair in zip(own.tolist(), number.tolist()))
        view = self.augmented["query"].view
        return own, [view(texts[i], draw) for i, draw in zip(own.tolist(), draws)]

    def _scored(self, encoder: Encoder, bm25: Bm25, words: float, neighbours: int) -> _Lists:
        """Return the teacher's scores, block by block."""
        questions, documents = (_stored(encoder, self, view) for view in ("query", "key"))
        keys = _vectors(encoder, documents, self.rows)  # (m, d)
        count = min(neighbours, len(self.rows) - 1)
        near, scores, others = [], [], []
        for start in range(0, len(self), BLOCK):
            block = np.arange(start, min(start + BLOCK, len(self)))
            cosine = _vectors(encoder, questions, block) @ keys.T  # (b, m)
            total = _standard(cosine) + np.float32(words) * _standard(bm25.scores(take(self.views["query"], block)))
            total[self.document[self.own[block]][:, None] == self.document] = -np.inf
            best = np.argpartition(-total, count - 1, axis=1)[:, :count]
            near.append(best)
            scores.append(np.take_along_axis(total, best, axis=1))
            others.append(total[:, self.others])
        return _Lists(np.concatenate(near), np.concatenate(scores), np.concatenate(others))

    def __len__(self) -> int:
        return len(self.own)

    def batch(self, examples: Ids) -> Batch:
        """Return questions (b,) and the documents that are listed for any of them, the questions' own first."""
        own, lists = self.own[examples], self.lists[examples]
        listed = np.setdiff1d(np.concatenate([lists.near.ravel(), self.others]), own)
        keys = np.concatenate([own, listed])  # (m,) distinct documents, but for the own ones
        place = np.zeros(len(self.rows), np.int64)
        place[keys] = np.arange(len(keys))
        rows = np.repeat(np.arange(len(examples)), lists.near.shape[1])
        others = np.repeat(np.arange(len(examples)), len(self.others))
        row = np.concatenate([rows, others])
        column = place[np.concatenate([lists.near.ravel(), np.tile(self.others, len(examples))])]
        score = np.concatenate([lists.scores.ravel(), lists.others.ravel()])
        there = np.isfinite(score)  # else the question's own document
        row, column, score = row[there], column[there], score[there]
        least = np.full(len(examples), np.inf, np.float32)
        np.minimum.at(least, row, score)
        known = Known(*map(torch.from_numpy, (row, column, score - least[row])))
        pairs = Pairs(
            query_group=torch.from_numpy(self.ids[own]),
            query_item=torch.from_numpy(self.asked[examples] ^ QUERY_SIDE),
            key_group=torch.from_numpy(self.ids[keys]),
            key_item=torch.from_numpy(self.ids[keys] ^ KEY_SIDE),
            known=known,
        )
        return Batch({"query": examples, "key": self.rows[keys]}, pairs)

    def task(self, split: str) -> Retrieval:
        """Return a split as a task: from a question drawn of each document, always the same, find the rest of it."""
        held = Documents.of(self.data.split(split), self.column, self.chunk)
        found = task_of(split, held, self.augmented)
        return replace(found, notes={**found.notes, "split": dict(getattr(self.data, "notes", {}))})

    def describe(self, examples: Ids) -> list[dict[str, Any]]:
        """Return some questions with the document that the teacher puts first, for people."""
        lists = self.lists[examples]
        first = lists.near[np.arange(len(examples)), lists.scores.argmax(1)]
        texts = zip(take(self.views["query"], examples), take(self.views["key"], self.rows[first]))
        return [{"row": int(i) + 1, "query": q, "key": k} for i, (q, k) in zip(self.rows[first], texts)]


@dataclass(frozen=True)
class _Lists:
    """What the teacher says of n questions: near (n, k) documents, their scores, and the others' (n, o); -inf: own."""

    near: Ids
    scores: Floats
    others: Floats

    def __getitem__(self, examples: Ids) -> _Lists:
        return _Lists(self.near[examples], self.scores[examples], self.others[examples])


def _stored(encoder: Encoder, positives: Any, view: str) -> Store:
    return side_of(encoder, positives, view).store(prompted(encoder, positives, view))


@torch.no_grad()
def _vectors(encoder: Encoder, store: Store, rows: Ids) -> Floats:
    """Return unit vectors (r, d) of some rows of a store, by the encoder as it is."""
    module = cast("nn.Module", encoder)
    training = module.training
    module.eval()
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    parts = [store[rows[start : start + BLOCK]].to(device) for start in range(0, len(rows), BLOCK)]
    found = torch.cat([normalize(encoder(part).float(), dim=1).cpu() for part in parts])
    module.train(training)
    return found.numpy()


def _standard(scores: Floats) -> Floats:
    """Return scores (b, m) less their mean, over their deviation; zeros where all are equal."""
    spread = scores.std(1, keepdims=True)
    found: Floats = (scores - scores.mean(1, keepdims=True)) / np.where(spread > 0, spread, 1)
    return found
