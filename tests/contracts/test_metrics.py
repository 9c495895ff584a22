"""Every metric explains its values, and returns exactly those that it explains."""

from __future__ import annotations

import inspect
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from nearfar import registry
from nearfar.column import ListColumn
from nearfar.contracts import Sample
from nearfar.tasks import Retrieval, Similarity
from nearfar.vectors.topk import Ranking

NAMES = registry.names("metrics")
N = 20


def retrieval() -> tuple[Retrieval, Ranking]:
    texts = ListColumn("text", [str(i) for i in range(N)])
    ids = [str(i) for i in range(N)]
    task = Retrieval("sample", texts, texts, ids, ids, {i: {i: 1} for i in range(N)}, np.arange(N))
    rows = (np.arange(N)[:, None] + np.arange(N)) % N  # each query's own document comes first
    return task, Ranking(rows, np.tile(np.linspace(1, 0, N, dtype=np.float32), (N, 1)))


def similarity() -> tuple[Similarity, np.ndarray[Any, Any]]:
    texts = ListColumn("text", [str(i) for i in range(N)])
    return Similarity("sample", texts, texts, np.arange(N, dtype=np.float64), np.arange(N)), np.linspace(-1, 1, N)


def sample() -> tuple[Sample]:
    vectors = torch.nn.functional.normalize(torch.randn(3, N, 8, generator=torch.Generator().manual_seed(0)), dim=2)
    return (Sample(*vectors),)


def evaluated(name: str) -> dict[str, Any]:
    """Return a metric's values on the first sample that fits the annotated type of its arguments."""
    metric = registry.build("metrics", {"name": name})
    kinds = [str(p.annotation) for p in inspect.signature(type(metric).__call__).parameters.values()]
    for kind, make in (("Sample", sample), ("Retrieval", retrieval), ("Similarity", similarity)):
        if any(kind in annotation for annotation in kinds):
            found: dict[str, Any] = metric(*make())
            return found
    raise AssertionError(f"metrics.{name} takes none of the samples")


@pytest.mark.parametrize("name", NAMES)
def test_returns_the_values_it_explains(name: str) -> None:
    meaning = registry.find("metrics", name).meaning
    assert meaning
    assert all(isinstance(text, str) and len(text) > 10 for text in meaning.values())
    found = evaluated(name)
    assert list(found) == list(meaning)
    for value in found.values():
        assert np.isfinite(np.asarray(value)).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_second_call_returns_the_same(name: str) -> None:
    for one, other in zip(evaluated(name).values(), evaluated(name).values(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_two_metrics_share_a_value_name() -> None:
    names = Counter(name for part in NAMES for name in registry.find("metrics", part).meaning)
    assert [name for name, count in names.items() if count > 1] == []
