"""Positives by class: who is near whom in a batch, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from nearfar.data.table import Table
from nearfar.errors import InputError
from nearfar.losses.infonce import InfoNCE
from nearfar.positives.labels import LabelsAsPositives
from nearfar.tasks import Labels


def table(classes: list[Any], **settings: Any) -> Table:
    return Table([{"text": f"text {i} of its own", "label": label} for i, label in enumerate(classes)], **settings)


def test_rows_of_a_class_are_positives_in_every_view_but_none_of_itself() -> None:
    positives = LabelsAsPositives(table(["a", "b", "a", "c"]), views=[{"times": 2}])
    pairs = positives.batch(np.arange(4)).pairs
    near = pairs.query_group[:, None] == pairs.key_group
    same = pairs.query_item[:, None] == pairs.key_item
    of_class = torch.tensor(
        [
            [i % 4 in group and j % 4 in group for j in range(8)]
            for i in range(8)
            for group in [{i % 4} | ({0, 2} if i % 4 in (0, 2) else set())]
        ]
    )
    assert (near == of_class).all()
    assert (same == torch.eye(8, dtype=torch.bool)).all()


def test_the_loss_is_supcons() -> None:
    """Khosla et al. 2020, equation 2, in float64: the mean over positives outside of the logarithm."""
    classes = [0, 1, 0, 2, 1]
    positives = LabelsAsPositives(table(classes), views=[{"times": 2}])
    x = normalize(torch.randn(10, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), dim=1)
    label, total = torch.tensor(classes * 2), 0.0
    for i in range(10):
        others = [j for j in range(10) if j != i]
        logits = x[i] @ x[others].T / 0.1
        log_p = torch.log_softmax(logits, 0)
        near = [place for place, j in enumerate(others) if label[j] == label[i]]
        total += -log_p[near].mean().item() / 10
    loss = InfoNCE(temperature=0.1)(x, x, positives.batch(np.arange(5)).pairs)
    assert loss.item() == pytest.approx(total, abs=1e-10)


def test_a_queued_key_of_the_class_is_a_positive() -> None:
    positives = LabelsAsPositives(table(["a", "b", "a", "b"]))
    pairs = positives.batch(np.array([0, 1]), queued=np.array([2, 3])).pairs
    assert (pairs.query_group[:, None] == pairs.key_group).tolist() == [
        [True, False, True, False],
        [False, True, False, True],
    ]


def test_the_task_is_to_tell_the_class() -> None:
    task = LabelsAsPositives(table([i % 3 for i in range(30)], heldout=6, heldout_by=["text"])).task("heldout")
    assert isinstance(task, Labels)
    assert (task.classes, len(task.cells), len(task.train)) == (["0", "1", "2"], 6, 24)


def test_a_number_and_its_text_are_one_class() -> None:
    pairs = LabelsAsPositives(table([1.0, 2.0, 1.0])).batch(np.arange(3)).pairs
    assert pairs.query_group[0] == pairs.query_group[2] != pairs.query_group[1]


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (["a", "a"], "all rows are of one class, 'a', so nothing is far"),
        (["a", None, "b"], "row 2 has no label in column 'label'; leave it out"),
        (["a", " ", "b"], "row 2 has no label"),
    ],
)
def test_labels_that_teach_nothing_are_refused(classes: list[Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        LabelsAsPositives(table(classes))


def test_data_without_labels_is_refused() -> None:
    with pytest.raises(InputError, match=r"there is no column of classes; name it with positives.label"):
        LabelsAsPositives(Table([{"text": f"{i}"} for i in range(3)]))
