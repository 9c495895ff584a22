"""A small encoder of rows of floats, and steps on it without data: for tests of exact numbers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from nearfar import registry
from nearfar.column import Column, Ids, take
from nearfar.compute.ranks import Ranks
from nearfar.contracts import ForeignForm
from nearfar.errors import InputError
from nearfar.pairs import Known, Pairs
from nearfar.storage.weights import write_weights
from nearfar.training.batches import PreparedBatch, StackedInputs, StepOutput
from nearfar.training.settings import Settings
from nearfar.training.state import TrainState
from nearfar.training.step import GradientStep
from nearfar.training.train_module import Trained

FEATURES, DIM = 6, 8
VIEWS: Any = SimpleNamespace(query_views=["query"], key_views=["key"])
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Floats:
    """Rows of floats (n, f) as inputs; a row costs its number of entries that are not zero."""

    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: slice) -> Self:
        return type(self)(self.rows[rows])

    def join(self, others: Sequence[Self]) -> Self:
        return type(self)(torch.cat([self.rows, *(other.rows for other in others)]))

    def costs(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.asarray((self.rows != 0).sum(1).numpy(), np.int64)

    def to(self, device: Any) -> Self:
        return type(self)(self.rows.to(device))


class Perceptron(nn.Module):
    """Two layers, with dropout and batch normalisation where they are asked for."""

    reads: tuple[str, ...] = ("array",)

    def __init__(self, dropout: float = 0.0, norm: bool = False, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.dim, self.dtype = DIM, dtype
        between = nn.BatchNorm1d(16) if norm else nn.Tanh()
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Linear(FEATURES, 16), between, nn.Dropout(dropout), nn.Linear(16, DIM))
        self.to(dtype)

    def forward(self, inputs: Floats) -> Tensor:
        vectors: Tensor = self.layers(inputs.rows.to(self.dtype))
        return vectors

    def prepare(self, columns: Sequence[Column]) -> None: ...

    def inputs(self, cells: Sequence[Any]) -> Floats:
        return Floats(torch.from_numpy(np.stack(cells)))

    def store(self, column: Column) -> Any:
        outer = self

        class Store:
            def __getitem__(self, rows: Ids) -> Floats:
                return outer.inputs(take(column, rows)) if len(rows) else Floats(torch.zeros(0, FEATURES))

        return Store()

    def settings(self) -> dict[str, Any]:
        return {}

    def identity(self) -> Iterator[tuple[str, Any]]:
        yield from ((name, weight.detach().numpy()) for name, weight in self.state_dict().items())

    def save(self, folder: Path) -> list[ForeignForm]:
        write_weights(folder / "model.safetensors", self.state_dict())
        return []

    @classmethod
    def load(cls, folder: Path, settings: dict[str, Any]) -> Self:
        raise NotImplementedError("no test reads it back")


def prepared(rows: dict[str, Tensor], pairs: Pairs, ranks: Ranks | None = None) -> PreparedBatch:
    """Return a prepared batch of the rows of each view, of which a rank gets its share."""
    inputs = {view: Floats(cells[(ranks or Ranks()).span(len(cells))]) for view, cells in rows.items()}
    first, *others = inputs.values()
    stacked = StackedInputs(first.join(others), {view: len(part) for view, part in inputs.items()})
    sizes = {view: len(cells) for view, cells in rows.items()}
    return PreparedBatch(0, np.arange(pairs.shape[0]), stacked, None, sizes, 0, pairs)


def batch(n: int = 13, m: int | None = None) -> dict[str, Tensor]:
    """Return n queries and m keys (n of them by default), ragged: the later features of some rows are zero."""
    draw = torch.Generator().manual_seed(1)
    rows = {view: torch.randn(size, FEATURES, generator=draw) for view, size in (("query", n), ("key", m or n))}
    for cells in rows.values():
        cells[torch.arange(FEATURES) > torch.arange(len(cells))[:, None] % FEATURES] = 0
    return rows


def learnt(encoder: Any, loss: Any, batch: PreparedBatch, ranks: Ranks | None = None, **more: Any) -> dict[str, Tensor]:
    """Return a step's loss and the gradient of every parameter."""
    settings = Settings(optimizer="sgd", **more)
    trained = Trained(encoder, loss)
    train_state = TrainState.of(trained.module(settings).train(), settings)
    output: StepOutput = GradientStep(train_state, trained, VIEWS, settings, CPU, "fp32", ranks)(batch)
    gradients = {name: p.grad for name, p in train_state.parameters.items() if p.grad is not None}
    assert output.queries is not None
    return {"loss": output.loss, "queries": output.queries, **gradients}


def comparing() -> list[str]:
    """Return the names of the losses that compare vectors."""
    arguments = {
        name: list(inspect.signature(registry.find("losses", name).forward).parameters)
        for name in registry.names("losses")
    }
    return [name for name, found in arguments.items() if found[1:] == ["queries", "keys", "pairs"]]


def loss(name: str) -> Any:
    """Build a loss, with a learnt temperature if it can learn one."""
    known = registry.recipe_settings("losses", registry.find("losses", name))
    return registry.build("losses", {"name": name, **({"learnable": True} if "learnable" in known else {})}, dim=DIM)


def pairs_for(part: Any, n: int = 13) -> Pairs:
    """Return pairs that a loss takes: aligned ones, or graded."""
    draw = torch.Generator().manual_seed(2)
    x, y = (normalize(torch.randn(n, DIM, generator=draw), dim=1) for _ in range(2))
    plain, i = Pairs.aligned(n), torch.arange(n)
    ids = (plain.query_group, plain.query_item, plain.key_group, plain.key_item)
    graded = Known(i, i, torch.rand(n, generator=draw))
    everything = Known(i.repeat_interleave(n), i.repeat(n), torch.rand(n * n, generator=draw))
    refused = []
    for pairs in (plain, Pairs(*ids, known=graded), Pairs(*ids, known=everything)):
        try:
            part(x, y, pairs)
        except InputError as error:
            refused.append(str(error))
        else:
            return pairs
    raise AssertionError(f"no pairs suit it: {refused}")
