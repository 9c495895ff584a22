"""A picture with all of its captions, beside a naive loss over the distinct pictures and captions of a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from nearfar.compute.ranks import Ranks
from nearfar.encoders.dual import Dual
from nearfar.losses.infonce import InfoNCE
from nearfar.losses.sigmoid import Sigmoid
from nearfar.positives.columns import Columns
from nearfar.training.batches import BatchReader, uncached_stores
from nearfar.training.mixture import mix
from nearfar.training.order import Sampler
from nearfar.training.settings import Settings
from nearfar.training.state import TrainState
from nearfar.training.step import GradientStep
from nearfar.training.train_module import Trained
from tests.encoders.known_vectors import KnownTexts
from tests.pictures.samples import noise
from tests.training.runs import Rows, in_ranks

FEATURES, DIM = 8, 5
# Pictures of 1, 2 and 5 captions, a copy of one, a caption of two pictures, and one that a picture has twice.
CAPTIONS = {
    0: ["a dog runs"],
    1: ["two children climb", "a fence and children"],
    2: ["the sea", "waves at the sea", "a dog runs", "blue water", "sand and water"],
    3: ["a red door", "a red door"],
    4: ["waves at the sea", "a boat"],
}
COPY = {0: ["a brown dog", "a dog runs"]}  # of the first picture, as another file


def data() -> Rows:
    pairs = [(i, caption) for captions in (CAPTIONS, COPY) for i, of in captions.items() for caption in of]
    return Rows(image=[noise(i) for i, _ in pairs], caption=[caption for _, caption in pairs])


class Tower(KnownTexts):
    """A linear layer over a few numbers of a picture or a text."""

    def __init__(self, kind: str, seed: int) -> None:
        super().__init__({})
        self.reads, self.dim = (kind,), DIM
        torch.manual_seed(seed)
        self.layer = nn.Linear(FEATURES, DIM, dtype=torch.float64)

    def inputs(self, cells: Any) -> Any:
        numbers = torch.tensor(np.array([features(cell) for cell in cells]).reshape(-1, FEATURES))
        return replace(KnownTexts({}).inputs([]), values=numbers)

    def forward(self, inputs: Any) -> Tensor:
        vectors: Tensor = self.layer(inputs.values)
        return vectors


def features(cell: Any) -> npt.NDArray[np.float64]:
    numbers = np.frombuffer(cell.encode(), np.uint8) if isinstance(cell, str) else np.asarray(cell).ravel()
    return np.array([np.cos((k + 1) * numbers.astype(np.float64)).sum() for k in range(FEATURES)])


def towers() -> Dual:
    return Dual(Tower("image", 0), Tower("text", 1))


LOSSES: dict[str, Callable[[], Any]] = {
    "infonce": lambda: InfoNCE(temperature=0.5),
    "sigmoid": lambda: Sigmoid(temperature=0.5, bias=-1.0),
}


def naive(name: str, scores: Tensor, positive: Tensor, times: Tensor) -> Tensor:
    """The loss of the scaled similarities (pictures, captions), entry by entry.

    times (pictures,): how many examples are of each picture, as InfoNCE's mean is over examples; two data sets may have
    one each.
    """
    n, m = scores.shape
    if name == "sigmoid":
        terms = [
            torch.log1p(torch.exp(-(scores[i, j] - 1.0) if positive[i, j] else scores[i, j] - 1.0))
            for i in range(n)
            for j in range(m)
        ]
        return torch.stack(terms).sum() / n
    total = torch.zeros((), dtype=torch.float64)
    for matrix, together, count in ((scores, positive, times), (scores.T, positive.T, torch.ones(m))):
        for row, own, share in zip(matrix, together, count / count.sum()):
            total = total + share * (torch.log(torch.exp(row).sum()) - row[own].sum() / own.sum()) / 2
    return total


def expected(name: str, cut: int) -> tuple[float, dict[str, Tensor]]:
    """Return the loss and its gradients by hand, by the pixels and words of all rows."""
    encoder: Any = towers()
    rows = data()
    pairs = [(image.tobytes(), caption) for image, caption in zip(rows.cells["image"], rows.cells["caption"])]
    pictures = {image.tobytes(): image for image in rows.cells["image"]}
    captions = list(dict.fromkeys(rows.cells["caption"]))
    query, key = encoder.towers["query"], encoder.towers["key"]
    q, k = normalize(query(query.inputs(list(pictures.values())))), normalize(key(key.inputs(captions)))
    positive = torch.tensor([[(picture, caption) in pairs for caption in captions] for picture in pictures])
    halves = [{picture for picture, _ in half} for half in (pairs[:cut], pairs[cut:])]
    times = torch.tensor([float(sum(picture in half for half in halves)) for picture in pictures])
    loss = naive(name, q @ k.T / 0.5, positive, times)
    loss.backward()
    return float(loss.detach()), gradients_of(encoder)


def gradients_of(encoder: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}


def gradients(ranks: Ranks, name: str, micro: int, folder: Path, cut: int = 0) -> None:
    """Write the loss and the gradients of a step of all pictures, as training computes them; cut: into data sets."""
    whole = data().cells
    ends = [slice(0, cut), slice(cut, None)] if cut else [slice(None)]
    sets = [Rows(**{column: cells[part] for column, cells in whole.items()}) for part in ends]
    positives = mix([Columns(one, "image", "caption", all_keys=True) for one in sets], apart=False)
    settings = Settings(batch_size=len(positives), device="cpu", precision="fp32", micro_batch=micro)
    encoder: Any = towers()
    trained = Trained(encoder, LOSSES[name]().double())
    state = TrainState.of(trained.module(settings).train(), settings)
    step = GradientStep(state, trained, positives, settings, torch.device("cpu"), "fp32", ranks)
    stores, sampler = uncached_stores(encoder, positives), Sampler.of(positives, settings)
    output = step(BatchReader(positives, stores, sampler, settings, ranks, encoder, [])(0))
    if ranks.is_first:
        save_file({"loss": output.loss, **gradients_of(encoder)}, folder / "step.safetensors")


@pytest.mark.parametrize("cut", [0, 6])  # within the captions of a picture, whose second half is in another data set
@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("micro", [0, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_a_step_is_the_naive_loss_of_distinct_pictures_and_captions(
    name: str, micro: int, world_size: int, cut: int, tmp_path: Path
) -> None:
    if world_size == 1:
        gradients(Ranks(), name, micro, tmp_path, cut)
    else:
        in_ranks(world_size, gradients, name, micro, tmp_path, cut)
    found = load_file(tmp_path / "step.safetensors")
    loss, wanted = expected(name, cut)
    assert float(found.pop("loss")) == pytest.approx(loss, rel=1e-6)
    assert found.keys() == wanted.keys() and len(found) == 4
    for parameter, gradient in wanted.items():
        assert float(gradient.abs().max()) > 1e-4
        torch.testing.assert_close(
            found[parameter],
            gradient,
            rtol=1e-6,
            atol=1e-6 * float(gradient.abs().max()),
            msg=f"{parameter}: {{}}".format,
        )
