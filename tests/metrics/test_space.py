"""The metrics of the embedding space, which wrap functions of `geometry`."""

import math

import pytest
import torch

from nearfar import registry
from nearfar.contracts import Predictions, Sample
from nearfar.errors import InputError
from nearfar.vectors import geometry
from tests.evaluation.models import pairs

TASK = pairs([1.0, 2.0, 3.0, 4.0])


def sample() -> Sample:
    x = torch.nn.functional.normalize(torch.randn(30, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    return Sample(x, x[:10], x[10:20])


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
        assert metric(TASK, Predictions(sample=drawn)) == {name: float(value)}
        assert set(metric.meaning) == {name}


def test_settings_are_passed_to_the_function() -> None:
    drawn = sample()
    assert registry.build("metrics", {"name": "alignment", "alpha": "1"})(TASK, Predictions(sample=drawn)) == {
        "alignment": float(geometry.alignment(drawn.queries, drawn.keys, 1.0))
    }
    assert registry.build("metrics", {"name": "uniformity", "t": 3})(TASK, Predictions(sample=drawn)) == {
        "uniformity": float(geometry.uniformity(drawn.vectors, 3.0))
    }
    with pytest.raises(InputError, match="no setting is called 'beta'"):
        registry.build("metrics", {"name": "alignment", "beta": 1})


@pytest.mark.parametrize("name", ["alignment", "uniformity", "effective_rank", "random_cosine"])
def test_a_sample_that_is_too_small_has_no_value(name: str) -> None:
    one = torch.ones(1, 1)
    metric = registry.build("metrics", {"name": name})
    assert math.isnan(metric(TASK, Predictions(sample=Sample(one, one[:0], one[:0])))[name])


@pytest.mark.parametrize("name", ["alignment", "uniformity", "effective_rank", "random_cosine"])
def test_without_a_sample_the_error_names_task_and_metric(name: str) -> None:
    with pytest.raises(InputError, match=f"^pairs: {name} needs a sample of vectors$"):
        registry.build("metrics", {"name": name})(TASK, Predictions())
