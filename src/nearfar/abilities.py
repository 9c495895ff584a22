"""What a part may do beyond its contract, and what holds where it does not: a protocol and a default for each.

A part has an ability when it has the protocol's attributes; nothing is inherited or declared. Callers ask with
`isinstance` or call the function of the same place here, never `getattr`.
"""

# This file is long because it is the one place where every optional protocol stands beside its default.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from nearfar.column import Aliases, Column, Ids
from nearfar.contracts import (
    Augmentation,
    Batch,
    Data,
    Encoder,
    Inputs,
    MiningPairs,
    Positives,
    Predictions,
    Side,
    States,
    Store,
    StreamedAugmentation,
)
from nearfar.errors import InputError
from nearfar.tasks import Task, columns_of, kind_of_task

if TYPE_CHECKING:  # they bring torch, which takes seconds
    from torch import Tensor, nn

    from nearfar.pairs import Pairs

# --- any part ---


@runtime_checkable
class SaysAtStart(Protocol):
    """A part that says, when training begins, what it chose by the data: a stem, or changes that are left out."""

    def says(self, size: int | None = None) -> Sequence[str]:
        """Return a line for each choice; size: the side of the pictures that the reader of its results takes."""
        ...


def said_by(part: Any, size: int | None = None) -> Sequence[str]:
    """Return the lines that a part says when training begins; most say nothing."""
    return part.says(size) if isinstance(part, SaysAtStart) else ()


# --- data and positives ---


DECIDED = "decisions"  # the note that says in a sentence how many listed pairs people dropped, for dry runs and results
EXPECT = "what to expect"  # the note that says in a sentence what a part may gain, for dry runs and reports


@runtime_checkable
class HasNotes(Protocol):
    """Data that tells of itself what a protocol should say: sizes, what was dropped, how it was split."""

    notes: dict[str, Any]


def notes_of(data: Any) -> dict[str, Any]:
    """Return what a data set tells of itself; most tell nothing."""
    return dict(data.notes) if isinstance(data, HasNotes) else {}


@runtime_checkable
class HasPool(Protocol):
    """Data with further rows whose documents a search would rank, too, as it has more than those of one split."""

    def pool(self, split: str) -> Sequence[Data]:
        """Return the rows whose documents are ranked for the queries of a split, besides the split's own."""
        ...


def pool_of(data: Data, split: str) -> Sequence[Data]:
    """Return the rows whose documents are ranked for a split's queries besides its own: none, as of most data."""
    return data.pool(split) if isinstance(data, HasPool) else []


@runtime_checkable
class HasLists(Protocol):
    """Data whose cells may hold lists of texts."""

    def lists(self, name: str) -> tuple[Column, Ids]:
        """Return the texts of a column, checked, list after list, and the (n + 1,) offsets of the rows in them."""
        ...


@runtime_checkable
class Augmented(Protocol):
    """Positives some of whose views are augmented anew in every epoch; the settings are part of the fingerprint."""

    augmentations: Mapping[str, StreamedAugmentation]


def augmented_views(positives: Positives) -> Mapping[str, StreamedAugmentation]:
    """Return the augmented views of some positives by name; most have none."""
    return positives.augmentations if isinstance(positives, Augmented) else {}


@runtime_checkable
class TakesQueue(Protocol):
    """Positives whose batches may have keys of earlier steps. Others are refused where a queue is asked for."""

    takes_queue: bool

    def batch(self, examples: Ids, queued: Ids | None = None) -> Batch:
        """Return the rows and the pairs of some examples, a pure function of them and of `queued`.

        queued: examples whose keys were encoded in earlier steps and are the pairs' last keys, without rows here. Known
        positives among them must be positives, not negatives.
        """
        ...


def takes_queue(positives: Positives) -> bool:
    """Return whether positives take queued keys."""
    return isinstance(positives, TakesQueue) and positives.takes_queue


