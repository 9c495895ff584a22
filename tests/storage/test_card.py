"""The model card says what the page says: the verdict, the sizes, every baseline by its name."""

from __future__ import annotations

from typing import Any

from nearfar.evaluation.report import Report
from nearfar.storage.card import card

GAP = {"value": -0.021, "low": -0.034, "high": -0.008}


def written(**changes: Any) -> str:
    report = Report(
        "heldout",
        {"mrr@10": 0.713},
        {"mrr@10": {"low": 0.69, "high": 0.735}},
        {"start": {"mrr@10": 0.734}, "bm25": {"mrr@10": 0.7}},
        {"start": {"mrr@10": GAP}, "bm25": {"mrr@10": {"value": 0.013, "low": 0.002, "high": 0.02}}},
        protocol={
            "queries": 312,
            "documents": 1204,
            "baselines": {"start": {"name": "minilm", "label": "minilm before training"}},
        },
    )
    return card(8, "f", {"reports": {"heldout": {**report.to_json(), **changes}}}, [], {"query": (), "key": ()})


def test_the_verdict_the_sizes_and_every_baseline() -> None:
    text = written()
    verdict = (
        "## Evaluation: heldout\n\nTraining made it worse: MRR@10 0.713 [0.690, 0.735], 0.021 [0.008, 0.034] below "
        "the model it began from (minilm). Try a smaller training.learning_rate, "
    )
    assert verdict in text
    assert "\n\n312 queries, 1,204 documents\n\n| metric | model | minilm before training | BM25 |" in text
    assert (
        "| mrr@10 | 0.713 [0.690, 0.735] | 0.734 | 0.700 | -0.021 [-0.034, -0.008] | +0.013 [+0.002, +0.020] |" in text
    )


def test_what_the_intervals_are_is_said_where_there_are_any() -> None:
    about = {"interval": {"confidence": 0.95, "method": "paired bootstrap of whole clusters"}}
    assert "\n\n[low, high]: 95% intervals, by a paired bootstrap of whole clusters.\n" in written(protocol=about)
    none = {"intervals": {"mrr@10": {"low": None, "high": None}}}
    text = written(**none, protocol={**about, "intervals": "fewer than 15 independent clusters (9)"})
    assert "\n\nNo intervals: fewer than 15 independent clusters (9).\n" in text
    assert "by a paired bootstrap" not in text
    assert "| mrr@10 | 0.713 | 0.734 |" in text


def test_a_name_from_data_is_no_markup() -> None:
    hostile = "<img src=x>\x1b[31m\u202e"
    text = card(
        8, "f", {"reports": {hostile: {"metrics": {"mrr@10": 0.5}}}, "data": {hostile: "```"}}, [], {"query": ()}
    )
    assert "## Evaluation: \\<img src=x\\>\\\\u001b[31m\\\\u202e" in text
    assert "\x1b" not in text and "\u202e" not in text and '"```"' not in text


def test_a_baseline_named_by_data_is_no_markup_anywhere() -> None:
    name = "<script>|[a](j:x)![b](c)`*\x1b\n# forged\n---\nlicense: mit"
    report = Report(
        "heldout", {"mrr@10": 0.7}, {}, {name: {"mrr@10": 0.6}}, {}, protocol={"queries": 20, "intervals": name}
    )
    text = card(8, "f", {"reports": {name: report.to_json()}, "data": {name: name}}, [], {"query": ()})
    prose = text.split("```json")[0]
    assert "\n# forged" not in text and "\nlicense" not in text and "\x1b" not in text
    assert prose.count("\\<script\\>\\|[a]\\(j:x)\\![b]\\(c)\\`\\*") >= 4
    assert prose.count("<script>") == 0
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in table} == {5}
