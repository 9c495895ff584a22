"""What the page of a run says is so: whose numbers, which epoch, which answers are wrong, and what nobody can say."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from nearfar.reports.run import page
from tests.reports.chromium import dumped, title
from tests.reports.test_run import Elements, monitors, results, steps, text

START = {"event": "start", "steps": 30, "pairs": 100, "batch_size": 10}
EVIL = "<script>alert(1)</script>\x1b[31m\u202e" + "w" * 10_000


def projection_map(**more: Any) -> dict[str, Any]:
    points = {"x": [0.1, 0.2, -0.3], "y": [0.0, 0.5, 0.1], "group": [0, 1, 1], "text": ["fox", "goose", "owl"]}
    return {"dim": 384, "of": 900, "shares": [0.071, 0.043], "groups": ["queries", "documents"],
            "pairs": [[0, 1]], **points, **more}  # fmt: skip


# --- one name, one number ---


def test_tiles_and_curves_say_of_which_vectors_they_are() -> None:
    given = results()
    given["protocol"]["model"] = {"space": {"vectors": 1117, "pairs": 630}}
    last = {"event": "evaluate", "step": 9, "metrics": {"effective_rank": given["metrics"]["effective_rank"]}}
    html = page(given, [*steps(9), *monitors(9), last])
    shown = text(html)
    assert (
        "301.7 Directions that are really in use. A fall warns of collapse. Of 1,117 vectors, held-out modules."
        in shown
    )
    assert "0.610 Distance between matching pairs. Lower is better. Of 630 matching pairs, held-out modules." in shown
    assert "Effective rank In training: at most 512 rows of a batch. Held out: the rows of the number above." in shown
    assert "Alignment against uniformity, in training batches" in shown
    given["protocol"]["kind"] = "labels"  # whose positive pairs are of a cell and a training cell
    assert "Of 1,117 vectors, held-out modules and its training cells." in text(page(given, []))
    assert "of the model that was kept" not in shown
    assert "of the model that was kept" in text(
        page(results(), [*monitors(9), {**last, "metrics": {"effective_rank": 9}}])
    )
    # The held-out curve ends in the number of the tile.
    assert "in training from 0.25 to 0.0909; held out from 302 to 302, over step" in html


def test_curves_of_both_kinds_stand_in_one_chart() -> None:
    evaluations = [{"event": "evaluate", "step": i, "metrics": {"alignment": 0.5 + i / 100}} for i in (4, 8)]
    assert "in training from 1 to 0.125; held out from 0.54 to 0.58" in page(results(), [*monitors(9), *evaluations])
    assert "held out from" not in page(results(), monitors(9))


MEASURE = """<script>
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
while (walk.nextNode()) {
  const end = walk.currentNode.data.indexOf("شاطئ.");
  if (end < 0 || walk.currentNode.parentNode.tagName === "SCRIPT") continue;
  const x = [end, end + 4].map((at) => {
    const range = document.createRange();
    range.setStart(walk.currentNode, at); range.setEnd(walk.currentNode, at + 1);
    return range.getBoundingClientRect().x; });
  found.push(x[1] < x[0]);
}
document.title = JSON.stringify(found);
</script>"""


def test_a_text_from_right_to_left_ends_at_its_left(tmp_path: Path) -> None:
    """Its full stop would else stand at its right, where it begins."""
    arabic = "كلب على شاطئ."
    worst = [{"query": arabic, "value": 0.0, "rank": 9, "expected": [arabic], "found": [
        {"text": arabic, "score": 0.5, "relevant": False}]}]  # fmt: skip
    given = {**results(), "worst": worst, "recipe": "data: {name: table}"}
    html = re.sub("<meta http-equiv[^>]*>", "", page(given, []))  # whose policy runs no script
    found = json.loads(title(dumped(html.replace("</body>", f"{MEASURE}</body>"), tmp_path)))
    assert len(found) == 3 and all(found)


def test_the_values_of_each_class_stand_on_the_page_only_where_they_are_whole() -> None:
    whole = {"classes": ["cat", EVIL], "cells": [1200, 3], "values": {"knn@20": [0.25, None]}}
    html = page({**results(), "by_class": whole}, [])
    assert "Class Cells kNN@20 cat 1,200 0.250" in text(html)
    assert "<script>alert(1)" not in html and "\x1b" not in html
    for broken in (5, {}, {"classes": ["a", "b"]}, {**whole, "cells": [1]}, {**whole, "values": {"knn@20": 3}}):
        assert "Class Cells" not in text(page({**results(), "by_class": broken}, []))


# --- wrong answers ---


def test_worst_are_wrong_answers_and_how_many_there_are_is_said() -> None:
    given = results()
    given["protocol"] |= {"queries": 312, "queries with a wrong first document": 57}
    shown = text(page(given, []))
    assert "The worst of the wrong answers on held-out modules 57 of 312 queries found a document first" in shown
    given["worst"] = []
    given["protocol"]["queries with a wrong first document"] = 0
    shown = text(page(given, []))
    assert "No query failed: each of the 312 found a relevant document first." in shown
    assert "worst of" not in shown
    del given["protocol"]["queries with a wrong first document"]
    assert "No query failed" not in text(page(given, []))


# --- the loss ---


def test_epochs_have_borders_and_are_counted() -> None:
    html = page({}, [START, *steps(30)])
    places = re.findall(r'<line x1="([\d.]+)%" x2="[\d.]+%" y2="100%" class="border">', html)
    assert [float(place) for place in places] == pytest.approx([100 / 3, 200 / 3], abs=0.01)  # not at the end
    assert re.findall(r'class="border">([^<]+)<', html) == ["epoch 2", "3"]
    assert "Epochs 3 Steps 30" in text(html)
    assert "Upright lines: a new epoch begins." in html
    assert 'class="border"' not in page({}, [START, *steps(9)])
    assert "Epochs 0.9" in text(page({}, [START, *steps(9)]))


def test_many_epochs_have_few_borders() -> None:
    html = page({}, [START | {"steps": 1000}, *steps(1000)])
    assert re.findall(r'class="border">([^<]+)<', html) == ["epoch 11", *map(str, range(21, 100, 10))]


@pytest.mark.parametrize(
    ("batch", "sentence"),
    [
        (
            10,
            "Both are of batches of 10; the held-out ones are always the same 40 examples, without dropout and queue.",
        ),
        (8, "Held-out batches are of 8, those of training of 10: with fewer negatives the loss is lower, so compare"),
    ],
)
def test_the_held_out_loss_says_whether_it_can_be_compared(batch: int, sentence: str) -> None:
    held = [
        {"event": "heldout", "step": i, "heldout_loss": 2.0, "of": {"examples": 40, "batch": batch}} for i in (1, 9)
    ]
    last = {"event": "evaluate", "step": 30, "metrics": {"heldout_loss": 1.5}}
    html = page({}, [START, *steps(30), *held, last])
    assert sentence in text(html)
    assert "held out from 2 to 1.5" in html  # also the evaluation's
    assert "each step, in training its moving average held out" in text(html)


def test_hit_rates_of_held_out_pairs_are_drawn() -> None:
    rates = {"hit_rate@1": 0.25, "hit_rate@5": 0.5, "hit_rate@10": 0.75}
    first = {"event": "heldout", "step": 1, "heldout_loss": 2.0, **rates, "of": {"examples": 40, "batch": 20}}
    later = {**first, "step": 30, **dict.fromkeys(rates, 0.0)}
    html = page({}, [START, *steps(30), first, later])
    assert "at 10 from 0.75 to 0; at 5 from 0.5 to 0; at 1 from 0.25 to 0, over step" in html
    assert "Share of held-out queries with a positive among the best 10, 5 and 1 keys of 20, ties" in text(html)
    without = {name: value for name, value in later.items() if name != "hit_rate@1"}
    for events in ([first], [{**without, "step": 9}, without]):
        assert "Hit rate of held-out pairs" not in page({}, [START, *steps(30), *events])


# --- the verdict ---


def test_the_verdict_is_the_first_sentence_with_its_advice() -> None:
    given = results()
    given["protocol"] |= {"documents": 409, "documents seen in training": 409}
    html = page(given, [])
    sentence = (
        "Better than BM25: MRR@10 0.586 [0.570, 0.600], 0.081 [0.065, 0.097] above it, among 409 documents, all of "
        "which were seen in training."
    )
    advice = "It has seen every document in training: judge it on new ones, too, before you rely on it there."
    assert f'<h1 class="verdict better">{sentence} <span>{advice}</span></h1>' in html
    assert f"{sentence} {advice}" in html[: html.index("<body>")]


def test_a_baseline_has_one_name_on_the_page_and_in_the_verdict() -> None:
    given = results()
    given["baseline"] = {"start": {"mrr@10": 0.6}, **given["baseline"]}
    given["protocol"]["baselines"] = {"start": {"name": "minilm", "label": "minilm before training"}}
    html = page(given, [])
    assert re.findall(r'scope="col">([^<]+)<', html)[2::2][:2] == ["minilm before training", "BM25"]
    assert "Difference to minilm before training" in html
    assert ">start<" not in html[: html.index("Protocol")]


def test_a_difference_without_a_value_says_nothing_and_one_without_an_interval_too_little() -> None:
    given = results(None)
    given["baseline"]["bm25"] = {"mrr@10": 0.5}  # none of recall@1
    html = page(given, [])
    assert html.count('class="unknown" data-label="Difference"') == 1
    assert html.count('class="missing" data-label="Difference"') == 1
    assert html.count("<small>too few to say</small>") == 1


def test_what_the_verdict_compares_with_stands_first_and_all_have_their_names() -> None:
    given = results()
    for name in ("runs/a/model", "runs/b/model", "old/b/model", "runs/other/model"):
        given["baseline"][name] = {"mrr@10": 0.55 if name == "runs/b/model" else 0.4}
        given["difference"][name] = {"mrr@10": {"value": 0.1, "low": 0.05, "high": 0.2}}
    html = page(given, [])
    everyone = html[html.index("All 5 baselines") :]
    head = everyone[everyone.index("<thead") : everyone.index("</thead>")]
    columns = re.findall(r'scope="col">([^<]+)<', head)
    assert columns[2:4] == ["runs/b/model", "Difference to runs/b/model"]
    assert columns[4::2] == ["BM25", "a", "old/b/model", "other"]
    assert "Difference to runs/b/model" in html[html.index("<svg") :]


def test_sizes_stand_at_the_top() -> None:
    given = results()
    given["protocol"] |= {"documents": 409, "documents seen in training": 0}
    html = page(given, [])
    assert "Queries 1,874 Documents 409 Documents seen in training 0" in text(html)
    assert html.index("Documents seen in training") < html.index("<table")
    pairs = {"metrics": {"spearman": 0.78}, "protocol": {"pairs": 1379, "dev pairs": 1500}}
    assert "Pairs 1,379 Dev pairs 1,500" in text(page(pairs, []))


@pytest.mark.parametrize("bounds", [{"low": None, "high": None}, {"low": float("nan"), "high": float("nan")}, {}])
def test_an_interval_that_nobody_can_give_is_said_in_words(bounds: dict[str, Any]) -> None:
    given = results()
    given["metrics"] = {"mrr@10": 0.6, "count": 7.0}
    given["intervals"] = {"mrr@10": bounds}
    given["difference"]["bm25"]["mrr@10"] = {"value": 0.1, **bounds}
    given["protocol"]["intervals"] = "12 queries are too few for an interval."
    shown = text(page(given, []))
    assert "0.600 too few to say 0.505 +0.100 too few to say" in shown
    assert "7.000 no interval" in shown  # a plain number has none by its nature
    assert "No intervals: 12 queries are too few for an interval." in shown


# --- the map, the sample searches, the use ---


def test_the_map_says_what_it_is_and_cannot_show() -> None:
    html = page(results() | {"projection_map": projection_map()}, [])
    shown = text(html)
    assert (
        "Principal component analysis of 3 of 900 vectors. The two axes are two of 384 dimensions and hold 11 %"
        in shown
    )
    assert "(7.1 % across, 4.3 % up), so distances on paper are not distances in the space." in shown
    assert "A line joins a positive pair." in shown
    assert "queries (1) documents (2)" in shown
    assert re.findall(r'class="dot point (g\d)" data-tip="([^"]+)"', html) == [
        ("g0", "queries: fox"), ("g1", "documents: goose"), ("g1", "documents: owl"),
    ]  # fmt: skip
    assert html.count('class="line join"') == 1


def test_many_classes_have_eight_colours_and_the_rest_is_grey() -> None:
    groups = [*range(10), *range(9), *range(8)]
    points = {"x": list(range(27)), "y": list(range(27)), "group": groups, "text": ["t"] * 27, "pairs": []}
    html = page(results() | {"projection_map": projection_map(groups=[f"class {i}" for i in range(10)], **points)}, [])
    assert "class 7 (3) 2 more groups (3)" in text(html)
    assert html.count('class="dot point rest"') == 3
    assert "A line joins" not in html


@pytest.mark.parametrize(
    "broken", [{"x": [1]}, {"shares": [0.5]}, {"group": [0, 1, 7]}, {"y": [0, None, 1]}, {"x": "abc"}, {"shares": None}]
)
def test_half_a_map_is_none(broken: dict[str, Any]) -> None:
    html = page(results() | {"projection_map": projection_map(**broken)}, [])
    assert "Where the vectors lie" not in html
    assert "Where the vectors lie" in page(
        results() | {"projection_map": projection_map(pairs=[[0], [0, 99], "x", [True, 1]])}, []
    )


def test_sample_searches_are_shown_with_bm25_beside() -> None:
    found = [
        {"text": "def fold", "score": 0.71, "relevant": False},
        {"text": "def crease", "score": 0.5, "relevant": True},
    ]
    sample = {"query": "Fold it", "rank": 2, "found": found, "others": {"bm25": found[1] | {"score": 9.0}}}
    given = results() | {"recipe": "", "samples": [sample, sample | {"rank": None, "others": {"bm25": None}}]}
    shown = text(page(given, []))
    assert "2 sample searches on held-out data Drawn by the seed, not picked for their success." in shown
    assert (
        "Fold it first right answer at rank 2 1 def fold 0.710 2 def crease right 0.500 BM25 def crease right" in shown
    )
    assert "right answer not found" in shown
    assert "BM25 nothing" in shown


def test_lines_of_use_are_shown_as_given() -> None:
    html = page(results(), [], [("In a shell", "nearfar search 'a b' <docs> \"x\"")])
    assert "<dt>In a shell</dt>" in html
    assert "nearfar search &#39;a b&#39; &lt;docs&gt; &#34;x&#34;" in html
    assert "How to use it" not in page(results(), [])


# --- the form ---


def test_each_cell_of_a_narrow_table_has_its_column_s_name() -> None:
    html = page(results(), [])
    body = html[html.index("<tbody") : html.index("</tbody>")]
    cells = re.findall(r"<td ([^>]*)>", body)
    assert cells
    assert all("data-label=" in cell and 'role="cell"' in cell for cell in cells)
    assert re.findall(r'data-label="([^"]+)"', body)[:3] == ["This model", "BM25", "Difference"]
    assert "content: attr(data-label)" in html


def test_no_number_on_the_page_has_an_exponent() -> None:
    given = results()
    given["metrics"] |= {"recall@10": 9e-05, "random_cosine": -3e-7}
    given["difference"]["bm25"]["mrr@10"] = {"value": 2e-5, "low": -4e-6, "high": 5e-05}
    given["protocol"] |= {"rate": 1e-05, "large": 1e22}
    events = [{"event": "step", "step": i, "loss": 1e-7 * i} for i in range(9)]
    html = page(given, [*events, *monitors(5)])
    assert "0.00009" in html
    visible = text(html) + " ".join(re.findall(r"<desc>.*?</desc>|data-tip=\"[^\"]*\"", html))
    assert not re.search(r"\de[-+\u2212]?\d", visible), re.findall(r".{20}\de[-+\u2212]?\d.{5}", visible)


def test_hostile_results_stay_text_and_the_page_small() -> None:
    given = results()
    for i in range(40):
        given["baseline"][f"{i}{EVIL}"] = {"mrr@10": 0.1}
        given["difference"][f"{i}{EVIL}"] = {"mrr@10": {"value": 0.1, "low": 0.05, "high": 0.2}}
    found = [{"text": EVIL, "score": EVIL, "relevant": True}] * 9
    given["samples"] = [{"query": EVIL, "rank": EVIL, "found": found, "others": {EVIL: found[0]}}] * 9
    given["projection_map"] = projection_map(text=[EVIL] * 3, groups=[EVIL, EVIL])
    given["protocol"] |= {"intervals": EVIL, "queries": EVIL}
    html = page(given, [START, *steps(30)], [(EVIL, EVIL)] * 3)
    elements = Elements(html)
    assert elements.open == []
    assert [tag for tag, _ in elements.found].count("script") == 1
    assert "\x1b" not in html and "\u202e" not in html
    assert "w" * 2100 not in html
    assert len(html) < 400_000
    first, everyone = html.split("All 41 baselines")  # three in columns, and all of them as cards
    assert 'class="scroll columns3"' in first and 'class="scroll cards"' in everyone
    assert (first.count('class="better" data-label='), everyone.count('class="better" data-label=')) == (
        3,
        41 + 2,
    )  # and two of the fusion


@pytest.mark.parametrize("key", ["verdict", "samples", "projection_map", "worst", "protocol", "intervals", "warnings"])
@pytest.mark.parametrize("value", [None, 3, "x", [], {}, [3], {"x": 3}])
def test_parts_of_a_foreign_shape_are_left_out(key: str, value: Any) -> None:
    assert (
        Elements(page(results() | {"projection_map": projection_map()} | {key: value}, [START, *steps(3)])).open == []
    )