@runtime_checkable
class TakesPasses(Protocol):
    """Positives whose pairs depend on the pass in which an example is seen, as its view does (`FixedViews`)."""

    takes_passes: bool

    def batch(self, examples: Ids, *, passes: Ids | None = None) -> Batch:
        """Return the rows and the pairs of some examples (b,), each in its pass (b,), from 0; None is the first."""
        ...


def takes_passes(positives: Positives) -> bool:
    """Return whether the pairs of positives depend on the pass."""
    return isinstance(positives, TakesPasses) and positives.takes_passes


def batch_of(positives: Positives, examples: Ids, queued: Ids | None, passes: Ids | None = None) -> Batch:
    """Return the batch of some examples (b,), in the first pass of all or each in its own (b,), where they take it.

    queued: examples whose keys are in the queue; None without one.
    """
    in_pass = {"passes": passes} if takes_passes(positives) else {}
    if queued is None:
        return positives.batch(examples, **in_pass)
    assert isinstance(positives, TakesQueue), "a queue is refused for other positives before training"
    return positives.batch(examples, queued, **in_pass)


@runtime_checkable
class Minable(Positives, Protocol):
    """Positives that take mined negatives. Others are refused where mining is asked for."""

    def mining_pairs(self) -> Sequence[MiningPairs]:
        """Return what to mine from, one for each data set, with the examples in order."""
        ...

    def with_negatives(self, rows: Ids) -> Self:
        """Return the same positives with mined negatives: for each example, k rows of `MiningPairs.key`, (n, k).

        -1 stands for none. A mined key that is a known positive of another query in the batch is no negative of that.
        """
        ...


@runtime_checkable
class TakesAliases(Positives, Protocol):
    """Positives that can count several contents as one, because the encoder reads them alike."""

    def with_aliases(self, aliases: Aliases) -> Self:
        """Return the same examples, whose ids in batches are those that the aliases say, with another fingerprint.

        What is mined from (`Minable.mining_pairs`) keeps the contents' own ids.
        """
        ...


def with_aliases(positives: Positives, aliases: Aliases) -> Positives:
    """Return positives with aliases of their contents; the same ones without any, or where they take none."""
    return positives.with_aliases(aliases) if len(aliases) and isinstance(positives, TakesAliases) else positives


@runtime_checkable
class ManyTasks(Protocol):
    """Positives that can be judged in several ways: find the other view, tell the class."""

    def tasks(self, split: str) -> Sequence[Task]:
        """Return all tasks of a split, of different types, the usual one first."""
        ...


def tasks_of(positives: Positives, split: str) -> Sequence[Task]:
    """Return all tasks of a split, the usual one first."""
    return positives.tasks(split) if isinstance(positives, ManyTasks) else [positives.task(split)]


@dataclass(frozen=True)
class Labelled:
    """The cells of all examples, and the class of each as a number (n,), -1 where it has none; None without classes."""

    cells: Column
    classes: Ids | None


@runtime_checkable
class HasLabels(Protocol):
    """Positives that know which column holds classes, to judge by."""

    def labelled(self) -> Labelled:
        """Return the cells and the classes of the examples, in order."""
        ...


def labels_of(positives: Any) -> Labelled | None:
    """Return the cells and classes of the examples; None, as of most positives, where they are pairs of columns."""
    return positives.labelled() if isinstance(positives, HasLabels) else None


@runtime_checkable
class PreparedLate(Protocol):
    """Positives that something must be computed for before their batches: a teacher scores them, texts are embedded."""

    def prepare_batches(self) -> None:
        """Prepare all batches, with the encoder as it is; a second call has no effect."""
        ...


@runtime_checkable
class HasSample(PreparedLate, Protocol):
    """Positives that take so long to prepare that a dry run prepares a few rows in their place."""

    def sample(self, examples: int) -> tuple[Positives, float]:
        """Return positives like these, prepared, of few rows and about so many examples, for a dry run.

        And the seconds that `prepare_batches` is going to take, estimated from those that the sample took.
        """
        ...


def prepare_batches(*positives: Positives) -> None:
    """Let positives prepare their batches; most have nothing to prepare."""
    for each in positives:
        if isinstance(each, PreparedLate):
            each.prepare_batches()


