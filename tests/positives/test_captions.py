"""Pictures and their captions as pairs: the captions of one picture are its positives, and never its negatives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nearfar.data.image_text import ImageText
from nearfar.data.table import Table
from nearfar.errors import InputError
from nearfar.losses.infonce import InfoNCE
from nearfar.losses.sigmoid import Sigmoid
from nearfar.losses.triplet import Triplet
from nearfar.pairs import Pairs
from nearfar.positives.columns import Columns
from nearfar.tasks import Retrieval
from tests.contracts.samples import write_lines
from tests.losses.naive import relation
from tests.pictures.samples import encoded, noise


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageText:
    """Return five captions of each of three pictures, and of a copy of the first one, whose last caption is shared."""
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    pictures = {f"{i}.png": noise(i) for i in range(3)} | {"copy of 0.png": noise(0)}
    for name, picture in pictures.items():
        (tmp_path / name).write_bytes(encoded(picture))
    rows = [{"image": name, "caption": f"caption {k} of {name}"} for name in pictures for k in range(5)]
    rows[9]["caption"] = rows[14]["caption"] = "a dog runs"  # one text of two pictures
    return ImageText(write_lines(tmp_path / "captions.jsonl", rows))


SIDES = [("image", "caption"), ("caption", "image")]
BATCHES = {
    "five captions of one picture": [0, 1, 2, 3, 4],
    "and a row of another": [0, 1, 2, 3, 4, 5],
    "and of its copy": [0, 3, 16, 19, 5],
    "one caption of two pictures": [9, 14, 5, 10, 0],
    "one of each": [0, 5, 10],
}


def naive(pairs: ImageText, examples: list[int], query: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which query and key of a batch belong together, by the pixels and words of all rows, and which do not."""
    n = len(pairs)
    images, captions = pairs.column("image").read(0, n), pairs.column("caption").read(0, n)
    together = {(image.tobytes(), caption) for image, caption in zip(images, captions, strict=True)}
    found = torch.tensor(
        [[(images[i].tobytes(), captions[j]) in together for j in examples] for i in examples]
    )  # (b, b), pictures by captions
    found = found if query == "image" else found.T
    return found, ~found


@pytest.mark.parametrize(("query", "key"), SIDES)
@pytest.mark.parametrize("name", BATCHES)
def test_no_caption_of_a_picture_is_its_negative(pairs: ImageText, name: str, query: str, key: str) -> None:
    examples = BATCHES[name]
    found = Columns(pairs, query, key).batch(np.array(examples)).pairs
    positive, negative = naive(pairs, examples, query)
    for some, wanted in ((found, (positive, negative)), (found.transposed, (positive.T, negative.T))):
        weight, candidate = relation(some)
        assert torch.equal(weight > 0, wanted[0])
        assert torch.equal(candidate & (weight == 0), wanted[1])


def similarities(loss: Any, pairs: Pairs) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the loss, random similarities (n, m), and the loss's gradient by these: queries are the axes."""
    n, m = pairs.shape
    matrix = torch.rand(n, m, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    keys = matrix.T.contiguous().requires_grad_()
    value = loss(torch.eye(n, dtype=torch.float64), keys, pairs)
    (gradient,) = torch.autograd.grad(value, keys)
    return value, matrix, gradient.T


@pytest.mark.parametrize(("query", "key"), SIDES)
@pytest.mark.parametrize("loss", [InfoNCE(decoupled=True), Sigmoid(), Triplet()], ids=lambda loss: type(loss).__name__)
def test_no_loss_pushes_a_caption_away_from_its_picture(pairs: ImageText, loss: Any, query: str, key: str) -> None:
    for examples in BATCHES.values():
        if {0, 1, 2, 3, 4} >= set(examples):
            continue  # no negative
        batch = Columns(pairs, query, key).batch(np.array(examples)).pairs
        positive, negative = naive(pairs, examples, query)
        _, _, gradient = similarities(loss.double(), batch)
        assert (gradient[positive] <= 0).all()
        assert (gradient[negative] >= 0).all()
        assert (gradient[negative] > 0).any()


def test_five_captions_of_one_picture_have_no_negative_at_all(pairs: ImageText) -> None:
    for query, key in SIDES:
        batch = Columns(pairs, query, key).batch(np.arange(5)).pairs
        with pytest.raises(InputError, match="negative"):
            InfoNCE()(torch.eye(5), torch.eye(5), batch)


def test_infonce_counts_a_picture_once_among_the_candidates_of_a_caption(pairs: ImageText) -> None:
    batch = Columns(pairs, "caption", "image").batch(np.array([0, 1, 2, 3, 4, 5])).pairs
    generator = torch.Generator().manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(8, 16, dtype=torch.float64, generator=generator), dim=1)
    captions, images = vectors[:6], vectors[torch.tensor([6, 6, 6, 6, 6, 7])]  # rows of one picture have one vector
    scores = captions @ vectors[6:].T / 0.5  # (6, 2), with the two pictures
    wanted = torch.nn.functional.cross_entropy(scores, torch.tensor([0, 0, 0, 0, 0, 1]))
    assert InfoNCE(temperature=0.5, symmetric=False)(captions, images, batch).item() == pytest.approx(wanted.item())


@pytest.mark.parametrize(("query", "key"), [(None, None), *SIDES])
def test_a_split_is_a_task_of_its_own_pictures(pairs: ImageText, query: str | None, key: str | None) -> None:
    task = Columns(pairs, query, key, cluster="path").task("train")
    assert isinstance(task, Retrieval)
    counts = {"queries": len(task.queries), "documents": len(task.documents)}
    pictures = {"queries": 3, "documents": 19} if query != "caption" else {"queries": 19, "documents": 3}
    assert counts == pictures
    relevant = sorted(len(found) for found in task.relevance.values())
    assert relevant == ([5, 5, 10] if query != "caption" else [1] * 18 + [2])


def test_paths_in_a_table_are_not_taken_for_pictures() -> None:
    with pytest.raises(InputError, match=r"read them with data\.name=image_text"):
        Columns(Table([{"image": "a.png", "caption": "a dog"}]))
