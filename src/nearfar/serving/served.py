"""A model that is served: its names and roles over HTTP, and its vectors of texts by way of the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.abilities import Tokenises, Truncates, TwoSided, tower_of
from nearfar.contracts import Role
from nearfar.errors import InputError
from nearfar.index.embedding import first_dims
from nearfar.serving.batching import EmbeddingJob, ModelThreads, Vectors
from nearfar.serving.errors import FAILED, ApiError
from nearfar.sides import kinds_of_sides, role_reading
from nearfar.storage.foreign import PROMPT_NAMES
from nearfar.text.first_tokens import Lengths
from nearfar.text.prompts import with_prompt
from nearfar.vectors.quantize import shorten

Ids = npt.NDArray[np.int64]
ROLES: dict[str, Role] = {"query": "query", "document": "key", "search_query": "query", "search_document": "key"}
SUFFIXES: dict[str, Role] = {"query": "query", "document": "key"}  # of a model's name, after a colon
INLINE = 20_000  # characters of a request that are tokenised at once; more are in a thread, so that others go on
REPEATED = "near near near near"
TOO_LONG = "context_length_exceeded"


@dataclass(frozen=True)
class TokenisedTexts:
    """n texts as inputs. tokens (n,): of each, with the prompt's and special ones. truncated (n,): it had more."""

    inputs: Any
    tokens: Ids
    truncated: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Embedded:
    """Unit vectors (n, d) of n texts, their tokens in all, and the rows that were truncated."""

    vectors: Vectors
    tokens: int
    truncated: list[int]


@dataclass(frozen=True)
class TextReader:
    """What reads the texts of a role. role: whose side it is, of two. longest: the tokens it reads; None: not said."""

    role: Role | None
    tower: Any
    prompt: str
    longest: int | None
    tokenises: bool  # its inputs are made by tokenising alone