@runtime_checkable
class Complement(Protocol):
    """An augmentation that can also give the rest: the two are then a positive pair, and it makes both views."""

    def rest(self, cells: Any, draws: Any) -> Any:
        """Return what the call with the same draws leaves out of each cell."""
        ...


def rest_of(augmentation: Any) -> Augmentation | None:
    """Return the augmentation that gives the rest of what this one gives; most have none."""
    rest: Augmentation | None = augmentation.rest if isinstance(augmentation, Complement) else None
    return rest


@runtime_checkable
class TakesSize(Protocol):
    """An augmentation of pictures whose results have the size of their reader's, where it has no size of its own."""

    def resized_to(self, size: int | None, cells: Any, draws: Any) -> Any:
        """Return the augmented cells, as a call does, for a reader of pictures of `size` pixels (None: unknown)."""
        ...


@dataclass(frozen=True)
class _ForReader:
    """An augmentation whose results have the size that a side reads whenever it is called, or a share of it."""

    augmentation: TakesSize
    reader: Any
    share: float

    def __call__(self, cells: Any, draws: Any) -> Any:
        size = picture_size(self.reader)
        if size is not None and self.share != 1:
            size = min(size, max(SIZE_STEP, round(size * self.share / SIZE_STEP) * SIZE_STEP))
        return self.augmentation.resized_to(size, cells, draws)


SIZE_STEP = 16  # pixels: what a share of a side is a multiple of, as networks halve sides


def for_reader(streamed: StreamedAugmentation, reader: Any, share: float = 1.0) -> StreamedAugmentation:
    """Return an augmentation whose results have the size that a side reads, or a share of it, in steps of 16 pixels.

    Most augmentations take no size, and stay as they are.
    """
    if not isinstance(streamed.augmentation, TakesSize):
        return streamed
    return replace(streamed, augmentation=_ForReader(streamed.augmentation, reader, share))


# --- encoders ---


@runtime_checkable
class Reads(Protocol):
    """An encoder, a side of one, or an augmentation, that says which kinds of cells it reads, as `column.kind_of` does.

    "array" stands for arrays of every kind.
    """

    reads: tuple[str, ...]


ARRAYS = ("array", "image", "recording", "vector", "ids")


def reads(side: Any) -> tuple[str, ...]:
    """Return the kinds of cells that an encoder or a side reads; () where it does not say."""
    kinds = tuple(side.reads) if isinstance(side, Reads) else ()
    return tuple(dict.fromkeys((*kinds, *ARRAYS))) if "array" in kinds else kinds


@runtime_checkable
class HasPrompts(Protocol):
    """An encoder with a text in front of every cell, by role ("query", "key")."""

    prompts: dict[str, str]


def prompts_of(encoder: Any) -> dict[str, str]:
    """Return an encoder's prompts by role; most have none."""
    return dict(encoder.prompts) if isinstance(encoder, HasPrompts) else {}


@dataclass(frozen=True)
class NamedPrompts:
    """The prompts of a sentence-transformers folder by name, and the name of the one that holds without a role.

    What the names of the two roles ("query", "document") say here is passed over: a model has its own prompts by role.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    default: str | None = None


@runtime_checkable
class HasNamedPrompts(Protocol):
    """An encoder that began from a folder with prompts of any name, one of which may hold without a role."""

    @property
    def named_prompts(self) -> NamedPrompts:
        """The prompts by name, and the name of that one."""
        ...


def named_prompts_of(encoder: Any) -> NamedPrompts:
    """Return the prompts by name of the folder that an encoder began from, of two towers that of the keys'."""
    if isinstance(encoder, HasNamedPrompts):
        return encoder.named_prompts
    return named_prompts_of(encoder.towers["key"]) if isinstance(encoder, HasTowers) else NamedPrompts()


@runtime_checkable
class TwoSided(Protocol):
    """An encoder whose two sides read and prepare for themselves: question and picture, history and item."""

    def side(self, role: str) -> Side:
        """Return what reads the cells of one role, "query" or "key"."""
        ...


