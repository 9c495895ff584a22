"""What results.json may hold: a field of the wrong type is named, and not left out of the page unsaid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nearfar.errors import InputError
from nearfar.reports.results import results_of
from nearfar.reports.run import write_page
from tests.reports.test_run import results

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "metrics that are a number": ({"metrics": 5}, "metrics holds 5"),
    "metrics that are a list": ({"metrics": [0.5]}, "metrics holds a list"),
    "metrics of words": ({"metrics": {"mrr@10": "0.5"}}, "metrics.mrr@10 holds '0.5'"),
    "metrics that are true": ({"metrics": {"mrr@10": True}}, "metrics.mrr@10 holds True"),
    "intervals of words": ({"intervals": {"mrr@10": "0.5 to 0.6"}}, "intervals.mrr@10 holds '0.5 to 0.6'"),
    "bounds of words": ({"intervals": {"mrr@10": {"low": "a", "high": 1}}}, "intervals.mrr@10.low holds 'a'"),
    "intervals that are lists": ({"intervals": {"mrr@10": [0.5, 0.6]}}, "intervals.mrr@10 holds a list"),
    "no difference": ({"difference": None}, "difference holds None"),
    "a difference of numbers": ({"difference": {"bm25": {"mrr@10": 0.1}}}, "difference.bm25.mrr@10 holds 0.1"),
    "a baseline that is a number": ({"baseline": {"bm25": 0.5}}, "baseline.bm25 holds 0.5"),
    "a protocol that is a number": ({"protocol": 5}, "protocol holds 5"),
    "a fusion of lists": ({"fusion": {"bm25": {"mrr@10": [1]}}}, "fusion.bm25.mrr@10 holds a list"),
    "a histogram of words": ({"histogram": {"edges": ["a"]}}, "histogram.edges.0 holds 'a'"),
    "worst that is an object": ({"worst": {"query": "a"}}, "worst holds an object"),
    "samples of words": ({"samples": ["a"]}, "samples.0 holds 'a'"),
    "seconds of words": ({"seconds": "long"}, "seconds holds 'long'"),
    "a warning by itself": ({"warnings": "collapsed"}, "warnings holds 'collapsed'"),
    "a second split of words": ({"unseen": {"metrics": {"map": "good"}}}, "unseen.metrics.map holds 'good'"),
    "a task that is a number": ({"task": 5}, "task holds 5"),
}


def write(folder: Path, content: dict[str, Any]) -> Path:
    (folder / "results.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("kind", WRONG)
def test_a_field_of_the_wrong_type_is_refused_by_its_name(kind: str, tmp_path: Path) -> None:
    change, said = WRONG[kind]
    with pytest.raises(InputError) as error:
        write_page(write(tmp_path, results() | change))
    assert str(error.value).startswith(f"{tmp_path / 'results.json'}: {said}: ")
    assert "evaluate the run again" in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "report.html").exists()


def test_null_numbers_and_what_no_release_knows_are_read(tmp_path: Path) -> None:
    given = results() | {"pairs": None, "novelty": [1, "a"], "settings": {"metrics": {}}}
    given["metrics"]["map"] = None
    given["intervals"]["mrr@10"] = {"low": None, "high": None}
    assert results_of(write(tmp_path, given)) == given
