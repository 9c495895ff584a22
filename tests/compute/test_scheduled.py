"""Scheduled settings: both ends, the shapes, and what a recipe may write."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearfar import registry
from nearfar.compute.scheduled import Scheduled, bounds, value_at
from nearfar.errors import InputError
from nearfar.losses.infonce import InfoNCE
from nearfar.losses.sigmoid import Sigmoid
from nearfar.training.settings import Settings
from tests.training.runs import train
from tests.training.test_log import lines

NUMBERS = st.floats(-10, 10)


@given(NUMBERS, NUMBERS, st.sampled_from(["linear", "cosine"]), st.integers(2, 500), st.floats(0.01, 1.0))
def test_it_starts_and_stops_where_it_says_and_never_leaves_its_bounds(
    start: float, stop: float, shape: Any, steps: int, over: float
) -> None:
    setting = Scheduled(start, stop, shape, over)
    values = [setting.at(step, steps) for step in range(steps)]
    assert (values[0], values[-1]) == (start, stop)
    low, high = bounds(setting)
    assert all(low - 1e-9 <= value <= high + 1e-9 for value in values)
    assert sorted(values, reverse=stop < start) == pytest.approx(values, abs=1e-9)  # it only goes one way


def test_the_shapes() -> None:
    assert [Scheduled(0, 1).at(s, 5) for s in range(5)] == [0, 0.25, 0.5, 0.75, 1]
    cosine = [1 - (math.cos(math.pi * s / 4) + 1) / 2 for s in range(5)]
    assert [Scheduled(0, 1, "cosine").at(s, 5) for s in range(5)] == pytest.approx(cosine)
    assert [Scheduled(0, 1, over=0.5).at(s, 9) for s in range(9)] == [0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1]
    assert value_at(0.3, 5, 9) == 0.3
    assert Scheduled(0.5, 1).at(0, 1) == 0.5


def test_a_recipe_writes_it_and_reads_it_back() -> None:
    spec = {"from": "0.99", "to": 1, "shape": "cosine"}
    found = registry.coerced_settings(
        Settings, {"keys": "momentum", "momentum": spec, "weight_decay": {"from": 0.04, "to": 0.4}}, "t"
    )
    settings = Settings(**found)
    assert settings.momentum == Scheduled(0.99, 1.0, "cosine")
    assert settings.plain()["momentum"] == {"from": 0.99, "to": 1.0, "shape": "cosine", "over": 1.0}
    assert Settings(**registry.coerced_settings(Settings, settings.plain(), "t")) == settings


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"from": 0.9}, "needs 'to'"),
        ({"from": 0.9, "to": 1, "form": "cosine"}, "has no 'form'"),
        ({"from": 0.9, "to": "much"}, "could not convert"),
        ({"from": 0.9, "to": 1, "shape": "round"}, "no shape 'round'"),
        ({"from": 0.9, "to": 1, "over": 0}, "over is a share"),
        ({"from": 0.9, "to": math.inf}, "finite"),
        ([0.9, 1], "write a number, or"),
    ],
)
def test_what_is_wrong_is_named(given: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        registry.coerced_settings(Settings, {"momentum": given}, "training")


def test_bounds_hold_at_both_ends() -> None:
    with pytest.raises(InputError, match=r"training\.weight_decay must be zero or more"):
        Settings(weight_decay=Scheduled(0.1, -0.1))
    with pytest.raises(InputError, match=r"training\.momentum: the factor .* from 0\.9 to 1\.1"):
        Settings(keys="momentum", momentum=Scheduled(0.9, 1.1))
    with pytest.raises(InputError, match=r"infonce\.temperature must be a finite number above 0"):
        InfoNCE(temperature=Scheduled(0.1, 0.0))
    with pytest.raises(InputError, match=r"sigmoid\.temperature is both scheduled and learnable"):
        Sigmoid(temperature=Scheduled(0.1, 0.2), learnable=True)


def test_temperature_and_decay_are_drawn_in_the_events_and_used(tmp_path: Path) -> None:
    loss = InfoNCE(temperature=Scheduled(0.2, 0.05))
    train(tmp_path, loss=loss, weight_decay=Scheduled(0.0, 0.3), steps=4)
    steps = [event for event in lines(tmp_path) if event["event"] == "step"]
    assert [event["loss.temperature"] for event in steps] == pytest.approx([0.2, 0.15, 0.1, 0.05])
    assert [event["weight_decay"] for event in steps] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    fixed = InfoNCE(temperature=0.2)
    train(tmp_path / "fixed", loss=fixed, steps=4)
    first = [
        next(e["loss"] for e in lines(folder) if e["event"] == "step") for folder in (tmp_path, tmp_path / "fixed")
    ]
    assert first[0] == first[1]  # the first step has the temperature that it starts at
    assert loss.scale.temperature == pytest.approx(0.05)


def test_a_schedule_is_part_of_the_identity_of_a_run() -> None:
    built = [registry.build("losses", {"name": "infonce", "temperature": t}) for t in (0.2, {"from": 0.2, "to": 0.1})]
    by_hand = [InfoNCE(temperature=0.2), InfoNCE(temperature=Scheduled(0.2, 0.1))]
    for parts in (built, by_hand):
        one, other = (registry.settings_of(part)["temperature"] for part in parts)
        assert one != other
    assert registry.settings_of(built[1]) == registry.settings_of(by_hand[1])