class ServedModel:
    """A model behind the queue.

    Args:
        name: over HTTP; NAME:query and NAME:document are the same model in that role.
        model: a `Model`, or what has its `inputs`, `encoded`, `encoder`, `dim` and `fingerprint`.
        threads: that run it.
    """

    def __init__(self, name: str, model: Any, threads: ModelThreads) -> None:
        self.name, self.model, self.threads = name, model, threads
        self.dims = sorted({*(first_dims(model) or []), model.dim})  # lengths that its training was made for
        self._readers: dict[Role | None, TextReader] = {}  # looking them up takes a tenth of a request's time
        self._by_cost: dict[Role | None, bool] = {}  # whether inputs cost a token each, by role
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="nearfar-tokenise")

    @property
    def names(self) -> list[str]:
        """The names under which it is asked for."""
        return [self.name, *(f"{self.name}:{suffix}" for suffix in SUFFIXES)]

    @property
    def reads_texts(self) -> bool:
        """Whether one of its sides reads texts."""
        known = kinds_of_sides(self.model.encoder)
        return not known or "text" in known

    @property
    def max_length(self) -> int | None:
        """The tokens of a text that it reads; None where it does not say."""
        return self._reader(None).longest

    def role(self, name: str, input_type: str | None = None) -> Role | None:
        """Return the role that a name and an input type say. Errors: `ApiError` for another model, or two roles."""
        if name not in self.names:
            known = ", ".join(self.names)
            raise ApiError(404, f"no model {name!r:.80}; there are {known}", param="model", code="model_not_found")
        of_name = SUFFIXES.get(name.removeprefix(self.name).removeprefix(":"))
        of_type = None if input_type is None else ROLES[input_type]
        if of_name is not None and of_type is not None and of_name != of_type:
            raise ApiError(400, f"model {name} and input_type {input_type} say different roles", param="input_type")
        return of_name or of_type

    def role_name(self, role: Role | None) -> str:
        """Return what a role is called over HTTP; without one: whose prompt or side holds, or none."""
        return self._usual_role_name if role is None else PROMPT_NAMES[role]

    @cached_property
    def _usual_role_name(self) -> str:
        default = self.model.named_prompts.default
        if default is None and isinstance(self.model.encoder, TwoSided):
            default = PROMPT_NAMES[self._reader(None).role or "key"]
        return default or "none"

    def refuse_dim(self, dim: int | None) -> None:
        """Refuse a length of vectors for which the model was not trained. Errors: `ApiError`."""
        if dim is not None and dim not in self.dims:
            fix = f"take one of {', '.join(map(str, self.dims))}" if len(self.dims) > 1 else f"it has {self.model.dim}"
            what = f"dimensions: this model was not trained to be cut to {dim} (no matryoshka loss of that length)"
            raise ApiError(400, f"{what}; {fix}", param="dimensions")

    async def embed(
        self, texts: Sequence[str], role: Role | None = None, *, truncate: bool = False, dim: int | None = None
    ) -> Embedded:
        """Return the vectors of texts. dim: their first coordinates, normalised again, where it was trained for that.

        Errors: `ApiError` for a text that is too long, unless it may be truncated, or has no vector; `QueueFull`,
        `Draining`.
        """
        self.refuse_dim(dim)
        prepare = partial(self.prepared, texts, role, truncate=truncate)
        if sum(map(len, texts)) <= INLINE and self._reader(role).tokenises:
            ready = prepare()
        else:  # many texts, or an encoder that does more than tokenise
            ready = await asyncio.get_running_loop().run_in_executor(self._reading, prepare)
        job = await asyncio.wrap_future(self.threads.submit(ready.inputs, ready.tokens))
        _refuse_failed(job)
        vectors = shorten(job.vectors, dim or self.model.dim, 0)
        return Embedded(vectors, int(ready.tokens.sum()), [int(row) for row in np.flatnonzero(ready.truncated)])

    def prepared(self, texts: Sequence[str], role: Role | None, *, truncate: bool) -> TokenisedTexts:
        """Return texts as inputs, tokenised once. Errors: `ApiError` by row."""
        reader = self._reader(role)
        try:
            inputs = self.model.inputs(texts, reader.role)
        except InputError as error:
            raise ApiError(400, f"input: {error}", param="input") from error
        prompted = with_prompt(reader.prompt, texts)
        tokens = self._tokens(inputs, reader, prompted)
        truncated = np.zeros(len(texts), bool)
        if reader.longest is not None:
            rows = np.flatnonzero(tokens >= reader.longest)  # a text of fewer tokens was not cut
            truncated[rows] = reader.tower.truncated([prompted[row] for row in rows]) if len(rows) else False
            if truncated.any() and not truncate:
                raise too_long(int(np.flatnonzero(truncated)[0]), reader.longest)
        return TokenisedTexts(inputs, tokens, truncated)

    def lengths(self, role: Role | None) -> Lengths | None:
        """Return what counts the tokens of texts of a role, without its prompt; None where it does not say."""
        reader = self._reader(role)
        if not isinstance(reader.tower, Tokenises):
            return None
        return lambda texts: np.asarray(reader.tower.tokenise(texts)[1], np.int64)

    def refuse_long(self, texts: Sequence[str], role: Role | None) -> None:
        """Refuse a text that is longer than the model reads, where it is embedded elsewhere. Errors: `ApiError`."""
        reader = self._reader(role)
        if reader.longest is None:
            return
        # A token has one character of ASCII at least, so a short text needs no look.
        short = reader.longest - 4 - len(reader.prompt)
        rows = [row for row, text in enumerate(texts) if not text.isascii() or len(text) > short]
        cut = reader.tower.truncated([reader.prompt + texts[row] for row in rows]) if rows else np.zeros(0, bool)
        if cut.any():
            raise too_long(rows[int(np.flatnonzero(cut)[0])], reader.longest)

    def close(self) -> None:
        """Let go of the thread that tokenises."""
        self._reading.shutdown(wait=False)

    def _reader(self, role: Role | None) -> TextReader:
        """Return what reads the texts of a role: the side that reads texts, the given one where both do."""
        if role not in self._readers:
            reading = role_reading(self.model.encoder, "text", role)
            tower = tower_of(self.model.encoder, reading)
            longest = tower.max_length if isinstance(tower, Truncates) else None
            prompt, tokenises = self.model.prompt(reading), isinstance(tower, Tokenises)
            self._readers[role] = TextReader(reading, tower, prompt, longest, tokenises)
        return self._readers[role]

    def _tokens(self, inputs: Any, reader: TextReader, prompted: Sequence[str]) -> Ids:
        """Return the tokens of each text, (n,): its cost, but for encoders whose cost is another number."""
        costs: Ids = inputs.costs()
        if not reader.tokenises:
            return costs
        if reader.role not in self._by_cost:  # a static encoder reads an equal token once
            trial = self.model.inputs([REPEATED], reader.role).costs()
            lengths = reader.tower.tokenise([reader.prompt + REPEATED])[1]
            self._by_cost[reader.role] = bool(trial[0] == lengths[0])
        return costs if self._by_cost[reader.role] else np.asarray(reader.tower.tokenise(prompted)[1], np.int64)


class QueuedModel:
    """A served model as an index asks it: `embed` from any thread but the event loop's, by way of the queue."""

    def __init__(self, served: ServedModel) -> None:
        self._served, self.encoder = served, served.model.encoder
        self.dim, self.fingerprint, self.folder = served.model.dim, served.model.fingerprint, served.model.folder
        self.notes = served.model.notes

    def embed(self, cells: Sequence[Any], role: Role | None = None) -> Vectors:
        """Return the unit vectors (n, d) of cells. Errors: those of `Model.embed`; `QueueFull`, `Draining`."""
        inputs = self._served.model.inputs(cells, role)
        job = self._served.threads.submit(inputs, inputs.costs()).result()
        _refuse_failed(job)
        return job.vectors


def too_long(row: int, longest: int) -> ApiError:
    """Return the error for a text that is longer than the model reads."""
    words = f"input.{row}: has more than the {longest} tokens that the model reads"
    return ApiError(400, f"{words}; shorten it, or send truncate: true", param="input", code=TOO_LONG)


def _refuse_failed(job: EmbeddingJob) -> None:
    """Raise for the first row of a job without a vector."""
    if not job.failed:
        return
    row, why = min(job.failed.items())
    if why == "broken":
        raise ApiError(500, FAILED)
    raise ApiError(400, f"input.{row}: has no vector, the model knows no token of it; leave it out", param="input")
