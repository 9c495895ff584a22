"""The protocols of the parts. A part is any class with these methods in its package's folder; nothing is inherited.

What a part may do beyond these is in `abilities`.
"""

# This file is long because it holds the contracts of all parts, which are read together.

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from nearfar.column import Column, Ids
from nearfar.tasks import Task

if TYPE_CHECKING:  # they bring torch, which takes seconds; `requirements` knows them when it reads the annotations
    from torch import Tensor

    from nearfar.compute.draws import Draws
    from nearfar.pairs import Pairs

Values = npt.NDArray[np.float64]

Role = Literal["query", "key"]  # whose side of an encoder reads cells, and whose prompt stands in front


class Data(Protocol):
    """A data set: named columns of equal length, in splits ("train", "heldout", ...)."""

    columns: list[str]
    fingerprint: str  # of the content: equal rows give an equal one

    def __len__(self) -> int: ...
    def column(self, name: str) -> Column:
        """Return one column. Errors: `InputError` for an unknown name, with the known ones."""
        ...

    def split(self, name: str) -> Data:
        """Return the rows of one split; the data set itself holds the training rows."""
        ...


@dataclass(frozen=True)
class Batch:
    """The batch of b examples that one step trains on.

    rows: for each view, the rows of its column that are encoded; a view may have none.
    pairs: the positives and negatives among the queries (the rows of the query views, stacked) and the keys (the rows
    of the key views, stacked, then the queued keys).
    positive_index (b,): for each example, the position of its own positive among the keys; the queue stores these keys.
    None means 0, 1, ..., b - 1.
    example_index: for each row of an augmented view, the position in the batch of the example that it belongs to, which
    seeds its augmentation. A view that is not named has one row for each example, in order.
    """

    rows: dict[str, Ids]
    pairs: Pairs
    positive_index: Ids | None = None
    example_index: dict[str, Ids] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class FixedViews:
    """The views of each content of a column of n cells: `count` of them, drawn from (seed, number, content id).

    An example has view p mod count in pass p, so that what was computed of these views in advance holds in every pass.
    ids: (n,) the content ids of the column.
    """

    count: int
    seed: int
    ids: Ids


@dataclass(frozen=True)
class StreamedAugmentation:
    """A view whose raw cells are augmented anew in every epoch; with `fixed`, in one of a few views of each content.

    The random numbers are drawn from (seed, epoch, example, stream), so they are the same however a run is divided
    among ranks, or resumed. Views with the same stream get the same numbers for an example: the two halves of a text.
    """

    augmentation: Augmentation
    stream: int
    fixed: FixedViews | None = None

    def seeds(self, seed: int, passes: Ids, examples: Ids, rows: Ids) -> Ids:
        """Return what the random numbers of some rows (r,) of the view are drawn from, (r, 3).

        seed: of the run. passes, examples (r,): the pass (epoch) in which each row is seen, and its example.
        """
        if self.fixed is None:
            return np.stack([np.full(len(rows), seed), passes, examples], 1)
        fixed = self.fixed
        return np.stack([np.full(len(rows), fixed.seed), passes % fixed.count, fixed.ids[rows]], 1)


class Positives(Protocol):
    """Module 1, which keys are the positives of which queries: views of the data, and the batch of any examples."""

    views: dict[str, Column]
    query_views: list[str]  # encoded and stacked in this order, they are the loss's queries
    key_views: list[str]  # encoded and stacked in this order, they are the loss's keys
    fingerprint: str

    def __len__(self) -> int: ...
    def batch(self, examples: Ids) -> Batch:
        """Return the rows and the pairs of some examples, a pure function of them.

        `examples` may be empty (a data set of a mixture with keys in the queue only). See `abilities.TakesQueue`.
        """
        ...

    def task(self, split: str) -> Task:
        """Return a held-out split as a task."""
        ...

    def describe(self, examples: Ids) -> list[dict[str, Any]]:
        """Return some examples for people to read, as plain values that JSON has."""
        ...


@dataclass(frozen=True)
class MiningPairs:
    """What hard negatives are mined from: a column of queries, a column of keys, and the known pairs of the two.

    examples (n, 2): the row of `query` and the row of `key` of each example; any row of `key` may become a negative.
    positives (e, 2): the content ids (`content_ids`) of a query and a key that are a positive pair.
    ignored (e, 2): likewise of pairs that are no positives, and must not become negatives.
    """

    query: Column
    key: Column
    examples: npt.NDArray[np.int64]
    positives: npt.NDArray[np.int64]
    ignored: npt.NDArray[np.int64]


@dataclass(frozen=True)
class MinedNegatives:
    """Mined negatives: the rows (n, k) for `with_negatives`, and facts for the log (`found`: how many there are)."""

    rows: Ids
    facts: dict[str, Any]


class Inputs(Protocol):
    """The inputs of an encoder, n rows."""

    def __len__(self) -> int: ...
    def __getitem__(self, rows: slice) -> Self: ...
    def join(self, others: Sequence[Self]) -> Self:
        """Return these rows followed by those of the others."""
        ...

    def costs(self) -> npt.NDArray[np.int64]:
        """Return the cost of each row in tokens or pixels, (n,)."""
        ...

    def to(self, device: Any) -> Self:
        """Return the same inputs on another device."""
        ...