def side(encoder: Encoder, role: str | None) -> Side:
    """Return what reads the cells of a role (None: of keys): the encoder itself, unless its two sides differ."""
    return encoder.side(role or "key") if isinstance(encoder, TwoSided) else encoder


@runtime_checkable
class HasTowers(Protocol):
    """An encoder of two whole encoders, by role."""

    towers: Mapping[str, Encoder]


def towers_of(encoder: Any) -> Mapping[str, Encoder]:
    """Return the encoders that an encoder has for the two roles; most are one for both, and have none."""
    return encoder.towers if isinstance(encoder, HasTowers) else {}


def tower_of(encoder: Encoder, role: str | None) -> Encoder:
    """Return the encoder of a role (None: of keys): one of two towers, or the encoder itself, which is that of both."""
    return towers_of(encoder).get(role or "key", encoder)


@runtime_checkable
class StartsFromWeights(Protocol):
    """An encoder that may begin from trained weights, and says whose."""

    @property
    def starts_from(self) -> str | None:
        """The model that it began from, a name or a folder; None where its weights were random."""
        ...


def start_of(encoder: Any) -> str | None:
    """Return the model whose weights an encoder began from; None, as of most, where they were random.

    Two towers began from weights where both did: "image-model and minilm".
    """
    if isinstance(encoder, StartsFromWeights):
        return encoder.starts_from
    names = [start_of(tower) for tower in towers_of(encoder).values()]
    return " and ".join(dict.fromkeys(name for name in names if name)) if names and all(names) else None


@runtime_checkable
class HasUntrained(Protocol):
    """An encoder that can be made as it was before training, all else the same: what training has to beat.

    What training moves has random weights, or those that it begins with; a part that stays as it is keeps its own.
    """

    def untrained(self) -> Encoder | None:
        """Return it; None where it cannot be made without its weights."""
        ...


def untrained_of(encoder: Any) -> Encoder | None:
    """Return an encoder's architecture with random weights; None, as of most, where it cannot be made."""
    return encoder.untrained() if isinstance(encoder, HasUntrained) else None


@runtime_checkable
class Tokenises(Protocol):
    """An encoder that cuts texts into tokens."""

    def tokenise(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int32], Ids]:
        """Return token ids, one text after the other (t,), and the texts' lengths (n,)."""
        ...


@runtime_checkable
class CountsTokens(Protocol):
    """A scorer of pairs that says how many tokens a text has."""

    def lengths(self, texts: Sequence[str]) -> Ids:
        """Return the texts' tokens (n,), with the special ones that each text has alone."""
        ...


@runtime_checkable
class KnowsLanguages(Protocol):
    """An encoder of texts that knows the languages that it was made for, and how its tokenizer cuts texts.

    made_for: languages as `text.language` names them, or "multilingual"; () where its folder does not say.
    """

    made_for: tuple[str, ...]

    def unread_and_fertility(self, texts: Sequence[str]) -> tuple[float, float]:
        """Return the share of the texts' letters that it cannot read, alone or at all, and its tokens of a word."""
        ...


@runtime_checkable
class MatchesWords(Protocol):
    """A baseline that says whether it matches words, and so finds little across languages."""

    matches_words: bool


def matches_words(baseline: Any) -> bool:
    """Return whether a baseline matches words; most do not."""
    return isinstance(baseline, MatchesWords) and baseline.matches_words


@runtime_checkable
class HasMaxLength(Protocol):
    """An encoder that reads the beginning of a longer text alone."""

    max_length: int | None


def max_length_of(encoder: Any) -> int | None:
    """Return how many tokens of a text an encoder reads; None where it reads all."""
    return encoder.max_length if isinstance(encoder, HasMaxLength) else None


