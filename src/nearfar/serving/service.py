"""What one server serves: a model, perhaps an index and a reranker, and the threads that run them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from nearfar.errors import InputError, RunError
from nearfar.index.folder import IndexFolder
from nearfar.index.index import Index
from nearfar.index.reranking import PairScorer
from nearfar.serving.batching import ModelThreads
from nearfar.serving.counts import RequestCounts
from nearfar.serving.served import QueuedModel, ServedModel
from nearfar.serving.traffic import Gate
from nearfar.storage.places import expanded

MOST_TEXTS = 2048  # of a request, as OpenAI has it
PROBE_TOLERANCE = 1e-2  # of a coordinate: machines round otherwise, another model differs by far more


@dataclass(frozen=True)
class ServerLimits:
    """What a server takes. batch_tokens: computed at a time. queue: texts that wait. body: bytes of a request."""

    batch_tokens: int = 4096
    queue: int = 4096
    body: int = 32 << 20


@dataclass(frozen=True)
class Reranker:
    """A cross-encoder under the name by which it is asked for."""

    name: str
    score: PairScorer


@dataclass
class Service:
    """The parts of a server; `close` lets go of them. hidden: paths that no answer may hold."""

    threads: ModelThreads
    limits: ServerLimits = field(default_factory=ServerLimits)
    model: ServedModel | None = None
    index: Index | None = None
    reranker: Reranker | None = None
    read_only: bool = False
    counts: RequestCounts = field(default_factory=RequestCounts)
    gate: Gate = field(default_factory=Gate)
    hidden: Sequence[str] = ()

    @classmethod
    def of(
        cls,
        model: Any = None,
        index: Index | None = None,
        *,
        name: str = "model",
        limits: ServerLimits | None = None,
        reranker: Reranker | None = None,
        read_only: bool = False,
        hidden: Sequence[str] = (),
        count: int = 1,
    ) -> Self:
        """Return a service of a model that is read already.

        index: opened with nothing, or a model of its own. count: of threads that run the model; more than one share
        torch's.
        """
        limits, counts = limits or ServerLimits(), RequestCounts()
        encode = _no_model if model is None else model.encoded
        dim = 1 if model is None else model.dim
        threads = ModelThreads(
            encode,
            dim,
            batch_tokens=limits.batch_tokens,
            most_waiting=limits.queue,
            count=count,
            **({"share": _sharing()} if count > 1 else {}),
            observe=counts.batch,
        )
        counts.queue(lambda: threads.waiting)
        served = None if model is None else ServedModel(name, model, threads)
        return cls(threads, limits, served, index, reranker, read_only, counts, hidden=hidden)

    @classmethod
    def open(
        cls,
        path: str,
        *,
        model: str | None = None,
        name: str | None = None,
        reranker: Path | None = None,
        limits: ServerLimits | None = None,
        read_only: bool = False,
        bf16: bool = False,
    ) -> Self:
        """Read an index with its model, or a model. model: of an index, where its model is now.

        Errors: those of `Index.open` and `Model.load`; `RunError` where the model gives other vectors than those that
        were kept with it.
        """
        from nearfar.model import Model  # it imports torch, which takes seconds

        folder = expanded(path).absolute()
        is_index = IndexFolder(folder).is_there()
        place = (model or IndexFolder(folder).contents().searched.model) if is_index else path
        loaded = None if place is None else Model.load(place, bf16=bf16)
        if loaded is not None:
            refuse_other_vectors(loaded)
        hidden = [str(each) for each in (folder, place, reranker) if each is not None and "/" in str(each)]
        settings: dict[str, Any] = {"limits": limits, "read_only": read_only, "hidden": hidden}
        settings["count"] = 1 if loaded is None else _threads()
        found = cls.of(loaded, name=name or name_of(Path(place or path)), reranker=_reranker(reranker), **settings)
        if is_index:
            try:
                found.index = Index.open(folder, None if found.model is None else QueuedModel(found.model))
            except BaseException:
                found.close()
                raise
        return found

    @property
    def rerank_names(self) -> list[str]:
        """The names by which reranking is asked for, the usual one first."""
        own = [] if self.reranker is None else [self.reranker.name]
        return own + ([] if self.model is None else [f"{self.model.name}:cosine"])

    def close(self, patience: float = 10.0) -> None:
        """Do what waits, and let go of threads and index."""
        self.threads.close(patience)
        if self.model is not None:
            self.model.close()
        if self.index is not None:
            self.index.close()


def name_of(folder: Path) -> str:
    """Return what a model is called over HTTP: its folder; of a run's, RUN/model, the run."""
    resolved = folder.resolve()
    return (resolved.parent.name if resolved.name == "model" else resolved.name) or "model"


def refuse_other_vectors(model: Any) -> None:
    """Refuse a model that does not give the vectors that were kept with it, as another library's release may not.

    Errors: `RunError`.
    """
    probes = model.probes
    if not probes:
        return
    found = model.embed([text for text, _ in probes], role="query")
    for (text, kept), vector in zip(probes, found):
        if not np.allclose(vector[: len(kept)], kept, atol=PROBE_TOLERANCE if not model.bf16 else 5 * PROBE_TOLERANCE):
            raise RunError(
                f"{model.folder}: gives another vector of {text!r:.40} than the one that was kept with it; the "
                "libraries are not those of its training, or its files were changed: compare the versions"
            )


def _threads() -> int:
    """Return the number of threads that run the model: two, each on half of the cores, where torch uses several."""
    import torch

    return min(2, torch.get_num_threads())


def _sharing() -> Callable[[int], None]:
    """Return what lets the thread that calls it compute on its share of torch's threads."""
    import torch

    most = torch.get_num_threads()
    return lambda shared_by: torch.set_num_threads(max(1, most // shared_by))


def _reranker(folder: Path | None) -> Reranker | None:
    if folder is None:
        return None
    from nearfar.encoders.pretrained.cross_encoder import CrossEncoder  # it imports torch

    place = expanded(str(folder))
    return Reranker(name_of(place), CrossEncoder(place))


def _no_model(_: Any) -> Any:
    raise InputError("this server has no model; start it with one: --model")
