"""Few-shot classification: whether a few labelled cells are enough to tell new ones of classes never trained on."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch

from nearfar import tasks
from nearfar.coerce import refuse_seed
from nearfar.column import Ids
from nearfar.contracts import Measurement, Predictions, Values
from nearfar.errors import InputError
from nearfar.vectors.geometry import check_vectors

Floats = npt.NDArray[np.floating]
_NUMBERS = 1 << 24  # of vectors gathered at a time


class Fewshot:
    """The share of cells whose class is told among `ways` classes from `shots` labelled cells of each, 0 to 1.

        answer(x) = argmax over the classes c of cos(x, mean of c's shots)

    The nearest class mean (Snell et al. 2017, arXiv:1703.05175, with the cosine). Each judged cell gets `episodes`
    episodes: `ways` - 1 other classes and `shots` training cells of each class, drawn anew; chance is 1 / `ways`. A tie
    goes against the model.

    Args:
        ways: classes to choose among, at least 2; all of them where there are fewer.
        shots: labelled cells of each class; classes with fewer training cells are left out.
        episodes: for each cell.
        seed: of the draws, which are the same for every system.

    Call: a task of n labelled cells, and vectors of both columns -> for each cell, the share of its episodes that were
    answered right (n,).

    Errors: `InputError`: settings out of range; vectors that are not finite; fewer than two classes with enough shots.

    Example:
        >>> Fewshot(ways=20, shots=1).meaning["fewshot@20x1"]
        'share of cells whose class is told among 20 from 1 labelled cell of each; 0.05 is chance'

    When not to use it: where every class has many labelled cells; see `knn` and `probe`.
    """

    takes: ClassVar[tuple[type, ...]] = (tasks.Labels,)
    needs: ClassVar[tuple[str, ...]] = ("vectors",)
    usual: ClassVar[bool] = False

    def __init__(self, ways: int = 5, shots: int = 1, episodes: int = 10, seed: int = 0) -> None:
        if ways < 2 or shots < 1 or episodes < 1:
            raise InputError(
                f"fewshot: ways must be at least 2, shots and episodes at least 1; they are {ways}, {shots}, {episodes}"
            )
        refuse_seed(seed, "fewshot.seed")
        self.ways, self.shots, self.episodes, self.seed = ways, shots, episodes, seed
        cells = "1 labelled cell" if shots == 1 else f"{shots} labelled cells"
        self.meaning = {
            f"fewshot@{ways}x{shots}": f"share of cells whose class is told among {ways} from {cells} of each; "
            f"{1 / ways:.3g} is chance"
        }

    def __call__(self, task: tasks.Labels, predictions: Predictions) -> dict[str, Measurement]:
        """Return the share of episodes that were answered right, (n,), by name."""
        if not predictions.vectors:
            raise InputError(f"{task.name}: fewshot needs the vectors of the cells")
        cells, train = (_checked(predictions.vectors[side], side) for side in ("cells", "train"))
        members = [np.flatnonzero(task.train_labels == c) for c in range(len(task.classes))]
        able = np.array([c for c, rows in enumerate(members) if len(rows) >= self.shots], np.int64)
        if len(able) < 2:
            raise InputError(
                f"{task.name}: fewshot needs two classes with {self.shots} training cells each, {len(able)} have them"
            )
        judged = np.flatnonzero(np.isin(task.labels, able))
        right = np.full(len(task.labels), np.nan)
        right[judged] = 0.0
        size = max(1, _NUMBERS // (min(self.ways, len(able)) * self.shots * cells.shape[1]))
        random = np.random.default_rng(self.seed)
        for _ in range(self.episodes):
            for start in range(0, len(judged), size):
                rows = judged[start : start + size]
                shots = self._shots(random, task.labels[rows], able, members)  # (b, ways, shots)
                right[rows] += _is_nearest(cells[rows], train[shots]) / self.episodes
        return {next(iter(self.meaning)): right}

    def _shots(self, random: np.random.Generator, labels: Ids, able: Ids, members: list[Ids]) -> Ids:
        """Return training cells for each of b cells, (b, ways, shots): of its own class first, then of drawn ones."""
        ways = min(self.ways, len(able))
        order = random.random((len(labels), len(able)))
        order[able == labels[:, None]] = -1.0  # the own class is among the first
        classes = able[np.argsort(order, axis=1)[:, :ways]]  # (b, ways)
        counts = np.array([len(rows) for rows in members])
        starts = np.cumsum(counts) - counts
        drawn = _distinct(random, counts[classes], self.shots)  # (b, ways, shots)
        shots: Ids = np.concatenate(members)[starts[classes][:, :, None] + drawn]
        return shots


def _checked(vectors: npt.NDArray[np.float32], side: str) -> Floats:
    checked: Floats = check_vectors(torch.from_numpy(np.array(vectors)), side).numpy()
    return checked


def _distinct(random: np.random.Generator, below: Ids, k: int) -> Ids:
    """Return k distinct numbers from 0 to below - 1 for each entry, (..., k), all sets as likely (R. Floyd)."""
    drawn = np.full((*below.shape, k), -1)
    for place in range(k):
        last = below - k + place
        number = np.minimum((random.random(below.shape) * (last + 1)).astype(np.int64), last)
        drawn[..., place] = np.where((drawn == number[..., None]).any(-1), last, number)
    return drawn


def _is_nearest(cells: Floats, shots: Floats) -> Values:
    """Return whether each cell (b, d) is nearest to the mean of the first class's shots (b, ways, k, d), (b,)."""
    units = shots / np.maximum(np.linalg.norm(shots, axis=3, keepdims=True), 1e-12)
    means = units.mean(2)  # (b, ways, d)
    lengths = np.maximum(np.linalg.norm(means, axis=2), 1e-12)
    cosines = np.einsum("bd,bwd->bw", cells, means) / lengths  # times the cell's length, which changes no order
    nearest: Values = (cosines[:, 0] > cosines[:, 1:].max(1)).astype(np.float64)
    return nearest