@runtime_checkable
class Truncates(HasMaxLength, Protocol):
    """An encoder that says which texts are longer than it reads; one that ends at the maximum is not."""

    def truncated(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Return for each text whether it is truncated, (n,)."""
        ...


@runtime_checkable
class ReadsPictures(Protocol):
    """An encoder that reads pictures of one size, and resizes others."""

    def picture_size(self) -> int | None:
        """Return the side of the squares that it reads, in pixels; None before it has seen the data (`prepare`)."""
        ...


def picture_size(side: Any) -> int | None:
    """Return the side of the pictures that a side reads; None where it reads none, or does not know it yet."""
    return side.picture_size() if isinstance(side, ReadsPictures) else None


@runtime_checkable
class ShowsPictures(Protocol):
    """Inputs that can be looked at: pictures in the very pixels that the encoder gets."""

    def pictures(self) -> list[npt.NDArray[np.uint8]]:
        """Return the pictures, (h, w, 3) each, in order."""
        ...


@runtime_checkable
class HasPictureForm(Protocol):
    """An encoder that has a form over pixels, which other runtimes read."""

    def picture_encoder(self) -> tuple[nn.Module, int]:
        """Return the module (n, size, size, 3) uint8 -> (n, dim), and the size."""
        ...


@runtime_checkable
class HasPaddedForm(Protocol):
    """An encoder that has a form over padded tokens, which other runtimes read."""

    def padded_encoder(self) -> tuple[nn.Module, str, int]:
        """Return the module ((n, l) ids, (n, l) mask) -> (n, dim), its tokenizer.json, and its maximum length."""
        ...


@runtime_checkable
class OwnRates(Protocol):
    """A module with factors on the learning rate of some of its parameters."""

    def rates(self) -> dict[str, float]:
        """Return the factors by parameter name; 1 for those that are not named."""
        ...


def rates_of(module: Any) -> dict[str, float]:
    """Return the factors on a module's learning rates by parameter name."""
    return module.rates() if isinstance(module, OwnRates) else {}


@runtime_checkable
class GivesStates(Protocol):
    """An encoder that also gives what lies under its pooled vectors."""

    def states(self, inputs: Any) -> States:
        """Return the states of tokens, patches or frames."""
        ...


@runtime_checkable
class PoolsStates(GivesStates, Protocol):
    """An encoder that makes its vectors of states that it has given, without a second forward pass."""

    dim: int

    def pooled(self, states: States) -> Tensor:
        """Return the raw vectors (n, dim) of the states of n rows."""
        ...


LanguageKind = Literal["masked", "causal"]  # tokens are predicted from both sides, or from those before


@dataclass(frozen=True)
class KnownTokens:
    """What is known of the tokens of an encoder, each a row of its output layer; v of them.

    special (v,): stands for no text. mask: the id that stands for a hidden token, and mask_text what it is called in a
    text; None where there is none. continues (v,): it goes on with the word of the token before it; None where the
    tokens do not say. causal: the state of a token depends on those before it alone. end: the id that ends a text,
    where a language model writes; None where there is none. closing: what the tokenizer calls the special token that it
    puts behind every text, other than `end`; None where it puts none.
    """

    special: npt.NDArray[np.bool_]
    mask: int | None = None
    mask_text: str | None = None
    continues: npt.NDArray[np.bool_] | None = None
    causal: bool = False
    end: int | None = None
    closing: str | None = None

    @property
    def kind(self) -> LanguageKind:
        """What such an encoder learns to predict: tokens that are hidden, or the next one."""
        return "causal" if self.causal else "masked"


@runtime_checkable
class PredictsTokens(GivesStates, Protocol):
    """An encoder from whose states tokens can be predicted, as language models do: those of transformers."""

    def states_at(self, inputs: Any, places: Tensor) -> Tensor:
        """Return the states (h, width) at some places (h,) among the tokens of all texts, without the others'."""
        ...

    def known_tokens(self) -> KnownTokens:
        """Return what is known of each token."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return token ids as the text that they stand for, without special tokens."""
        ...

    def language_head(self, kind: LanguageKind) -> Any:
        """Return the layers above the states, an `nn.Module` (n, width) -> (n, d) with `weight` (v, d) and `bias`.

        `bias` is (v,) or None. It is always the same module, which an objective takes for its own; the encoder is then
        saved with it. Errors: `InputError` where there is no such language model.
        """
        ...


@runtime_checkable
class HasHead(Protocol):
    """An objective with a head of its own: of language models the encoder's language head, once it is prepared."""

    head: Any


class LastBlocks(Protocol):
    """The last blocks of an encoder, as a network over what the blocks below give of its inputs.

    parameters: those of the last blocks, which are the encoder's own.
    """

    parameters: Sequence[nn.Parameter]

    def below(self, inputs: Any) -> Inputs:
        """Return what the blocks below give, without gradient: inputs of n rows again, with `ids` (t, ...)."""
        ...

    def __call__(self, states: Any) -> Tensor:
        """Return the encoder's raw vectors (n, dim) of what `below` gave."""
        ...


@runtime_checkable
class Divides(Protocol):
    """An encoder whose last blocks can be trained over what the blocks below them give, computed once and stored."""

    def last_blocks(self, count: int) -> LastBlocks:
        """Return the last blocks. Errors: `InputError` for a count out of range, and what cannot be divided."""
        ...


@runtime_checkable
class ChangesInTraining(Protocol):
    """A store that gives other inputs of the same rows once training has come so far."""

    def at(self, share: float) -> Store:
        """Return the store to read after this share of the steps, 0 to 1."""
        ...


def store_at(store: Store, share: float) -> Store:
    """Return the store to read after a share of the steps: the same one, as most never change."""
    return store.at(share) if isinstance(store, ChangesInTraining) else store


@runtime_checkable
class ReadsOtherwiseLater(Protocol):
    """A side that makes other inputs of the same cells once training has come so far, as its store gives them."""

    def inputs_at(self, cells: Sequence[Any], share: float) -> Inputs:
        """Return cells as they are read after this share of the steps, 0 to 1."""
        ...


def inputs_at(side: Side, cells: Sequence[Any], share: float) -> Inputs:
    """Return cells as a side reads them after a share of the steps: the same for most."""
    return side.inputs_at(cells, share) if isinstance(side, ReadsOtherwiseLater) else side.inputs(cells)


@runtime_checkable
class Padded(Protocol):
    """Inputs that say whether their rows are padded to the longest, which decides what a micro-batch costs."""

    padded: bool


def is_padded(inputs: Any) -> bool:
    """Return whether rows are padded to the longest; those that do not say are."""
    return inputs.padded if isinstance(inputs, Padded) else True


@runtime_checkable
class BatchStatistics(Protocol):
    """An encoder or objective whose result for a row depends on the other rows of the batch while it trains.

    Layers of torch's batch norm are found without this. Statistics that are not theirs are refused with micro-batches
    and with several ranks.
    """

    batch_statistics: bool


def has_batch_statistics(part: Any) -> bool:
    """Return whether a part says that it has batch statistics of its own."""
    return isinstance(part, BatchStatistics) and part.batch_statistics


# --- losses, objectives, and whatever is trained ---


@runtime_checkable
class RankParts(Protocol):
    """A loss of which each rank can compute its summand; without it every rank computes the whole loss."""

    def part(self, queries: Tensor, keys: Tensor, pairs: Pairs, rank: int, world_size: int) -> Tensor:
        """Return one rank's summand, a scalar: those of all ranks, each given the whole batch, add up to the loss."""
        ...


@runtime_checkable
class BeforeStep(Protocol):
    """A loss, or a module in it, with settings that change during a run (`compute.scheduled.Scheduled`)."""

    def before_step(self, step: int, steps: int) -> Mapping[str, float]:
        """Set what is scheduled for step `step` (from 0) of `steps`; return the values by name, for the log."""
        ...


@runtime_checkable
class AfterStep(Protocol):
    """A loss, or a module in it, with a state that moves once a step: a centre, an average, a clamped parameter."""

    def after_step(self, queries: Tensor, keys: Tensor) -> None:
        """Move the state, given the whole batch's queries (n, d) and keys (m, d), without gradient."""
        ...


@runtime_checkable
class Prepared(Protocol):
    """An objective that makes some of its parts after the encoder has read the data, such as a vocabulary's layer."""

    def prepare(self, encoder: Any) -> None:
        """Make them; a second call has no effect."""
        ...


def prepare(objective: Any, encoder: Any) -> None:
    """Let an objective make what depends on data that the encoder has read; most make nothing."""
    if isinstance(objective, Prepared):
        objective.prepare(encoder)


LEARNT = "learnt"  # in a recipe, a setting of a loss that is to be what the encoder's folder brought
Learnt = Literal["learnt"]


@runtime_checkable
class HasLearnt(Protocol):
    """A loss with numbers between cosines and logits, or an encoder whose saved form has them: temperature, bias.

    Both call them by the names of losses' settings. An encoder's may be set, and are those of the folder before.
    """

    learnt: Mapping[str, float]


def learnt_of(part: Any) -> dict[str, float]:
    """Return the numbers of a loss as they are, or those that an encoder is saved with; most have none."""
    return dict(part.learnt) if isinstance(part, HasLearnt) else {}


def keep_learnt(encoder: Any, loss: Any) -> None:
    """Let an encoder be saved with the numbers that it was trained with, as far as its form has a place for them."""
    if isinstance(encoder, HasLearnt):
        encoder.learnt = {name: learnt_of(loss).get(name, value) for name, value in encoder.learnt.items()}


# --- metrics ---


@runtime_checkable
class UsualForSome(Protocol):
    """A metric that is usual for some of the tasks that it takes, such as those between pictures and texts."""

    def usual_for(self, task: Task) -> bool:
        """Return whether it is measured on a task where no metrics are named."""
        ...


def is_usual_for(metric: Any, task: Task) -> bool:
    """Return whether a usual metric is measured on a task that it takes, where no metrics are named; most are."""
    return metric.usual_for(task) if isinstance(metric, UsualForSome) else True


@runtime_checkable
class LooksAt(Protocol):
    """A metric that looks at the vectors of some columns of a task alone, by their names in `tasks.columns_of`."""

    looks_at: ClassVar[tuple[str, ...]]


def looked_at_by(metric: Any, task: Task) -> list[str]:
    """Return the names of the columns of a task whose vectors a metric looks at: of most metrics all.

    Errors: `InputError` for names of which the task has none.
    """
    names = list(columns_of(task))
    found = [name for name in names if name in metric.looks_at] if isinstance(metric, LooksAt) else names
    if not found:
        raise InputError(
            f"metric {type(metric).__name__}: looks_at names no column of a task of {kind_of_task(task)}, which has "
            f"{' and '.join(names)}; name those whose vectors it looks at"
        )
    return found


@runtime_checkable
class EmbedsColumns(Protocol):
    """A baseline that makes vectors of a task's columns, and is asked for those that some metric looks at."""

    def of_columns(self, task: Any, seed: int, columns: Sequence[str]) -> Predictions:
        """Return what it makes of a task, with the vectors of these columns alone."""
        ...


@runtime_checkable
class ServesSome(Protocol):
    """A baseline that serves some tasks of the types that it takes, and not others."""

    def serves(self, task: Any) -> bool:
        """Return whether it serves a task."""
        ...


# --- models ---


@runtime_checkable
class HasEncoder(Protocol):
    """A model that is an encoder with its prompts, and is asked what its sides read."""

    encoder: Encoder


@runtime_checkable
class Fingerprinted(Protocol):
    """A model that knows the identity of its embedding space."""

    fingerprint: str


def fingerprint_of(model: Any) -> str | None:
    """Return the identity of a model's embedding space; None for a model that does not know it."""
    return model.fingerprint if isinstance(model, Fingerprinted) else None


@runtime_checkable
class HasFolder(Protocol):
    """A model that knows the folder that it was loaded from, which is its name in comparisons."""

    folder: Path | None


def folder_of(model: Any) -> Path | None:
    """Return the folder that a model was loaded from; None for a model that was not, or does not know."""
    return model.folder if isinstance(model, HasFolder) else None


@runtime_checkable
class InBf16(Protocol):
    """A model that says whether it computes in bfloat16, which moves its vectors in the third digit."""

    bf16: bool
