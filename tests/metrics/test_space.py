"""The metrics that wrap functions of `geometry`, and what holds for every metric."""

import pytest
import torch

from nearfar import registry
from nearfar.contracts import Sample
from nearfar.errors import InputError
from nearfar.vectors import geometry

NAMES = ["alignment", "correlation", "effective_rank", "random_cosine", "retrieval", "uniformity"]


def sample() -> Sample:
    x = torch.nn.functional.normalize(torch.randn(30, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    return Sample(x, x[:10], x[10:20])


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_is_built_by_name_and_explains_its_values(name: str) -> None:
    metric = registry.build("metrics", {"name": name})
    assert metric.meaning
    assert all(isinstance(text, str) and text for text in metric.meaning.values())


def test_metrics_equal_the_functions() -> None:
    drawn = sample()
    expected = {
        "alignment": geometry.alignment(drawn.queries, drawn.keys),
        "uniformity": geometry.uniformity(drawn.vectors),
        "effective_rank": geometry.effective_rank(drawn.vectors),
        "random_cosine": geometry.random_cosine(drawn.vectors),
    }
    for name, value in expected.items():
        metric = registry.build("metrics", {"name": name})
        assert metric(drawn) == {name: float(value)}
        assert set(metric.meaning) == {name}


def test_settings_are_passed_to_the_function() -> None:
    drawn = sample()
    assert registry.build("metrics", {"name": "alignment", "alpha": "1"})(drawn) == {
        "alignment": float(geometry.alignment(drawn.queries, drawn.keys, 1.0))
    }
    assert registry.build("metrics", {"name": "uniformity", "t": 3})(drawn) == {
        "uniformity": float(geometry.uniformity(drawn.vectors, 3.0))
    }
    with pytest.raises(InputError, match="no setting is called 'beta'"):
        registry.build("metrics", {"name": "alignment", "beta": 1})
