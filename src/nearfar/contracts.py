"""The protocols that parts keep. A part is any class of this shape in its room's folder; nothing is inherited."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt
from torch import Tensor

from nearfar.column import Column, Ids
from nearfar.pairs import Pairs
from nearfar.tasks import Task

Values = npt.NDArray[np.float64]


class Data(Protocol):
    """Where examples come from: named columns of equal length, split by name ("train", "heldout", ...)."""

    columns: list[str]
    fingerprint: str  # of the content: the same rows give the same one

    def __len__(self) -> int: ...
    def column(self, name: str) -> Column:
        """Return one column; an unknown name is an error that lists the known ones."""
        ...

    def split(self, name: str) -> Data:
        """Return the rows of one split; the data set itself is its training rows."""
        ...


@dataclass(frozen=True)
class Batch:
    """What one step sees: rows of each view, and who is near whom.

    The queries of `pairs` are the rows of the query views one after the other, its keys those of the key views, then
    the queued keys. `positive_index` (b,) says where among the keys each example's own lies, in the order of the examples: those
    are what a queue keeps. Without it the first keys are the examples' own, one each and in order. A view without rows
    is passed over. `example_index` says of which example (its place in the batch) each row of an augmented view is; of a view
    that it does not name, row i is of example i.
    """

    rows: dict[str, Ids]
    pairs: Pairs
    positive_index: Ids | None = None
    example_index: dict[str, Ids] = field(default_factory=dict)


@dataclass(frozen=True)
class AugmentedView:
    """How a view's raw cells are changed each time they are seen.

    The random numbers are those of (seed, pass over the data, example, stream), the same however the run is divided or
    resumed. Views of one stream get the same numbers for an example: they are halves of one draw.
    """

    view: Augmentation
    stream: int


class Positives(Protocol):
    """Module 1, who is near whom: named views of the data, and the batch of any set of examples."""

    views: dict[str, Column]
    query_views: list[str]  # encoded and stacked in this order, they are the loss's queries
    key_views: list[str]  # ... and these its keys
    fingerprint: str
    # `augmentations: dict[str, Augmentation]`, if there is one, changes the raw cells of the views that it names, anew
    # in every pass; what changes them belongs into the fingerprint

    def __len__(self) -> int: ...
    def batch(self, examples: Ids, queued: Ids | None = None) -> Batch:
        """Return the rows and relations of some examples, a pure function of them.

        queued: examples whose own keys were encoded in earlier steps. They are the pairs' last keys, without rows, and
        all that is known of them holds: none that answers a query may pass for a negative. Positives whose `batch` has
        no such argument are refused where a queue is asked for. With them, there may be no examples at all (a data set
        of several whose keys only wait).
        """
        ...

    def task(self, split: str) -> Task:
        """Return a held-out split as a task."""
        ...

    def describe(self, examples: Ids) -> list[dict[str, Any]]:
        """Return some examples for people to read."""
        ...


@dataclass(frozen=True)
class MiningPairs:
    """What mining looks through: the texts that ask and those that answer, and all that is known of the two.

    examples (n, 2): each example's cell of `query` and of `key`; whatever lies in `key` may become a negative.
    near, neither (e, 2): contents of queries and of keys (`content_ids`) that are near; that are neither near nor far.
    """

    query: Column
    key: Column
    examples: npt.NDArray[np.int64]
    near: npt.NDArray[np.int64]
    neither: npt.NDArray[np.int64]


class Minable(Positives, Protocol):
    """Positives that take mined negatives; optional, others are refused where mining is asked for."""

    def sides(self) -> Sequence[MiningPairs]:
        """Return what to mine in: one thing, or one for each of several data sets, examples in order."""
        ...

    def with_negatives(self, rows: Ids) -> Self:
        """Return the same positives with further keys that are far from each example: (n, k) cells of its `Sides.key`.

        -1 stands for none. What is known of such a key and the batch's queries holds: it is never a false negative.
        """
        ...


@dataclass(frozen=True)
class MinedNegatives:
    """Negatives mined on some weights: (n, k) rows for `with_negatives`, and what was found, for events."""

    rows: Ids
    facts: dict[str, Any]


class Inputs(Protocol):
    """What an encoder eats, n rows of it. `padded`, if it is there and false, says that no row is padded to another."""

    def __len__(self) -> int: ...
    def __getitem__(self, rows: slice) -> Self: ...
    def join(self, others: Sequence[Self]) -> Self:
        """Return self followed by the others."""
        ...

    def costs(self) -> npt.NDArray[np.int64]:
        """Return what each row costs (tokens, pixels), (n,)."""
        ...

    def to(self, device: Any) -> Self:
        """Return the same on another device."""
        ...


class Store(Protocol):
    """The inputs of a whole column, made once and read by row."""

    def __getitem__(self, rows: Ids) -> Inputs: ...


class Side(Protocol):
    """How an encoder reads the cells of one side."""

    def inputs(self, cells: Sequence[Any]) -> Inputs:
        """Return raw cells as inputs."""
        ...

    def store(self, column: Column) -> Store:
        """Return the inputs of a whole column."""
        ...


class Encoder(Protocol):
    """Module 2, an `nn.Module`: inputs to raw vectors (n, dim)."""

    dim: int
    # `takes: ClassVar[type]`, if there is one, is the cell's type: `Model.embed` names rows of another
    # `prompts: dict[str, str]`, if there is one, is text that goes in front, by role ("query", "key"), always
    # `rates() -> dict[str, float]`, if there is one, says how fast parameters learn beside the learning rate, by name
    # `side(role) -> Side`, if there is one, reads the cells of one side ("query", "key"): the sides differ, and the
    # encoder's own `inputs`, `store` and `takes` are the keys'. Ask by `side(encoder, role)`

    def __call__(self, inputs: Any) -> Tensor:
        """Return raw vectors (n, dim)."""
        ...

    def prepare(self, columns: Sequence[Column]) -> None:
        """Learn from the data what training needs (a tokenizer, statistics); a second call changes nothing."""
        ...

    def inputs(self, cells: Sequence[Any]) -> Inputs:
        """Return raw cells as inputs."""
        ...

    def store(self, column: Column) -> Store:
        """Return the inputs of a whole column, from the disk's cache where they are known."""
        ...

    def save(self, folder: Path) -> list[dict[str, Any]]:
        """Write the encoder; return its rows of sentence-transformers' modules.json, if it has such a form."""
        ...

    @classmethod
    def load(cls, folder: Path, settings: dict[str, Any]) -> Self:
        """Read what `save` wrote."""
        ...

    def settings(self) -> dict[str, Any]:
        """Return the constructor's settings, for `load`."""
        ...

    def identity(self) -> Iterator[tuple[str, Any]]:
        """Yield named arrays and values that make this embedding space what it is, for the fingerprint."""
        ...


