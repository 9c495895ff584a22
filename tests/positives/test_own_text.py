"""The document that is a query's own text is not ranked for it, in tables as in BEIR folders."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from rich.console import Console

from nearfar.column import ListColumn
from nearfar.data.table import Table
from nearfar.evaluation.evaluate import evaluate
from nearfar.positives.columns import Columns
from nearfar.reports.console import show_report
from nearfar.tasks import Retrieval
from nearfar.text.same_text import NOT_RANKED, folded, own_documents
from tests.evaluation.models import Words

# Each text is the query of one row and the key of the next. By hand, BM25 finds the partner of all but two: "milk" is
# in two texts, and so is "on", but "can I leave milk on the table" shares "the" with the kettle, too.
MIRRORED = [
    ("the kettle will not switch on", "why does my kettle stay cold"),
    ("how long may milk stand outside", "can I leave milk on the table"),
    ("the train to the coast was late", "our coast train came too late"),
    ("which pump fits a small pond", "what pump do I need for a little pond"),
    ("paint peels off the fence", "the fence loses its paint"),
]


def task(rows: list[dict[str, Any]]) -> Retrieval:
    return Columns(Table(rows)).task("train")


def test_of_mirrored_pairs_no_query_finds_itself() -> None:
    rows = [{"query": q, "key": k} for pair in MIRRORED for q, k in (pair, pair[::-1])]
    mirrored = task(rows)
    assert mirrored.excluded == {i: [i ^ 1] for i in range(10)}
    assert mirrored.relevance == {i: {i: 1} for i in range(10)}
    assert mirrored.notes[NOT_RANKED] == 10
    report = evaluate(Words(), mirrored, baselines=["bm25"], resamples=20)
    assert report.baseline["bm25"]["recall@1"] == 0.8
    assert report.baseline["bm25"]["mrr@10"] == 0.9
    file = io.StringIO()
    show_report(report, Console(file=file, width=100))
    assert "10 queries, 10 documents" in file.getvalue()
    assert "10 documents that are their query, not ranked for it" in file.getvalue()


def test_a_query_in_other_letters_is_itself_and_a_judged_one_is_ranked() -> None:
    rows = [
        {"query": "Caf\u00e9  open?", "key": "yes"},
        {"query": "when", "key": "cafe\u0301 OPEN?"},
        {"query": "same", "key": "Same"},
    ]
    assert task(rows).excluded == {0: [1]}
    assert NOT_RANKED not in task(rows[1:]).notes


def test_cells_of_other_kinds_are_compared_by_content() -> None:
    one, two = np.zeros((2, 2, 3), np.uint8), np.ones((2, 2, 3), np.uint8)
    assert own_documents(ListColumn("q", [one, two]), ListColumn("d", [two, two.copy(), one]), {1: {0: 1}}) == {
        0: [2],
        1: [1],
    }


def test_folded_texts_are_those_that_read_alike() -> None:
    assert folded(" Caf\u00e9\tSTAYS\nopen ") == folded("cafe\u0301 stays  open") == "caf\u00e9 stays open"
    assert folded("a b") != folded("ab")
