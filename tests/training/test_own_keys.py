"""NNCLR's neighbours: in a queue that outlasts an epoch, none is an earlier key of the same thing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from nearfar.column import content_ids
from nearfar.compute.ranks import Ranks
from nearfar.losses.infonce import InfoNCE
from nearfar.positives.columns import Columns
from nearfar.positives.labels import LabelsAsPositives
from nearfar.positives.views import Views
from nearfar.training.batches import BatchReader, uncached_stores
from nearfar.training.mixture import Mixture
from nearfar.training.order import Sampler
from nearfar.training.own_keys import OwnKeys
from nearfar.training.settings import Settings
from nearfar.training.state import TrainState
from nearfar.training.step import GradientStep
from nearfar.training.train_module import Trained
from tests.training.floats import CPU
from tests.training.runs import Rows
from tests.training.small_pictures import Pictures, Shifted, SmallConvolution
from tests.training.test_ranks import pictures

TWICE: Any = [{"augmentation": Shifted(), "times": 2}]


def with_copies(n: int = 20, seed: int = 0) -> Pictures:
    """Return pictures of which the first three are one."""
    data = Pictures(n, seed)
    data.images[1] = data.images[2] = data.images[0]
    return data


class Recording(InfoNCE):
    """Keeps the keys of its last call."""

    keys: Tensor

    def forward(self, queries: Tensor, keys: Tensor, pairs: Any) -> Tensor:
        self.keys = keys.detach().clone()
        return super().forward(queries, keys, pairs)


@pytest.mark.parametrize("size", [7, 50])
@pytest.mark.parametrize("classes", [False, True])
def test_neighbours_are_those_of_a_slow_search_among_other_things(size: int, classes: bool) -> None:
    """Also where classes are the groups: another picture of the class may be the neighbour."""
    data = with_copies()
    positives: Any = (LabelsAsPositives if classes else Views)(data, "image", views=TWICE)
    contents = content_ids(data.column("image")).tolist()
    given = Settings(batch_size=6, queue=size, keys="neighbours", optimizer="sgd", learning_rate=0.1, device="cpu")
    loss, encoder = Recording(), SmallConvolution()
    trained = Trained(encoder, loss)
    train_state = TrainState.of(trained.module(given).train(), given)
    sampler = Sampler.of(positives, given)
    read = BatchReader(positives, uncached_stores(encoder, positives), sampler, given, Ranks(), encoder)
    step = GradientStep(train_state, trained, positives, given, CPU, "fp32")
    past: list[tuple[int, Tensor]] = []
    chosen_own = 0
    for number in range(8):  # three epochs of 16 pictures
        prepared = read(number)
        output = step(prepared)
        assert output.keys is not None
        assert len(loss.keys) == 12
        of_keys = [contents[example] for example in prepared.examples] * 2
        queued = past[-size:]
        for own, key, found in zip(of_keys, output.keys, loss.keys, strict=True):
            others = [vector for content, vector in queued if content != own]
            cosines = [float(normalize(key, dim=0) @ normalize(vector, dim=0)) for vector in others]
            torch.testing.assert_close(found, others[int(np.argmax(cosines))] if others else key)
            nearest = max(queued, key=lambda one: float(one[1] @ key), default=None)
            chosen_own += nearest is not None and nearest[0] == own
        past += zip(of_keys[:6], output.keys[:6], strict=True)
        train_state.step()
        step.after_optimizer_step(prepared, output, 0.0)
    assert size < len(data) or chosen_own > 5  # it is what would be found


def test_the_things_of_keys_are_the_contents_of_positives_in_any_data_set() -> None:
    """A negative column's keys are of their own contents; a mixture has copies across its data sets."""
    columns, views = pictures(20, negatives=True), Views(with_copies(), "image", views=TWICE)
    cases: list[Any] = [columns, views, Mixture([views, Views(with_copies(15, 1), "image", views=TWICE), views])]
    for positives in cases:
        n = len(positives)
        draw = np.random.default_rng(0)
        examples, queued = draw.permutation(n)[:6], draw.permutation(n)[:9]
        batch, of_queue = positives.batch(examples), positives.batch(queued)
        own = np.arange(9) if of_queue.positive_index is None else of_queue.positive_index
        items = of_queue.pairs.key_item.numpy()[own]
        rows, columns_found = OwnKeys(positives)(batch, examples, queued)
        found = set(zip(rows.tolist(), columns_found.tolist(), strict=True))
        sides = {view: len(batch.rows[view]) for view in positives.key_views}
        expected, place = set[tuple[int, int]](), 0
        for view, size in sides.items():
            for row in range(size):
                of_example = batch.example_index.get(view, np.arange(size) if size == 6 else None)
                item = batch.pairs.key_item[place].item()
                if of_example is not None:
                    one = positives.batch(examples[of_example[[row]]])
                    item = one.pairs.key_item[0 if one.positive_index is None else int(one.positive_index[0])].item()
                expected |= {(place, int(j)) for j in np.flatnonzero(items == item)}
                place += 1
        assert found == expected
        assert place == batch.pairs.shape[1]


def test_a_mined_negative_is_of_its_own_thing_and_a_further_key_of_its_examples() -> None:
    """Of the third pair's key, mined for the first one, the third pair's earlier keys are the own ones."""
    table = Rows(query=["a", "b", "c"], key=["A", "B", "C"])
    mined = Columns(table).with_negatives(np.array([[2], [-1], [-1]]))
    rows, columns = OwnKeys(mined)(mined.batch(np.array([0, 1])), np.array([0, 1]), np.array([0, 1, 2]))
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 0), (1, 1), (2, 2)]
    several = Columns(Rows(query=["a", "b", "a"], key=["A", "B", "C"]), all_keys=True)
    rows, columns = OwnKeys(several)(several.batch(np.array([0, 1])), np.array([0, 1]), np.array([1, 0]))
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0), (2, 1)]
