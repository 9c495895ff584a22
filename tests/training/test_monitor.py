from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from nearfar.pairs import Pairs
from nearfar.training.monitor import Monitor
from tests.training.runs import rows, train


class OnlyPull(nn.Module):
    """Pulls positives together and pushes nothing apart: the space collapses."""

    unit: ClassVar[bool] = True
    cacheable: ClassVar[bool] = True
    needs_negatives: ClassVar[bool] = False

    def forward(self, queries: Tensor, keys: Tensor, pairs: Pairs) -> Tensor:
        return -(queries @ keys.T).mean()


def test_a_loss_that_only_pulls_sets_off_the_alarm_once(tmp_path: Path) -> None:
    only_pull: Any = OnlyPull()
    run = train(tmp_path, loss=only_pull, data=rows(200), batch_size=100, steps=80, monitor_every=5)
    assert len(run.warnings) == 1
    assert "the space is collapsing" in run.warnings[0]


def test_healthy_training_does_not(tmp_path: Path) -> None:
    run = train(tmp_path, data=rows(200), batch_size=100, steps=80, monitor_every=5)
    assert run.warnings == []


def look(vectors: Tensor, monitor: Monitor) -> str | None:
    vectors = normalize(vectors, dim=1)
    return monitor.alarm(monitor.look(vectors, vectors, Pairs.aligned(len(vectors))))


def test_the_numbers_are_those_of_the_vectors() -> None:
    x = torch.eye(4)
    y = torch.tensor([[0.0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    facts = Monitor().look(x, y, Pairs.aligned(4))
    assert facts["alignment"] == pytest.approx(0.5)  # one of four pairs at a squared distance of 2
    assert facts["random_cosine"] == pytest.approx(1 / 6)  # one of six pairs of keys is the same
    assert facts["effective_rank"] == pytest.approx(
        math.exp(-sum(p * math.log(p) for p in (2**0.5 / (2 + 2**0.5), 1 / (2 + 2**0.5), 1 / (2 + 2**0.5)))), rel=1e-4
    )
    assert -8 < facts["uniformity"] < 0


def test_few_directions_set_it_off() -> None:
    torch.manual_seed(0)
    monitor = Monitor()
    assert look(torch.randn(200, 32), monitor) is None
    flat = torch.zeros(200, 32)
    flat[:, :2] = torch.randn(200, 2)
    assert "effective rank fell from" in str(look(flat, monitor))
    assert look(flat, monitor) is None  # it warns once


def test_a_rank_that_falls_far_and_stays_of_many_directions_does_not() -> None:
    torch.manual_seed(0)
    monitor = Monitor()
    assert look(torch.randn(400, 400), monitor) is None
    fallen = torch.zeros(400, 400)
    fallen[:, :20] = torch.randn(400, 20)
    facts = monitor.look(normalize(fallen, dim=1), normalize(fallen, dim=1), Pairs.aligned(400))
    assert 15 < facts["effective_rank"] < 0.1 * monitor.memory["first_look"]["effective_rank"]
    assert look(fallen, monitor) is None
    fallen[:, 4:] = 0
    assert "effective rank fell from" in str(look(fallen, monitor))


def test_a_narrow_cone_at_the_start_is_no_collapse_but_a_point_is() -> None:
    torch.manual_seed(0)
    cone = torch.randn(200, 32) + 2.0 * torch.ones(32)
    monitor = Monitor()
    assert look(cone, monitor) is None
    assert look(cone, monitor) is None
    assert "have cosine" in str(look(cone + 8 * torch.ones(32), monitor))
    assert "have cosine 1.00" in str(look(torch.ones(200, 32) + 0.01 * torch.randn(200, 32), Monitor()))


def test_what_it_compares_with_outlives_a_stop() -> None:
    torch.manual_seed(0)
    memory: dict[str, Any] = {}
    look(torch.randn(200, 32), Monitor(memory))
    flat = torch.zeros(200, 32)
    flat[:, :2] = torch.randn(200, 2)
    assert look(flat, Monitor(memory)) is not None
    assert look(flat, Monitor(memory)) is None


def of_classes(labels: Tensor) -> Pairs:
    """Return the pairs of rows of some classes with themselves."""
    rows = torch.arange(len(labels))
    return Pairs(query_group=labels, query_item=rows, key_group=labels, key_item=rows)


def test_few_classes_that_are_told_apart_are_no_collapse() -> None:
    """Supervised vectors of c classes end in c points (Papyan et al. 2020, arXiv:2008.08186): c - 1 directions."""
    torch.manual_seed(0)
    for classes in (2, 3, 5):
        monitor, labels = Monitor(), torch.arange(200) % classes
        labels[: 200 - 20 * classes] = 0  # one class is most of them
        pairs, points = of_classes(labels), pad(torch.eye(classes) - 1 / classes, (0, 64 - classes))
        start, end = normalize(torch.randn(200, 64), dim=1), normalize(points[labels], dim=1)
        assert monitor.alarm(monitor.look(start, start, pairs)) is None
        for _ in range(2):
            facts = monitor.look(end, end, pairs)
            assert monitor.alarm(facts) is None
        assert facts["groups"] == classes
        one = normalize(torch.ones(200, 64) + 0.01 * torch.randn(200, 64), dim=1)
        assert "have cosine 1.00" in str(monitor.alarm(monitor.look(one, one, pairs)))


def test_the_cosine_of_negatives_is_that_of_a_loop_and_alignment_of_many_positives_too() -> None:
    torch.manual_seed(0)
    labels, x = torch.tensor([0] * 40 + [1] * 30 + [2] * 10), normalize(torch.randn(80, 8), dim=1)
    facts = Monitor().look(x, x, of_classes(labels))
    different = [float(x[i] @ x[j]) for i in range(80) for j in range(80) if labels[i] != labels[j]]
    alike = [
        float((x[i] - x[j]).square().sum()) for i in range(80) for j in range(80) if labels[i] == labels[j] and i != j
    ]
    assert facts["negative_cosine"] == pytest.approx(sum(different) / len(different), abs=1e-6)
    assert facts["alignment"] == pytest.approx(sum(alike) / len(alike), rel=0.05)  # of 512 of them
    one_group = Monitor().look(x, x, of_classes(torch.zeros(80, dtype=torch.int64)))
    assert "negative_cosine" not in one_group
    assert Monitor().alarm(one_group | {"random_cosine": 1.0}) is None


def test_vectors_without_a_direction_are_measured_without_an_error() -> None:
    torch.manual_seed(0)
    x = normalize(torch.randn(50, 8), dim=1)
    some = x.clone()
    some[3] = 0
    expected = Monitor().look(x[torch.arange(50) != 3], x[torch.arange(50) != 3], Pairs.aligned(49))
    found = Monitor().look(some, some, Pairs.aligned(50))
    assert found["random_cosine"] == pytest.approx(expected["random_cosine"], abs=1e-6)
    assert look(torch.zeros(50, 8), Monitor()) is not None