class Store(Protocol):
    """The inputs of a whole column, made once, then read by row."""

    def __getitem__(self, rows: Ids) -> Inputs: ...


class Side(Protocol):
    """How an encoder makes inputs of the cells of one side (queries or keys)."""

    def prepare(self, columns: Sequence[Column]) -> None:
        """Learn from the side's columns what training needs (a tokenizer, statistics); once: later calls do nothing."""
        ...

    def inputs(self, cells: Sequence[Any]) -> Inputs:
        """Return raw cells as inputs; cells that an augmentation made may be a tensor (n, ...), or tensors."""
        ...

    def store(self, column: Column) -> Store:
        """Return the inputs of a whole column, from the cache on disk where it has them."""
        ...


@dataclass(frozen=True)
class ForeignForm:
    """A form in which a saved encoder is read by another tool, too, with equal vectors.

    tool: its name, such as "sentence-transformers". modules: for that tool, the encoder's rows of modules.json.
    example: for any other tool, the Python lines that read the folder, for the model card. task: where the tool makes
    something else of it than vectors, what: a task by the hub's name, such as "fill-mask", with equal logits.
    """

    tool: str
    modules: list[dict[str, str]] = field(default_factory=list)
    example: str = ""
    task: str = ""


class Encoder(Side, Protocol):
    """Module 2, an `nn.Module`: inputs to vectors (n, dim), not normalised; it is the side of queries and of keys."""

    dim: int

    def __call__(self, inputs: Any) -> Tensor:
        """Return vectors (n, dim)."""
        ...

    def save(self, folder: Path) -> list[ForeignForm]:
        """Write the encoder into a folder; return the forms in which other tools read it, too; [] where none does."""
        ...

    @classmethod
    def load(cls, folder: Path, settings: dict[str, Any]) -> Self:
        """Read what `save` wrote."""
        ...

    def settings(self) -> dict[str, Any]:
        """Return the settings of the constructor, for `load`."""
        ...

    def identity(self) -> Iterator[tuple[str, Any]]:
        """Yield all named arrays and values that the vectors depend on, for the fingerprint."""
        ...


