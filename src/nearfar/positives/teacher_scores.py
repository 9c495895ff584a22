"""Questions drawn from documents, and a teacher that says how near each lies to the others. No labels."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from nearfar import registry
from nearfar.column import Column, Ids, ListColumn, content_ids, take
from nearfar.contracts import Augmentation, AugmentedView, Batch, Data, Encoder
from nearfar.errors import InputError
from nearfar.pairs import Known, Pairs
from nearfar.positives.relations.documents import Documents
from nearfar.positives.relations.known import KEY_SIDE, QUERY_SIDE
from nearfar.positives.relations.tasks import augmentation_settings, view_task
from nearfar.positives.relations.teacher import teacher_lists
from nearfar.registry import PartOf
from nearfar.storage.fingerprint import fingerprint
from nearfar.tasks import Retrieval
from nearfar.text.bm25 import BASELINES, Bm25


class TeacherScores:
    """Each question's nearness to the documents is what a teacher says: the encoder as it comes, fused with BM25.

    Questions are short stretches of documents. The teacher's score of a question and a document is

        t = z(cosine) + lexical_weight * z(BM25),  z(x) = (x - mean) / standard deviation over all documents,

    which ranks better than either, and needs both at search time (nDCG@10 of Cranfield, CISI and NPL: MiniLM 0.514,
    0.422, 0.434; BM25 0.525, 0.412, 0.425; both, with a weight of 1: 0.573, 0.459, 0.472). A student learns it with
    `losses.distill`: the fusion's ranking, from vectors alone. Distilling a stronger ranker into vectors: Hofstätter
    et al. 2020, arXiv:2010.02666. That the teacher is the model itself with BM25 is ours, without a source.

    Args:
        data: a table, or any data set with columns.
        encoder: the student, whose vectors as it comes are the teacher's; a recipe's own.
        column: of the documents; left out, it is the only one, or called text, document, passage, ...
        query: how a question is drawn; None is `{name: text_span}`, 4 to 16 consecutive words.
        chunk: words of a passage, 0 for whole documents.
        examples: questions in all; per_document: from one document (or passage), at most.
        neighbours: documents listed for each question, those that the teacher puts first.
        others: documents listed for all questions beside those, drawn once: what lies far off.
        lexical: which BM25, see `lexical.BASELINES`; lexical_weight: its weight.
        seed: of the draws.

    Batches: b questions; as keys their own documents, their neighbours and the others, each once. `known` holds the
    teacher's scores of the listed pairs, from 0 for a question's lowest. A question's own document, which holds it word
    for word, its copies and its further passages are not listed.

    Errors: `InputError` for fewer than three documents, settings out of range, a column that is not there.

    Example:
        >>> import nearfar as nf
        >>> rows = nf.data.Table([{"text": f"note {i} says how to pull near and push far"} for i in range(9)])
        >>> taught = nf.positives.TeacherScores(rows, nf.encoders.Static(dim=8, vocabulary=300), per_document=2)
        >>> taught.batch(np.arange(3)).pairs.known.weight.min().item()  # 0: a question's lowest
        0.0

    When not to use it: where people's questions and their answers are known in number (`columns`). With another loss
    than `distill` (kl): one that takes what is known for near or not would take all that is listed for near. For an
    encoder that has learnt nothing yet, whose opinion is none, and for languages that BM25 cannot read. Beside other
    data sets (a list of `data`): a text of two of them would get a score from its copy, not from the teacher. All
    documents' vectors are held in memory.
    """

    def __init__(
        self,
        data: Data,
        encoder: Encoder,
        column: str | None = None,
        query: Annotated[Augmentation | None, PartOf("augmentations")] = None,
        chunk: int = 0,
        examples: int = 24_000,
        per_document: int = 16,
        neighbours: int = 50,
        others: int = 512,
        lexical: Literal["bm25", "bm25-english"] = "bm25-english",
        lexical_weight: float = 1.0,
        seed: int = 0,
    ) -> None:
        least = {
            "examples": 1,
            "per_document": 1,
            "neighbours": 1,
            "chunk": 0,
            "others": 0,
            "lexical_weight": 0,
            "seed": 0,
        }
        given = (examples, per_document, neighbours, chunk, others, lexical_weight, seed)
        for (name, lowest), value in zip(least.items(), given, strict=True):
            if not lowest <= value < np.inf:
                raise InputError(
                    f"positives.teacher_scores.{name} must be at least {lowest}, and a number; it is {value}"
                )
        self.data, self.column, self.chunk = data, column, chunk
        # not `augmentations`: questions are drawn once, for the teacher scores them once
        self.drawn = {"query": AugmentedView(query or registry.build("augmentations", {"name": "text_span"}), 0)}
        self.documents = Documents.of(data, column, chunk)
        ids = content_ids(self.documents.texts)
        self.rows = np.sort(np.unique(ids, return_index=True)[1])  # (m,) the distinct documents
        self.ids, self.whole = ids[self.rows], self.documents.document[self.rows]
        if (count := len(np.unique(self.whole))) < 3:
            raise InputError(
                f"positives.teacher_scores: {count} different documents leave nothing to compare; give more, or hold "
                "out more (data.heldout)"
            )
        texts = take(self.documents.texts, self.rows)
        self.own, questions = self._questions(texts, examples, per_document, seed)  # (n,)
        self.views: dict[str, Column] = {"query": ListColumn("question", questions), "key": self.documents.texts}
        self.query_views, self.key_views = ["query"], ["key"]
        self.asked = content_ids(self.views["query"])
        self.others = np.sort(np.random.default_rng([seed, 1]).permutation(len(self.rows))[:others])
        encoder.prepare(list(self.views.values()))
        self.fingerprint = fingerprint(
            *("taught 1", self.ids, self.whole, self.own, self.asked, augmentation_settings(self.drawn), self.others),
            *(neighbours, lexical, lexical_weight, fingerprint(*encoder.identity())),
        )
        bm25, count = Bm25(texts, **BASELINES[lexical]), min(neighbours, len(self.rows) - 1)
        self.lists = teacher_lists(
            encoder, self, self.rows, bm25, lexical_weight, self._same_document, count, self.others
        )

    def _questions(self, texts: list[Any], examples: int, per_document: int, seed: int) -> tuple[Ids, list[str]]:
        """Return which document each question is of (n,), and the questions, documents in turn."""
        random = np.random.default_rng(seed)
        own = np.concatenate([random.permutation(len(texts)) for _ in range(per_document)])[:examples]
        number = np.arange(len(own)) // len(texts)
        draws = (np.random.default_rng([seed, *pair]) for pair in zip(own.tolist(), number.tolist()))
        view = self.drawn["query"].view
        questions = [view(texts[i], draw) for i, draw in zip(own.tolist(), draws)]
        first = np.sort(np.unique(content_ids(ListColumn("question", questions)), return_index=True)[1])
        return own[first], [questions[i] for i in first.tolist()]  # of several documents' same question one

    def _same_document(self, examples: Ids) -> npt.NDArray[np.bool_]:
        """Say which of all documents are the questions' own, or passages of those, (b, m)."""
        same: npt.NDArray[np.bool_] = self.whole[self.own[examples]][:, None] == self.whole
        return same

    def __len__(self) -> int:
        return len(self.own)

    def batch(self, examples: Ids) -> Batch:
        """Return questions (b,), their own documents and those that are listed for any of them."""
        own, said = self.own[examples], self.lists[examples]
        listed = np.concatenate([said.near, np.broadcast_to(self.others, said.others.shape)], 1)  # (b, l)
        scores = np.concatenate([said.scores, said.others], 1)  # (b, l), -inf: the question's own document
        keys = np.unique(np.concatenate([own, listed.ravel()]))  # (m,)
        row, place = np.nonzero(np.isfinite(scores))
        least = np.where(np.isfinite(scores), scores, np.inf).min(1)  # (b,)
        column, score = np.searchsorted(keys, listed[row, place]), scores[row, place] - least[row]
        pairs = Pairs(
            query_group=torch.from_numpy(self.ids[own]),
            query_item=torch.from_numpy(self.asked[examples] ^ QUERY_SIDE),
            key_group=torch.from_numpy(self.ids[keys]),
            key_item=torch.from_numpy(self.ids[keys] ^ KEY_SIDE),
            known=Known(*map(torch.from_numpy, (row, column, score))),
        )
        return Batch({"query": examples, "key": self.rows[keys]}, pairs, positive_index=np.searchsorted(keys, own))

    def task(self, split: str) -> Retrieval:
        """Return a split as a task: from a question drawn of each document, always the same, find the rest of it."""
        held = Documents.of(self.data.split(split), self.column, self.chunk)
        found = view_task(split, held, self.drawn)
        return replace(found, notes={**found.notes, "split": dict(getattr(self.data, "notes", {}))})

    def describe(self, examples: Ids) -> list[dict[str, Any]]:
        """Return some questions, the rows they are of, and the documents that the teacher puts first, for people."""
        said = self.lists[examples]
        first = self.rows[said.near[np.arange(len(examples)), said.scores.argmax(1)]]
        rows = (self.documents.row[self.rows[self.own[examples]]] + 1).tolist()
        texts = zip(rows, take(self.views["query"], examples), take(self.views["key"], first))
        return [{"row": row, "query": query, "key": key} for row, query, key in texts]