def side(encoder: Encoder, role: str | None) -> Side:
    """Return what reads the cells of a side (None: the keys'): of most encoders, whose sides are alike, themselves."""
    sides = getattr(encoder, "side", None)
    found: Side = encoder if sides is None else sides(role or "key")
    return found


class Loss(Protocol):
    """Module 3, an `nn.Module`: (n, d) queries, (m, d) keys and their pairs to a scalar.

    Where queries and keys are the same rows, they are the very same tensor (`keys is queries`).
    """

    unit: ClassVar[bool]  # wants vectors on the unit sphere
    cacheable: ClassVar[bool]  # a function of the vectors alone: gradient caching is exact
    needs_negatives: ClassVar[bool]  # a batch without negatives is an error

    def __call__(self, queries: Tensor, keys: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss."""
        ...

    # Every constructor setting stays readable under its name, as given or as learnt: runs are told apart by them.
    # `clamp_()`, if the loss or a module in it has one, is called after each step: learnt values go back into range.
    # `part(queries, keys, pairs, index, of) -> scalar`, if there is one, is the summand of rank `index` out of `of`:
    # the parts of all ranks, each given the whole batch, add up to the loss. Without it every rank computes the loss,
    # and a share of it counts: as exact, but no faster with more ranks.


class Objective(Protocol):
    """What is no comparison of vectors (masked language modelling, CPC heads): model and batch to a scalar."""

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        """Return the loss."""
        ...


class Augmentation(Protocol):
    """An augmentation: one raw cell to another that means the same; all chance comes from the generator.

    A text stays a text with something in it. `rest(cell, generator)`, if there is one, is what the call leaves of the
    cell under the same random numbers: the two are a pair.
    """

    def __call__(self, cell: Any, generator: np.random.Generator) -> Any:
        """Return another look at the cell."""
        ...


@dataclass(frozen=True)
class Sample:
    """Vectors drawn from a space: `vectors` (n, d), and positive pairs, row i of `queries` and of `keys` (p, d)."""

    vectors: Tensor
    queries: Tensor
    keys: Tensor


class Metric(Protocol):
    """A metric's constructor takes its settings; `meaning` holds the names of the numbers it gives, each in words."""

    meaning: ClassVar[dict[str, str]]


class SpaceMetric(Metric, Protocol):
    """Describes the vectors themselves, whatever they are for."""

    def __call__(self, sample: Sample, /) -> dict[str, float]:
        """Return the values by name."""
        ...
