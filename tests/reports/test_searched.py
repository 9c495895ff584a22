"""The first table of a judged search: on the terminal and on the page, before all else, and nothing of it is cut."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from nearfar.evaluation.report import Report
from nearfar.reports import console
from nearfar.reports.run import page
from nearfar.reports.searched import searched
from tests.reports.test_run import Elements, results, text

SYSTEMS = {"vectors": 0.286, "bm25": 0.309, "bm25-stems": 0.354}


def judged(value: float = 0.381) -> dict[str, Any]:
    """The JSON of a search's report."""
    return of_search(value).to_json()


def of_search(value: float) -> Report:
    gaps = {
        name: {"value": value - other, "low": value - other - 0.01, "high": value} for name, other in SYSTEMS.items()
    }
    return Report(
        "heldout",
        {"mrr@10": value, "recall@10": 0.6},
        {"mrr@10": {"low": value - 0.02, "high": value + 0.02}},
        {name: {"mrr@10": other, "recall@10": 0.5} for name, other in SYSTEMS.items()},
        {name: {"mrr@10": gap} for name, gap in gaps.items()},
        protocol={"system": "search", "search": {"mode": "hybrid"}, "queries": 1900, "interval": {"confidence": 0.95}},
    )


def test_the_strongest_bm25_comes_first_and_the_vectors_last() -> None:
    found = searched({"heldout": judged(), "unseen": judged(0.35)})
    assert found is not None
    assert found.metric == "mrr@10"
    assert found.labels == ["BM25 with stems", "BM25", "the vectors alone"]
    assert [(row.split, row.value) for row in found.splits] == [("heldout", 0.381), ("unseen", 0.35)]
    assert [gap["outcome"] for _, gap in found.splits[0].others] == ["better", "better", "better"]
    assert found.splits[1].others[0][1]["outcome"] == "undecided"


def test_a_model_that_loses_to_bm25_is_said_to_win_with_it() -> None:
    gap = {"bm25": {"mrr@10": {"value": -0.1, "low": -0.2, "high": -0.05}}}
    alone = Report("heldout", {"mrr@10": 0.2}, {}, {"bm25": {"mrr@10": 0.3}}, gap, search=of_search(0.381))
    assert alone.to_json()["verdict"]["advice"] == "Searched by words and these vectors together it is MRR@10 0.381."


@pytest.mark.parametrize("broken", [{}, {"heldout": {}}, {"heldout": {"metrics": {"alignment": 1.0}}}])
def test_where_nothing_was_judged_there_is_no_table(broken: dict[str, Any]) -> None:
    assert searched(broken) is None


def test_parts_that_are_missing_are_dashes() -> None:
    bare = {"metrics": {"mrr@10": 0.5}, "baseline": {"bm25": {}, "vectors": None}, "difference": {"bm25": 3}}
    found = searched({"heldout": bare, "unseen": {"metrics": {"mrr@10": None}}})
    assert found is not None
    assert [value for value, _ in found.splits[0].others] == [None, None]
    assert found.splits[1].value is None


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_nothing_of_it_is_cut_on_a_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(console, "Console", lambda **_: Console(file=file, width=width, highlight=False))
    values = {"heldout": 0.381, "unseen": 0.35}
    reports = {name: Report(name, {}, {}, search=of_search(value)) for name, value in values.items()}
    console.show_searched(reports)
    shown = file.getvalue()
    assert max(map(len, shown.splitlines())) <= width
    assert "…" not in shown
    if width >= 80:
        first = shown[: shown.index("Better than all 3 baselines")]
        assert "MRR@10" in first
        assert "0.381 [0.361, 0.401]" in first and "0.354" in first and "+0.027 [+0.017, +0.381] better" in first


def test_the_page_begins_with_the_search() -> None:
    of_model = results() | {"search": judged(), "unseen": {"metrics": {"mrr@10": 0.28}, "search": judged(0.35)}}
    html = page(of_model, [])
    Elements(html)
    shown = text(html)
    assert "Better than all 3 baselines: MRR@10 0.381" in shown
    order = [
        "Better than all 3 baselines: MRR@10 0.381",
        "The search",
        "0.354",
        "vectors alone: held-out modules",
        "0.586",
    ]
    places = [shown.index(words) for words in order]
    assert places == sorted(places)
    assert shown.index("Packages never seen in training") < shown.index("Training pairs")
    assert "The search" not in text(page(results(), []))


def test_a_wrong_number_of_a_search_is_named(tmp_path: Any) -> None:
    import json

    from nearfar.errors import InputError
    from nearfar.reports.results import results_of

    (tmp_path / "results.json").write_text(json.dumps(results() | {"search": judged() | {"metrics": {"mrr@10": "no"}}}))
    with pytest.raises(InputError, match=r"heldout\.search\.metrics\.mrr@10 holds 'no'"):
        results_of(tmp_path)