class Loss(Protocol):
    """Module 3, an `nn.Module`: (n, d) queries, (m, d) keys and their pairs to a scalar.

    Where queries and keys are the same rows, they are the very same tensor (`keys is queries`).
    """

    unit: ClassVar[bool]  # it takes vectors of unit length
    cacheable: ClassVar[bool]  # it is a function of the vectors alone, so the gradient cache is exact
    needs_negatives: ClassVar[bool]  # a batch without negatives is an error

    def __call__(self, queries: Tensor, keys: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss."""
        ...

    # The registry remembers the settings of what it built. A part that is made by hand keeps each setting of its
    # constructor as an attribute of the same name, for the identity of a run (`registry.settings_of`).


class Head(Protocol):
    """An `nn.Module` between encoder and loss while training: vectors (n, in) to (n, dim).

    It is trained on the vectors of the whole batch, of all ranks and micro-batches, so batch statistics in it are
    exact. Its constructor gets `dim`, the dimension of the vectors that it takes.
    """

    dim: int  # of what it returns

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return vectors (n, dim)."""
        ...


@dataclass(frozen=True)
class States:
    """What an encoder holds under its pooled vectors: the states of tokens, patches or frames, ragged.

    values (t, d): the states of row 0, then those of row 1, ... offsets (n + 1,): row i has values[offsets[i]] to
    values[offsets[i + 1] - 1]. places (t,): the place of each state in its row's input (a token's position; a patch's
    or frame's number), as one position may give no state.
    """

    values: Tensor
    offsets: Tensor
    places: Tensor


@dataclass(frozen=True)
class Terms:
    """A sum of terms, a scalar with a graph, and their number: the loss of a batch is the sum over the number.

    The step adds both over micro-batches and ranks and divides once, so that any cut gives the same update.
    """

    total: Tensor
    count: int


class Objective(Protocol):
    """Self-supervision that compares no vectors, an `nn.Module` with heads of its own: hide a part, and predict it.

    needs: the views whose rows it reads; () is every view. Its constructor gets the `encoder`; what depends on data
    that the encoder has read (a vocabulary) is made in `prepare` (see `abilities.Prepared`).
    """

    needs: tuple[str, ...]

    def hide(self, inputs: Any, draws: Draws) -> tuple[Any, Any]:
        """Return the inputs with a part hidden, and the targets. draws: of the rows; row i's part depends on row i."""
        ...

    def __call__(self, encoder: Any, inputs: Any, targets: Any) -> Terms:
        """Return the sum and the number of the terms of these rows; without a hidden part, `count` is 0."""
        ...


class Augmentation(Protocol):
    """An augmentation: the cells of a batch, and their random numbers, to changed cells that are their positives.

    cells: a tensor (n, ...) where the cells are arrays of one shape and type, else a list of n cells. What becomes of
    cell i depends on cell i and row i of the draws alone. The given cells are not changed in place: a list may hold the
    data set's own. A text must not become empty.
    """

    def __call__(self, cells: Any, draws: Draws) -> Any:
        """Return the augmented cells, n of them, in order."""
        ...


@dataclass(frozen=True)
class Sample:
    """A sample of an embedding space: vectors (n, d), and p positive pairs: row i of queries and of keys (p, d)."""

    vectors: Tensor
    queries: Tensor
    keys: Tensor


@dataclass(frozen=True)
class TextSide:
    """The side of a system that reads texts. name: what reports call it. embed: n texts to unit vectors (n, d)."""

    name: str
    embed: Callable[[Sequence[str]], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class TokenScores:
    """What a system made of the tokens that a language task asks for, h of them.

    rows (h,): the text of each. log_likelihood (h,): the natural logarithm of the probability that it gave the token.
    right (h,): whether the token was its answer, which is the likeliest one where it has probabilities of all.
    """

    rows: Ids
    log_likelihood: Values
    right: npt.NDArray[np.bool_]


class RankedDocuments(Protocol):
    """The best documents of each query, best first, in the form of `vectors.ranking.Ranking`; row -1 is none."""

    @property
    def rows(self) -> Ids:
        """The documents (n, k) by position."""
        ...

    @property
    def scores(self) -> npt.NDArray[np.float32]:
        """Their scores (n, k)."""
        ...


@dataclass(frozen=True)
class Predictions:
    """What one system, a model or a floor, made of a task; a part that it cannot give is None or empty.

    vectors: the vectors (n, d) of each of the task's columns, by the names of `tasks.columns_of`. ranking: of the
    documents for each query (Retrieval). scores (n,): of the pairs, higher for the more similar (Similarity,
    PairLabels); dev_scores: of the dev pairs. answers (n,): the class of each cell (Labels), from a system that answers
    without vectors. sample: of the space of the vectors. text_side: embeds further texts into that space, as the names
    of classes. hidden_tokens, next_tokens: what it made of tokens between others, and behind others (Language). about:
    facts for the protocol. shared: what one metric made of the vectors and others read, too.
    """

    vectors: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    ranking: RankedDocuments | None = None
    scores: Values | None = None
    dev_scores: Values | None = None
    answers: Ids | None = None
    sample: Sample | None = None
    text_side: TextSide | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    hidden_tokens: TokenScores | None = None
    next_tokens: TokenScores | None = None
    shared: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def parts(self) -> set[str]:
        """Return the names of the parts that there are, as `Metric.needs` has them."""
        optional: dict[str, Any] = {"ranking": self.ranking, "scores": self.scores, "answers": self.answers}
        optional |= {"sample": self.sample, "text_side": self.text_side}
        optional |= {"hidden_tokens": self.hidden_tokens, "next_tokens": self.next_tokens}
        given = {name for name, part in optional.items() if part is not None}
        return given | ({"vectors"} if self.vectors else set())


@dataclass(frozen=True)
class Statistic:
    """A value of a metric that is no mean over the task's n rows, with its value in resamples of them.

    resampled: from the number of copies (b, n) of each row in b resamples to the values (b,).
    """

    value: float
    resampled: Callable[[Values], Values]


Measurement = Values | float | Statistic


@runtime_checkable
class Metric(Protocol):
    """A metric of what a system made of a task; its constructor takes its settings.

    takes: the types of its tasks. needs: parts of `Predictions`, one of which it reads: it is left out, by name,
    for a system that has none of them. usual: it is measured where no metrics are named. meaning: a description of each
    of its values, by name; a name holds the settings that change what it means (`knn@20`), and no two parts share one.
    """

    takes: ClassVar[tuple[type, ...]]
    needs: ClassVar[tuple[str, ...]]
    usual: ClassVar[bool]

    @property
    def meaning(self) -> Mapping[str, str]:
        """A description of each value, by name."""
        ...

    def __call__(self, task: Any, predictions: Predictions, /) -> Mapping[str, Measurement]:
        """Return the values by name.

        An array (n,), a value for each of the task's rows, is averaged and gets an interval, a `Statistic` gets one
        too, a plain number none. A value that cannot be computed is left out, or is NaN.
        """
        ...


@runtime_checkable
class Floor(Protocol):
    """What any model must beat at a task: words, raw pixels, the most frequent class, chance.

    takes: the types of tasks that it serves. reads: the kinds of cells, in the words of `column.kind_of`; () is any.
    usual: the types of tasks that it is the floor of where no baseline is named. fused: the fusion of its ranking with
    the model's is worth a look.
    """

    takes: ClassVar[tuple[type, ...]]
    reads: ClassVar[tuple[str, ...]]
    usual: ClassVar[tuple[type, ...]]
    fused: ClassVar[bool]

    def __call__(self, task: Any, seed: int, /) -> Predictions:
        """Return what it makes of a task; `about` names its settings."""
        ...
