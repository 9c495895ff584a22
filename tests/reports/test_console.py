"""What people read on the terminal and on pages holds no control character of the data."""

from typing import Any

import pytest

from nearfar.evaluation.report import Report
from nearfar.reports import console
from nearfar.reports.page import template

WILD = "fox \x1b[2J\x9b31m\u202e"
TAME = "fox \\u001b[2J\\u009b31m\\u202e"
CONTROLS = {"\x1b", "\x9b", "\u202e"}


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")


def test_a_dry_run_and_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    numbers: dict[str, Any] = dict.fromkeys(
        ["refreshes", "pairs", "steps", "batch_size", "seconds", "pairs_per_second", "reading_seconds", "memory_mb"], 1
    )
    console.show_estimate({**numbers, "batch": [{"row": 1, "query": WILD}], "notes": {"teacher": WILD}})
    speed: dict[str, Any] = dict.fromkeys(["pairs", "train_pairs_per_second", "seconds", "peak_memory_mb"], 1)
    console.show_results([], {**speed, "model": WILD, "run": WILD})
    out = capsys.readouterr().out
    assert not CONTROLS & set(out)
    assert '"query": "fox \\u001b[2J' in out
    assert f"model   {TAME}\nreport  {TAME}/report.html" in out


def test_an_audit(capsys: pytest.CaptureFixture[str]) -> None:
    finding = {"level": "problem", "check": "copies", "what": WILD, "fix": WILD, "examples": []}
    audit = {"splits": {"train": 1}, "kind": "texts", "data": WILD, "findings": [finding], "fine": [], "seconds": {}}
    console.show_audit({**audit, "page": WILD})
    out = capsys.readouterr().out
    assert not CONTROLS & set(out)
    assert out.count(TAME) == 4


def test_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_report(Report(WILD, {WILD: 0.5}, {}, {WILD: {WILD: 0.25}}))
    out = capsys.readouterr().out
    assert not CONTROLS & set(out)
    assert "fox \\u001b[2J" in out


def test_texts_of_pages_and_what_is_markup_already() -> None:
    page = template("review.html.j2").environment.from_string(
        "{% macro m(t) %}<b>{{ t }}</b>{% endmacro %}{{ m(text) }} {{ 3 }} {{ [text]|tojson }}"
    )
    assert page.render(text="<" + WILD) == ("<b>&lt;" + TAME + '</b> 3 ["\\u003cfox \\u001b[2J\\u009b31m\\u202e"]')
