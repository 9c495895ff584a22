"""Pairs of columns with a teacher's similarities, from vectors that a better model made once."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import torch

from nearfar import registry
from nearfar.abilities import ARRAYS
from nearfar.column import Aliases, Ids, column_kind, content_id, content_ids, exact_ids
from nearfar.contracts import Augmentation, Batch, Data, FixedViews, Role, StreamedAugmentation
from nearfar.errors import InputError
from nearfar.pairs import Known
from nearfar.positives.columns import Columns
from nearfar.positives.relations.teacher_model import LoadModel, TaughtView, TeacherModel, loaded
from nearfar.positives.relations.unit_vectors import Floats, UnitVectors, cosines
from nearfar.registry import PartOf
from nearfar.storage.fingerprint import fingerprint
from nearfar.tasks import Retrieval

SAMPLE = 128  # examples of a dry run


class TeacherVectors:
    """Pairs of two columns, with the similarities that a teacher sees between all queries and keys of a batch.

    The teacher is a trained model that reads both columns; its dimension need not be the student's. It encodes each
    distinct cell once, into a cache on disk. In a batch, the score of a query and a key is their cosine by it,

        t_ij = u_i . v_j - min_j u_i . v_j,

    shifted so that a query's lowest is 0. With `losses.distill` (kl) a student learns to rank the batch as the teacher
    does: for retrieval RocketQAv2 (Ren et al. 2021, arXiv:2110.07367), for pictures and words TinyCLIP (Wu et al. 2023,
    arXiv:2309.12314).

    With an augmentation, each picture has `views` fixed views: view k is what the augmentation draws from (seed, k,
    picture). In pass p the student sees view p mod `views`, and the scores are those of that view, which the teacher
    has encoded, too: the reinforced data of MobileCLIP (Vasu et al. 2024, arXiv:2311.17049). An augmentation without a
    size gives student and teacher the same crop and colours, each in the size that it reads.

    Args:
        data: a table, or any data set with columns.
        teacher: the folder of a model, whatever `nf.Model.load` reads, such as a dual of pictures and texts; in Python
            also the model.
        query, key, negative, cluster: columns, as in `columns`.
        augmentation: of the pictures, or of the side that `augmented` names.
        views: how many views each of its contents has.
        augmented: "query" or "key"; left out, the side that holds no texts, else the queries.
        seed: of the views.

    Batches: the rows of `columns`; `known` has the score of every query and key, so copies and the own positive, too.

    Errors: `InputError` for a teacher that does not read a column, for `views` below 1, or above 1 without an
    augmentation; those of `columns`, and of loading a model.

    Example:
        >>> import nearfar as nf
        >>> table = nf.data.Table([{"query": f"question {i}?", "key": f"answer {i}"} for i in range(4)])
        >>> encoder = nf.encoders.Static(dim=8, vocabulary=300)
        >>> encoder.prepare([table.column("query"), table.column("key")])
        >>> positives = nf.positives.TeacherVectors(table, nf.Model(encoder))
        >>> positives.batch(np.arange(3)).pairs.known.weight.reshape(3, 3).min(1).values.tolist()
        [0.0, 0.0, 0.0]

    When not to use it: with another loss than `distill`, for which every key would be a positive; with a teacher that
    is no better than the student; in batches of thousands, where the scores of all pairs take memory; beside other data
    sets (a list of `data`), whose keys the teacher has not seen.
    """

    takes_passes: bool = True  # see `abilities.TakesPasses`

    def __init__(
        self,
        data: Data,
        teacher: str | Path | TeacherModel,
        query: str | None = None,
        key: str | None = None,
        negative: str | list[str] | None = None,
        cluster: str | None = None,
        augmentation: Annotated[Augmentation | None, PartOf("augmentations")] = None,
        views: int = 1,
        augmented: Role | None = None,
        seed: int = 0,
        load_model: LoadModel | None = None,
    ) -> None:
        _check(augmentation, views, augmented, seed)
        self.data, self.of = data, Columns(data, query, key, negative, cluster)
        self.teacher = loaded(teacher, load_model)
        self.augmentation, self.seed = augmentation, seed
        self.query_views, self.key_views = self.of.query_views, self.of.key_views
        self.views = self.of.views
        self.augmented, self.augmentations = augmented, dict[str, StreamedAugmentation]()
        if augmentation is not None:
            self.augmented = augmented or self._of_no_texts()
            fixed = FixedViews(views, seed, content_ids(self.views[self.augmented]))
            self.augmentations[self.augmented] = StreamedAugmentation(augmentation, 0, fixed)
        self.salts = np.array([0, *(content_id(f"view {k}") for k in range(1, views))], np.int64)  # (views,)
        self.encoded = {
            name: TaughtView.of(
                name, column, self.teacher, "query" if name == "query" else "key", self.augmentations.get(name)
            )
            for name, column in self.views.items()
        }
        self._vectors: dict[tuple[str, int], UnitVectors] = {}
        drawn = [] if augmentation is None else [views, seed, self.augmented, str(registry.settings_of(augmentation))]
        self.fingerprint = fingerprint("teacher vectors 1", self.of.fingerprint, self.teacher.fingerprint, *drawn)
        given: dict[str, Any] = {
            "teacher": teacher,
            "query": query,
            "key": key,
            "negative": negative,
            "cluster": cluster,
        }
        given |= {"augmentation": augmentation, "views": views, "augmented": augmented, "seed": seed}
        registry.remember(self, given)

    def __len__(self) -> int:
        return len(self.of)

    def prepare_batches(self) -> None:
        """Let the teacher encode all cells, or read their vectors from the cache (`abilities.PreparedLate`)."""
        for view, number in self._numbered():
            if (view, number) not in self._vectors:
                self._vectors[view, number] = self.encoded[view].vectors(number)

    def sample(self, examples: int) -> tuple[TeacherVectors, float]:
        """Return the positives of a few examples, encoded, and the seconds that encoding all takes, for a dry run."""
        chosen = np.sort(np.random.default_rng([self.seed, 2]).permutation(len(self))[: min(examples, SAMPLE)])
        other = copy.copy(self)
        other.of = copy.copy(self.of)
        other.of.examples = self.of.examples[chosen]
        rows = other.of.batch(np.arange(len(chosen))).rows
        began = time.perf_counter()
        other._vectors = {(view, k): self.encoded[view].vectors(k, rows[view]) for view, k in self._numbered()}
        seconds = time.perf_counter() - began
        cells = sum(len(np.unique(exact_ids(self.views[view]))) for view, _ in self._numbered())
        return other, seconds * cells / max(1, sum(len(found.vectors) for found in other._vectors.values()))

    def batch(self, examples: Ids, *, passes: Ids | None = None) -> Batch:
        """Return the rows of some examples (b,), and the teacher's scores of all their queries and keys.

        passes: (b,) in which each example is seen; None is the first.
        """
        batch = self.of.batch(examples)
        number = np.zeros(len(examples), np.int64) if passes is None else passes % len(self.salts)  # (b,) of the view
        queries = self._of_view("query", batch.rows["query"], number)  # (b, d)
        keys = np.concatenate([self._of_view(view, batch.rows[view], number) for view in self.key_views])  # (m, d)
        scores = cosines(queries, keys)  # (b, m)
        scores -= scores.min(1, keepdims=True, initial=1.0)
        row, column = (torch.from_numpy(each.ravel()) for each in np.indices(scores.shape))
        pairs = replace(batch.pairs, known=Known(row, column, torch.from_numpy(scores.ravel()).float()))
        if self.augmented is not None:  # another view of a picture is another item
            field = f"{self.augmented}_item"
            items = getattr(pairs, field).clone()
            items[: len(examples)] ^= torch.from_numpy(self.salts[number])
            pairs = replace(pairs, **{field: items})
        return replace(batch, pairs=pairs)

    def with_aliases(self, aliases: Aliases) -> Self:
        """Return the same examples, in whose batches the contents count as the aliases say; the scores stay."""
        result = copy.copy(self)
        result.of = self.of.with_aliases(aliases)
        result.fingerprint = fingerprint(self.fingerprint, "aliases", aliases.ids, aliases.representatives)
        return result

    def task(self, split: str) -> Retrieval:
        """Return a split as a retrieval task, as `columns` does."""
        return self.of.task(split)

    def describe(self, examples: Ids) -> list[dict[str, Any]]:
        """Return some examples for people, as `columns` does."""
        return self.of.describe(examples)

    def _of_view(self, view: str, rows: Ids, number: Ids) -> Floats:
        """Return the teacher's vectors of a batch's rows of a view (r, d), of an augmented one in views (r,)."""
        self.prepare_batches()
        if view not in self.augmentations:
            return self._vectors[view, 0][rows]
        found = np.empty((len(rows), self.teacher.dim), np.float32)
        for k in np.unique(number).tolist():
            found[number == k] = self._vectors[view, k][rows[number == k]]
        return found

    def _numbered(self) -> Sequence[tuple[str, int]]:
        return [(view, number) for view, encoded in self.encoded.items() for number in encoded.numbers]

    def _of_no_texts(self) -> Role:
        """Return the side whose cells are arrays: of pictures and texts the pictures; else that of the queries."""
        arrays = {role: column_kind(self.views[role]) in ARRAYS for role in ("query", "key")}
        return "key" if arrays["key"] and not arrays["query"] else "query"


def _check(augmentation: Augmentation | None, views: int, augmented: str | None, seed: int) -> None:
    where = "positives (teacher_vectors)"
    if views < 1 or seed < 0:
        raise InputError(f"{where}: views must be at least 1 and seed at least 0; they are {views} and {seed}")
    if augmentation is None and (views > 1 or augmented is not None):
        raise InputError(f"{where}: views and augmented are of an augmentation; give positives.augmentation, too")
    if augmented not in (None, "query", "key"):
        raise InputError(f"{where}: augmented must be query or key; it is {augmented!r}")
