"""Every augmentation, and one from outside: a view depends on its own cell and draws, and on nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar import registry
from nearfar.abilities import rest_of
from nearfar.column import is_empty
from nearfar.compute.draws import Draws
from nearfar.errors import InputError
from nearfar.positives.relations.augmented import stacked
from tests.contracts import samples

Augment = Callable[[Any, Draws], Any]
LONG = [" ".join(f"w{i}x{j}" for j in range(40)) + ". And more. And more." for i in range(8)]


class Roll:
    """An augmentation from outside: arrays turned along their first axis, texts from a random word on."""

    def __call__(self, cells: Any, draws: Draws) -> Any:
        """Return the cells turned."""
        turns = draws.integers(1, 1000)[:, 0].tolist()
        turned = [_turned(cell, turn) for cell, turn in zip(cells, turns, strict=True)]
        return torch.stack(turned) if isinstance(cells, torch.Tensor) else turned


def _turned(cell: Any, turn: int) -> Any:
    if isinstance(cell, torch.Tensor):
        return cell.roll(turn, 0)
    if isinstance(cell, np.ndarray):
        return np.roll(cell, turn, 0)
    words = cell.split()
    return " ".join([*words[turn % len(words) :], *words[: turn % len(words)]])


NAMES = [*registry.names("augmentations"), f"{__name__}:Roll"]


def kinds() -> Iterator[tuple[str, list[Any]]]:
    """Yield cells of each kind by name: long texts, short ones, arrays alike and arrays of different lengths."""
    yield "long texts", LONG
    for column in samples.columns():
        yield column.name, list(column.cells)
        if not isinstance(column.cells[0], str):
            yield f"{column.name} of many sizes", [cell[: 8 + i] for i, cell in enumerate(column.cells)]


def takes(name: str) -> Iterator[tuple[str, Augment, list[Any]]]:
    """Yield what an augmentation takes of the samples, with each of its halves."""
    part = registry.find("augmentations", name, outside=True)
    spec = {"name": name, **samples.settings("augmentations", part)}
    augmentation = registry.build("augmentations", spec, outside=True)
    for kind, cells in kinds():
        try:
            augmentation(stacked(cells), draws(len(cells)))
        except InputError:
            continue  # it says that it does not take these
        yield kind, augmentation, cells
        if (rest := rest_of(augmentation)) is not None:
            yield f"{kind}, the rest", rest, cells


def draws(n: int = 8, seed: int = 0, number: int = 0, stream: int = 0) -> Draws:
    return Draws.of(np.stack([np.full(n, seed), np.full(n, number), np.arange(n)], 1), stream)


def plain(cells: Any) -> list[Any]:
    """Return cells in a form that `==` compares: texts, or bytes with their shape and type."""
    found = [cell if isinstance(cell, str) else np.asarray(cell) for cell in cells]
    return [cell if isinstance(cell, str) else (cell.tobytes(), cell.shape, str(cell.dtype)) for cell in found]


TAKEN = [pytest.param(*taken[1:], id=f"{name}, {taken[0]}") for name in NAMES for taken in takes(name)]


@pytest.mark.parametrize("name", NAMES)
def test_it_takes_some_kind_of_cells(name: str) -> None:
    assert [kind for kind, _, _ in takes(name)] != []


@pytest.mark.parametrize(("augment", "cells"), TAKEN)
def test_a_view_is_of_its_own_row(augment: Augment, cells: list[Any]) -> None:
    """Any rows, in any order, once or twice, one alone: each becomes what it becomes in the whole batch."""
    whole = plain(augment(stacked(cells), draws()))
    assert len(whole) == len(cells)

    @settings(deadline=None, max_examples=15)
    @given(st.lists(st.integers(0, len(cells) - 1), min_size=1, max_size=10))
    def check(rows: list[int]) -> None:
        assert plain(augment(stacked([cells[row] for row in rows]), draws()[rows])) == [whole[row] for row in rows]

    check()


@pytest.mark.parametrize(("augment", "cells"), TAKEN)
def test_it_is_alike_where_nothing_differs_and_differs_where_anything_does(augment: Augment, cells: list[Any]) -> None:
    kept, given_cells = copy.deepcopy(cells), stacked(cells)
    found = plain(augment(given_cells, draws()))
    assert plain(augment(stacked(cells), draws())) == found
    assert plain(given_cells) == plain(stacked(kept))  # what it was given is as it was
    assert plain(cells) == plain(kept)
    assert not any(is_empty(cell) for cell in augment(stacked(cells), draws()))
    if len({str(cell) for cell in plain(augment(stacked([cells[0]] * 8), draws()))}) == 1:
        assert cells is not LONG  # a short text may have one view only
        return
    for other in (draws(seed=1), draws(number=1), draws(stream=1)):
        assert plain(augment(stacked(cells), other)) != found


@pytest.mark.parametrize(("augment", "cells"), TAKEN)
def test_examples_differ(augment: Augment, cells: list[Any]) -> None:
    """The same cell eight times: most of eight examples differ, where the cell is not of a few words."""
    if not isinstance(cells[0], str) or cells is LONG:
        assert len(set(plain(augment(stacked([cells[0]] * 8), draws())))) > 1
