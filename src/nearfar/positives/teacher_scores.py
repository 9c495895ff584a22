"""Questions drawn from documents, with a teacher's scores of other documents. No labels are needed."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch

from nearfar import registry
from nearfar.abilities import EXPECT, notes_of
from nearfar.column import Aliases, Column, Ids, ListColumn, chunks, content_ids, take
from nearfar.contracts import Augmentation, Batch, Data, Encoder, StreamedAugmentation
from nearfar.errors import InputError
from nearfar.pairs import Known, Pairs
from nearfar.positives.relations.augmented import augmented_cells, shown
from nearfar.positives.relations.documents import Documents, SelectedCells
from nearfar.positives.relations.known import KEY_SIDE, QUERY_SIDE
from nearfar.positives.relations.teacher import TeacherLists, teacher_lists
from nearfar.positives.relations.view_tasks import documents_to_judge, view_task
from nearfar.registry import PartOf
from nearfar.storage.fingerprint import fingerprint
from nearfar.tasks import Retrieval
from nearfar.text.bm25 import Bm25
from nearfar.text.language import detect
from nearfar.text.stems import describe

QUERIES = 1000  # of a task, where its documents are long enough
MOST_QUERIES = 16  # of one document
SAMPLE = 64  # documents of a dry run
WHAT_TO_EXPECT = (
    "these questions are made of the documents' own words, so look at questions of people, too. On two collections "
    "that were not looked at before, nDCG@10 on people's questions changed by +0.039 [0.015, 0.063], and by "
    "+0.001 where BM25 is far below the model."
)


class TeacherScores:
    """Questions drawn from documents, with a teacher's scores: those of the encoder before training, fused with BM25.

    Questions are short spans of documents. The teacher's score of a question and a document is

        t = z(cosine) + lexical_weight * z(BM25),  z(x) = (x - mean) / standard deviation over all documents,

    which ranks better than either, but needs both at search time (nDCG@10 of Cranfield, CISI and NPL: MiniLM 0.514,
    0.422, 0.434; BM25 0.525, 0.412, 0.425; both, with a weight of 1: 0.573, 0.459, 0.472). With `losses.distill` a
    student learns the ranking of the fusion from vectors alone. Distilling a stronger ranker into vectors: Hofstätter
    et al. 2020, arXiv:2010.02666. A teacher made of the model itself and BM25 is ours, without a source.

    Args:
        data: a table, or any data set with columns.
        encoder: the student, which is the recipe's encoder; the teacher uses its vectors before training.
        column: the documents' column; left out, it is the only one, or the one called text, document, passage, ...; of
            a BEIR corpus, title and text, and documents without either are left out and counted in a task's notes.
        query: the augmentation that draws a question; None is `{name: text_span}`, 4 to 16 consecutive words.
        chunk: words of a passage, 0 for whole documents.
        examples: questions, at most; per_document: questions of one document (or passage), at most.
        neighbours: documents listed for each question: the best by the teacher's score.
        others: further documents, drawn once and listed for all questions, most of them dissimilar.
        lexical: the form of BM25: with the stems of the documents' language, which is detected (`text.language`) and
            told in `notes`, or without; lexical_weight: its weight.
        seed: of the draws.

    Batches: b questions; their source documents, their neighbours and the others as keys, each once. `known` holds the
    teacher's scores of the listed pairs, shifted so that a question's lowest is 0. A question's source document, which
    contains it word for word, its copies and its further passages are not listed.

    Errors: `InputError` for fewer than three documents, settings out of range, a column that does not exist.

    Example:
        >>> import nearfar as nf
        >>> rows = nf.data.Table([{"text": f"note {i} says how to pull near and push far"} for i in range(9)])
        >>> positives = nf.positives.TeacherScores(rows, nf.encoders.Static(dim=8, vocabulary=300), per_document=2)
        >>> positives.batch(np.arange(3)).pairs.known.weight.min().item()  # a question's lowest score
        0.0

    When not to use it: with many pairs of people's questions and answers (`columns`). With another loss than `distill`
    (kl): most losses take every listed pair for a positive. With an encoder that is not pretrained, whose scores mean
    nothing. Beside other data sets (a list of `data`): a text of two of them would get a score from its copy, not from
    the teacher. The vectors of all documents are held in memory.
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
        lexical: Literal["bm25", "bm25-stems"] = "bm25-stems",
        lexical_weight: float = 1.0,
        seed: int = 0,
    ) -> None:
        minimums = {
            "examples": 1,
            "per_document": 1,
            "neighbours": 1,
            "chunk": 0,
            "others": 0,
            "lexical_weight": 0,
            "seed": 0,
        }
        given = (examples, per_document, neighbours, chunk, others, lexical_weight, seed)
        for (name, minimum), value in zip(minimums.items(), given, strict=True):
            if not minimum <= value < np.inf:
                raise InputError(f"positives.{name} must be at least {minimum}, and a number; it is {value}")
        self.data, self.column, self.chunk = data, column, chunk
        # not an augmented view, which would be drawn again in every epoch: the teacher scores each question once
        self.question = StreamedAugmentation(query or registry.build("augmentations", {"name": "text_span"}), 0)
        self.documents = Documents.of(data, column, chunk)
        if not self.documents.are_texts:
            raise InputError("positives (teacher_scores) draws questions from texts; give positives.column=... of text")
        ids = content_ids(self.documents.cells)
        self.rows = np.sort(np.unique(ids, return_index=True)[1])  # (m,) rows of the distinct documents or passages
        self.ids = ids[self.rows]  # (m,) their content ids
        self.document_ids = self.documents.document_ids[self.rows]  # (m,) those of the whole documents
        _refuse_few(self.document_ids)
        self.encoder, self.per_document, self.neighbours, self.seed = encoder, per_document, neighbours, seed
        self.lexical, self.lexical_weight, self.most_others = lexical, lexical_weight, others
        texts = ListColumn("text", take(self.documents.cells, self.rows))
        self.language = detect(texts) if lexical == "bm25-stems" else None
        words = describe(self.language) if lexical == "bm25-stems" else "no stems"
        self.notes = {EXPECT: WHAT_TO_EXPECT, "teacher": f"the encoder before training and BM25 ({words})"}
        self._draw(examples, per_document)
        encoder.prepare(list(self.views.values()))
        self.teacher = fingerprint(*encoder.identity())
        self.fingerprint = fingerprint(
            *("taught 3", self.ids, self.document_ids, self.source, self.query_ids),
            *(str(registry.settings_of(self.question.augmentation)), self.others),
            *(neighbours, lexical, str(self.language), lexical_weight, self.teacher),
        )

    def _draw(self, examples: int, per_document: int) -> None:
        """Draw the questions and the documents that are listed for all of them."""
        texts = take(self.documents.cells, self.rows)
        self.source, questions = self._questions(texts, examples, per_document)  # (n,) places in `rows`
        self.views: dict[str, Column] = {"query": ListColumn("question", questions), "key": self.documents.cells}
        self.query_views, self.key_views = ["query"], ["key"]
        self.query_ids = content_ids(self.views["query"])  # (n,)
        random = np.random.default_rng([self.seed, 1])
        self.others = np.sort(random.permutation(len(self.rows))[: self.most_others])
        self._lists: TeacherLists | None = None

    @property
    def lists(self) -> TeacherLists:
        """The teacher's lists. Errors: `InputError` where the encoder was trained before the teacher was asked."""
        self.prepare_batches()
        assert self._lists is not None
        return self._lists

    def prepare_batches(self) -> None:
        """Let the teacher score all questions, which takes most of the time before training."""
        if self._lists is not None:
            return
        if fingerprint(*self.encoder.identity()) != self.teacher:
            raise InputError(
                "positives (teacher_scores): the encoder was trained since these positives were made, and it is the "
                "teacher; call prepare_batches() before training"
            )
        texts = take(self.documents.cells, self.rows)
        bm25, count = Bm25(texts, language=self.language), min(self.neighbours, len(self.rows) - 1)
        self._lists = teacher_lists(
            self.encoder, self, self.rows, bm25, self.lexical_weight, self._same_document, count, self.others
        )

    def sample(self, examples: int) -> tuple[TeacherScores, float]:
        """Return the positives of a few documents, scored, and the seconds that scoring all would take.

        Its batches list fewer documents than those of all. What the teacher reads, which takes the time, is in
        proportion: words of questions and documents.
        """
        other = copy.copy(self)
        places = np.sort(np.random.default_rng([self.seed, 2]).permutation(len(self.rows))[:SAMPLE])
        rows = self.rows[places]
        cells = SelectedCells(self.documents.cells.name, self.documents.cells, rows)
        other.documents = replace(
            self.documents, cells=cells, row=self.documents.row[rows], document_ids=self.document_ids[places]
        )
        other.rows, other.ids, other.document_ids = np.arange(len(rows)), self.ids[places], self.document_ids[places]
        other._draw(examples, max(self.per_document, -(-examples // len(rows))))
        began = time.perf_counter()
        other.prepare_batches()
        seconds = time.perf_counter() - began
        return other, seconds * _characters(self) / max(_characters(other), 1)

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, examples: Ids) -> Batch:
        """Return questions (b,), their source documents and the documents that are listed for any of them."""
        source, lists = self.source[examples], self.lists[examples]
        others = np.broadcast_to(self.others, lists.other_scores.shape)
        listed = np.concatenate([lists.neighbours, others], 1)  # (b, l)
        scores = np.concatenate([lists.neighbour_scores, lists.other_scores], 1)  # (b, l)
        keys = np.unique(np.concatenate([source, listed.ravel()]))  # (m,)
        row, place = np.nonzero(np.isfinite(scores))
        lowest = np.where(np.isfinite(scores), scores, np.inf).min(1)  # (b,)
        column, score = np.searchsorted(keys, listed[row, place]), scores[row, place] - lowest[row]
        pairs = Pairs(
            query_group=torch.from_numpy(self.ids[source]),
            query_item=torch.from_numpy(self.query_ids[examples] ^ QUERY_SIDE),
            key_group=torch.from_numpy(self.ids[keys]),
            key_item=torch.from_numpy(self.ids[keys] ^ KEY_SIDE),
            known=Known(*map(torch.from_numpy, (row, column, score))),
        )
        return Batch({"query": examples, "key": self.rows[keys]}, pairs, positive_index=np.searchsorted(keys, source))

    def with_aliases(self, aliases: Aliases) -> Self:
        """Return the same questions, in whose batches the contents count as the aliases say.

        A document that counts as a question's source is not listed for it, as no copy of it is.
        """
        result = copy.copy(self)
        result.ids, result.query_ids = aliases(self.ids), aliases(self.query_ids)
        _refuse_few(result.ids)
        source, lists = result.ids[self.source][:, None], self.lists  # (n, 1)
        result._lists = replace(
            lists,
            neighbour_scores=np.where(result.ids[lists.neighbours] == source, -np.inf, lists.neighbour_scores),
            other_scores=np.where(result.ids[self.others] == source, -np.inf, lists.other_scores),
        )
        result.fingerprint = fingerprint(self.fingerprint, "aliases", aliases.ids, aliases.representatives)
        return result

    def task(self, split: str) -> Retrieval:
        """Return a split as a task: find the rest of each document by questions drawn from it, always the same.

        Where documents are few, each has several, up to `QUERIES` in all, so that the task can tell models apart. They
        are ranked with those of the data's other splits (`abilities.HasPool`), made alike.
        """
        documents, pool, train = documents_to_judge(self.data, split, self.column, self.chunk)
        times = max(1, min(MOST_QUERIES, QUERIES // max(len(documents.row), 1)))
        task = view_task(split, documents, self.question, times=times, pool=pool, train=train)
        task.notes.update(self.notes, split=notes_of(self.data))
        return task

    def describe(self, examples: Ids) -> list[dict[str, Any]]:
        """Return some questions, the rows of their sources and the teacher's best documents, for people to read."""
        lists = self.lists[examples]
        best = self.rows[lists.neighbours[np.arange(len(examples)), lists.neighbour_scores.argmax(1)]]
        rows = (self.documents.row[self.rows[self.source[examples]]] + 1).tolist()
        texts = zip(rows, take(self.views["query"], examples), take(self.views["key"], best))
        return [{"row": row, "query": shown(query), "key": shown(key)} for row, query, key in texts]

    def _questions(self, texts: list[Any], examples: int, per_document: int) -> tuple[Ids, list[str]]:
        """Return the place of each question's document (n,) and the questions, one of each document in turn."""
        random = np.random.default_rng(self.seed)
        source = np.concatenate([random.permutation(len(texts)) for _ in range(per_document)])[:examples]
        number = np.arange(len(source)) // len(texts)
        seeds = np.stack([np.full(len(source), self.seed), source, number], 1)  # (n, 3)
        drawn_from = [texts[i] for i in source.tolist()]
        questions = list(augmented_cells(self.question, drawn_from, seeds, "query", self.rows[source]))
        first = np.sort(np.unique(content_ids(ListColumn("question", questions)), return_index=True)[1])
        return source[first], [questions[i] for i in first.tolist()]  # each distinct question once

    def _same_document(self, examples: Ids) -> npt.NDArray[np.bool_]:
        """Return which documents (b, m) are the sources of questions (b,), or passages of the same whole document."""
        same: npt.NDArray[np.bool_] = self.document_ids[self.source[examples]][:, None] == self.document_ids
        return same


def _characters(positives: TeacherScores) -> int:
    """Return how much text the teacher reads."""
    cells = (cell for view in positives.views.values() for part in chunks(view) for cell in part)
    return sum(map(len, cells))


def _refuse_few(documents: Ids) -> None:
    """Refuse documents (m,), given by their content ids, of which too few differ."""
    if (count := len(np.unique(documents))) < 3:
        raise InputError(
            f"positives (teacher_scores): {count} different documents leave nothing to compare; give more, or hold "
            "out more (data.heldout)"
        )
