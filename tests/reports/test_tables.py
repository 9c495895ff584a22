"""A report on terminals of several widths: the verdict stands first, and nothing of it or of the tables is cut."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from nearfar.evaluation.report import Report
from nearfar.reports.console import show_report

METRICS = ("mrr@10", "ndcg@10", "recall@100")
PEERS = ("start", "bm25", "bm25-stems", "runs/a-long-name/model")


def report(baselines: int, fused: int = 0) -> Report:
    names = PEERS[4 - baselines :] if baselines < 4 else PEERS
    gaps = {
        name: {metric: {"value": -0.1 - i, "low": -0.2 - i, "high": -0.05} for metric in METRICS}
        for i, name in enumerate(names)
    }
    return Report(
        "faq.jsonl, split test",
        {**dict.fromkeys(METRICS, 0.612), "effective_rank": 98.4},
        {metric: {"low": 0.555, "high": 0.666} for metric in METRICS},
        {name: dict.fromkeys(METRICS, 0.777) for name in names},
        gaps,
        {name: dict.fromkeys(METRICS, 0.801) for name in names[len(names) - fused :]},
        protocol={
            "queries": 312,
            "documents": 1204,
            "documents seen in training": 963,
            "clusters": 312,
            "interval": {"confidence": 0.95},
            "baselines": {"start": {"name": "minilm", "label": "minilm before training"}},
        },
    )


def shown(printed: Report, width: int) -> str:
    file = io.StringIO()
    show_report(printed, Console(file=file, width=width, highlight=False))
    return file.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize(("baselines", "fused"), [(0, 0), (1, 1), (3, 3), (4, 2)])
def test_nothing_is_cut(width: int, baselines: int, fused: int) -> None:
    text = shown(report(baselines, fused), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    words = " ".join(text.split())
    assert words.startswith("faq.jsonl, split test: 312 queries, 1,204 documents (963 seen in training)")
    if width >= 60:  # below that, cells take several lines
        assert words.count("0.612 [0.555, 0.666]") == len(METRICS) + 1  # and in the verdict
        assert text.count("] worse") == baselines * len(METRICS)
        assert text.count("0.801") == fused * len(METRICS)
        for i in range(baselines):
            assert text.count(f"{-0.1 - i:+.3f} [{-0.2 - i:+.3f}, -0.050] worse") == len(METRICS)


def test_a_wide_terminal_has_one_table_and_a_narrow_one_a_table_for_each_baseline() -> None:
    assert shown(report(3), 200).count("metric ") == 1
    narrow = shown(report(3), 60)
    assert narrow.count("metric ") == 4
    # What a system has no value of takes no line in its table.
    assert narrow.count("effective_rank") == 1
    assert "other" not in narrow


def test_every_baseline_has_its_name() -> None:
    lines = shown(report(4), 80).splitlines()
    headers = [lines[i] for i, line in enumerate(lines) if line.startswith("metric ")]
    assert len(headers) == 4
    above = " ".join(" ".join(lines).split())
    for word in ("minilm", "before", "training", "BM25", "stems", "runs/a-", "name/model"):
        assert word in above, word
    assert "long-" in above


def test_why_there_are_no_intervals_is_said() -> None:
    protocol: dict[str, Any] = {"queries": 9, "clusters": 9, "interval": {"confidence": 0.95}}
    few = Report("few", {"mrr@10": 1.0}, {}, {"bm25": {"mrr@10": 0.5}}, protocol=protocol)
    text = shown(few, 80)
    assert text.splitlines()[0] == "few: 9 queries"
    assert text.splitlines()[1].startswith("Nothing can be said: only 9 independent queries.")
    assert "95%" not in text
    few.protocol["intervals"] = "fewer than 15 independent clusters (9)"
    assert "\nno intervals: fewer than 15 independent clusters (9)\n" in shown(few, 80)
