"""What a model wrote stands on the page of a run: escaped, some steps of many, and nothing where events are damaged."""

from __future__ import annotations

from typing import Any

import pytest

from nearfar.reports.completions import ROWS, written_texts
from nearfar.reports.run import page

TEXT = {"original": [["the ", False], ["cat", True]], "written": [["the ", False], ["dog", True]]}


def event(kind: str = "masked", *texts: Any) -> dict[str, Any]:
    return {"event": "completions", "kind": kind, "texts": list(texts or (TEXT,))}


def test_of_many_steps_the_first_the_last_and_some_between() -> None:
    found = written_texts({float(step): event() for step in range(0, 101, 5)})
    (text,) = found["texts"]
    steps = [step for step, _ in text["rows"]]
    assert len(steps) == ROWS and steps[0] == 0 and steps[-1] == 100 and steps == sorted(set(steps))
    assert written_texts({3.0: event()})["texts"][0]["rows"][0][0] == 3


def test_what_is_right_is_marked_for_a_masked_model_alone() -> None:
    right = {**TEXT, "written": TEXT["original"]}
    for kind, style in (("masked", "predicted right"), ("causal", "predicted")):
        found = written_texts({0.0: event(kind), 9.0: event(kind, right)})
        rows = dict(found["texts"][0]["rows"])
        assert rows[0.0] == [("the ", ""), ("dog", "predicted")]
        assert rows[9.0] == [("the ", ""), ("cat", style)]


def test_hidden_parts_are_compared_by_their_number_among_the_hidden_ones() -> None:
    original = [["the ", False], ["cat", True], ["s ", False], ["", True], [" and ", False], ["dog", True]]
    written = [["the ", False], ["cow", True], ["", True], ["and ", False], ["dog", True]]
    found = written_texts({4.0: event("masked", {"original": original, "written": written})})
    ((_, parts),) = found["texts"][0]["rows"]
    assert [style for _, style in parts] == ["", "predicted", "predicted", "", "predicted right"]


@pytest.mark.parametrize(
    "damaged",
    [{}, {"texts": 3}, {"texts": [3]}, {"texts": [{"written": "x", "original": [["a", True]]}]}, {"texts": [{}]}],
)
def test_damaged_events_show_nothing(damaged: dict[str, Any]) -> None:
    assert written_texts({1.0: damaged}) == {}
    assert written_texts({}) == {}


@pytest.mark.parametrize("kind", ["masked", "causal"])
def test_it_stands_escaped_on_the_page(kind: str) -> None:
    hostile = "<script>alert(1)</script>\x1b[31m"
    text = {"original": [["the ", False], [hostile, True]], "written": [["the ", False], [hostile, True]]}
    shown = page({}, [{**event(kind, text), "step": 4}])
    assert "as training went on" in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    assert "<script>alert" not in shown and "\x1b" not in shown
    assert "as training went on" not in page({}, [])
