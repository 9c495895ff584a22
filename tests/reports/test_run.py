"""The page of a run: sentences that the intervals allow, missing and foreign data, and that it loads nothing."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from nearfar.errors import InputError
from nearfar.reports import charts
from nearfar.reports.numbers import number
from nearfar.reports.run import page, write_page

EDGES = [-1 + i / 20 for i in range(41)]


def results(low: float | None = 0.065, high: float | None = 0.097, value: float = 0.081) -> dict[str, Any]:
    return {
        "task": "heldout",
        "metrics": {"mrr@10": 0.505 + value, "recall@1": 0.4, "alignment": 0.61, "effective_rank": 301.7},
        "intervals": {"mrr@10": {"low": 0.57, "high": 0.6}},
        "baseline": {"bm25": {"mrr@10": 0.505, "recall@1": 0.35}},
        "difference": {"bm25": {"mrr@10": {"value": value, "low": low, "high": high}}},
        "fusion": {"bm25": {"mrr@10": 0.61}},
        "fusion_difference": {
            "bm25": {"mrr@10": {"value": 0.105, "low": 0.09, "high": 0.12}},
            "model": {"mrr@10": {"value": 0.024, "low": 0.01, "high": 0.04}},
        },
        "protocol": {"queries": 1874, "bootstrap": {"unit": "module", "confidence": 0.95}},
        "histogram": {"edges": EDGES, "positive": [i % 7 for i in range(40)], "random": [i % 5 for i in range(40)]},
        "worst": [
            {
                "query": "Fold the map.",
                "value": 0.02,
                "rank": 412,
                "expected": ["def fold(m):\n    return m"],
                "found": [
                    {"text": "def tear(m):\n    del m", "score": 0.7, "relevant": False},
                    {"text": "def crease(m):\n    return m", "score": 0.6, "relevant": True},
                ],
            }
        ],
        "recipe": "data: {name: python_packages}\nencoder: {name: static}",
        "run": "runs/first",
        "pairs": 182311,
        "train_pairs_per_second": 51234.8,
        "seconds": 187.3,
    }


def steps(n: int) -> list[dict[str, Any]]:
    return [{"event": "step", "step": i, "loss": 1 / i + i % 7 / 100} for i in range(1, n + 1)]


def monitors(n: int) -> list[dict[str, Any]]:
    keys = ("alignment", "uniformity", "random_cosine", "effective_rank")
    return [{"event": "monitor", "step": i, **{key: 1 / (i + j) for j, key in enumerate(keys)}} for i in range(1, n)]


def text(html: str) -> str:
    """What a reader reads: without style, script and tags, with single spaces."""
    shown = re.sub(r"<(style|script|title|desc)[ >].*?</\1>", " ", html, flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", shown).split())


class Elements(HTMLParser):
    """Collects the elements, and that each is closed in its turn."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} closes something else"


def test_the_page_holds_every_part_in_order() -> None:
    html = page({**results(), "unseen": results(-0.01, 0.02, 0.003)}, [*steps(30), *monitors(9)])
    elements = Elements(html)
    assert elements.open == []
    tags = [tag for tag, _ in elements.found]
    assert tags.count("h1") == 1
    # Two forests, two histograms, the loss, alignment against uniformity, effective rank and random cosine.
    assert sum(tag == "svg" and attributes.get("class") == "plot" for tag, attributes in elements.found) == 8
    assert html.count("<desc>") == 8
    order = [
        "<h1",
        'class="facts"',
        "<table",
        "Another test",
        "How it got there",
        "Fold the map.",
        "Protocol",
        "Recipe",
    ]
    assert sorted(order, key=html.index) == order
    shown = text(html)
    for words in (
        "182,311",
        "51,235",
        "3 min 7 s",
        "right answer at rank 412",
        "+0.105 [+0.090, +0.120]",
        "module",
        "301.7",
    ):
        assert words in shown, words


@pytest.mark.parametrize(
    ("low", "high", "value", "sentence", "outcome"),
    [
        (
            0.065,
            0.097,
            0.081,
            "Better than BM25: MRR@10 0.586 [0.570, 0.600], 0.081 [0.065, 0.097] above it.",
            "better",
        ),
        (-0.05, -0.01, -0.03, "Worse than BM25: MRR@10 0.475 [0.570, 0.600], 0.030 [0.010, 0.050] below it.", "worse"),
        (
            -0.01,
            0.016,
            0.003,
            "Cannot be told from BM25: MRR@10 0.508 [0.570, 0.600], a difference of +0.003 ",
            "undecided",
        ),
        (
            None,
            0.016,
            0.003,
            "Nothing can be said: there is no interval of the difference. On these: MRR@10 0.508 ",
            "unknown",
        ),
    ],
)
def test_the_page_shows_the_verdict(low: float | None, high: float, value: float, sentence: str, outcome: str) -> None:
    html = page(results(low, high, value), [])
    assert f'<h1 class="verdict {outcome}">{sentence}' in html
    assert sentence in html[: html.index("<body>")]  # also for those who only see a preview


def test_the_second_split_has_a_verdict_of_its_own() -> None:
    shown = text(page({**results(), "unseen": results(-0.04, -0.01, -0.02)}, []))
    assert "Another test: packages never seen in training Worse than BM25: MRR@10 0.485" in shown
    assert "Better than BM25: MRR@10 0.586" in shown


def test_a_loss_judges_nothing_and_is_shown() -> None:
    shown = text(page({"metrics": {"heldout_loss": 2.25}}, []))
    assert "Nothing was measured that judges a model." in shown
    assert "Held-out loss 2.250" in shown


@pytest.mark.parametrize("missing", [None, *results()])
def test_whatever_is_missing_or_null_the_page_stands(missing: str | None) -> None:
    given = {} if missing is None else {key: value for key, value in results().items() if key != missing}
    for variant in (given, given | ({missing: None} if missing else {"unseen": None})):
        assert Elements(page(variant, [])).open == []


def test_a_run_without_evaluation_says_so() -> None:
    for given in ({}, {"task": "heldout", "metrics": {}}):
        assert "Nothing was measured that judges a model." in text(page(given, []))


def test_null_and_nan_are_dashes_never_numbers() -> None:
    nan = float("nan")
    given = results(nan, 0.1) | {"seconds": nan, "pairs": None, "protocol": {"a": nan, "b": None}}
    given["metrics"] |= {"ndcg@10": nan, "map": None, "recall@10": float("inf"), "uniformity": nan}
    given["histogram"]["positive"][3] = None
    events: list[dict[str, Any]] = [
        {"event": "step", "step": 1, "loss": 2.0},
        {"event": "step", "step": 2, "loss": nan},
        {"event": "step", "step": 3, "loss": None},
        {"event": "step", "step": 4, "loss": 1.0},
        *[
            {"event": "monitor", "step": i, "alignment": nan, "uniformity": -1.0, "effective_rank": None}
            for i in range(3)
        ],
    ]
    html = page(given, events)
    assert not re.search(r"\b(nan|none|inf)\b", text(html), flags=re.I)
    assert not re.search(r"[\"' ](nan|inf)[\"' ]", html, flags=re.I)
    assert "The loss was not a number at 2 steps, first at step 2." in text(html)


def test_the_worst_queries_say_by_what_they_are_the_worst() -> None:
    given = results()
    given["protocol"]["worst"] = "lowest hits@3 first, then deepest first relevant document"
    assert "In order: lowest hits@3 first, then deepest first relevant document." in text(page(given, []))
    del given["protocol"]["worst"]  # as other releases wrote it
    assert "In order:" not in text(page(given, []))


def test_numbers_show_what_they_are() -> None:
    assert [number(value) for value in (None, 0.0, 0.5864, -0.0004, 1e-7, 301.66, 51234.8)] == [
        "\u2013", "0.000", "0.586", "\u22120.0004", "< 0.00001", "301.7", "51,235",
    ]  # fmt: skip
    assert [number(value, True) for value in (0.08, -0.08, 0.0)] == ["+0.080", "\u22120.080", "0.000"]


def test_foreign_text_is_never_markup() -> None:
    evil = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>\n    </pre>"
    given = results()
    given["worst"][0] |= {
        "query": evil,
        "expected": [evil],
        "found": [{"text": evil, "score": 0.5, "relevant": True}],
    }
    given |= {"task": evil, "recipe": evil, "run": evil, "protocol": {evil: [evil, {evil: evil}]}}
    given["metrics"][evil] = 0.5
    given["baseline"][evil] = {"mrr@10": 0.1, evil: 0.1}
    given["difference"][evil] = {evil: {"value": 0.1, "low": 0.05, "high": 0.2}}
    events: list[dict[str, Any]] = [{"event": "warning", "step": 3, "message": evil}, {"event": "start", "time": evil}]
    tags = [tag for tag, _ in Elements(page(given, events)).found]
    assert tags.count("script") == 1
    assert "img" not in tags


def test_the_page_loads_nothing_and_lets_nothing_load() -> None:
    elements = Elements(page(results(), [*steps(30), *monitors(9)])).found
    loads = [value for _, attributes in elements for key, value in attributes.items() if key in ("src", "href")]
    assert loads == ["data:,"]
    policy = next(a["content"] for tag, a in elements if tag == "meta" and "http-equiv" in a)
    assert policy is not None and policy.startswith("default-src 'none'")
    assert not any(key.startswith("on") or key == "style" for _, attributes in elements for key in attributes)


@pytest.mark.parametrize(
    ("metric", "width"), [("mrr@10", ""), ("zero_shot_macro_f1", "wide-names"), ("x" * 30, "widest-names")]
)
def test_a_chart_has_a_margin_for_its_names(metric: str, width: str) -> None:
    assert charts.width_of_names([("mrr@10", 0.1, 0.0, 0.2, ""), (metric, 0.1, 0.0, 0.2, "")]) == width
    css = (Path(charts.__file__).parent / "templates" / "page.css").read_text(encoding="utf-8")
    assert not width or f".frame.forest.{width} {{" in css


def test_warnings_stand_above_the_verdict() -> None:
    many = [{"event": "warning", "step": i, "message": f"collapse {i}"} for i in range(1, 10)]
    html = page(results(), [*many, *many])  # a resumed run writes it again
    assert html.index("collapse 1") < html.index("<h1")
    assert html.count("collapse 1") == 1
    assert "And 3 more in events.jsonl." in html
    assert "the space is collapsing" in page({"warnings": ["the space is collapsing"]}, [])


def test_a_long_run_makes_a_small_page_and_keeps_its_spike() -> None:
    events = [*steps(50_000), *monitors(5000)]
    events[30_000]["loss"] = 77.0
    html = page({**results(), "unseen": results()}, events)
    assert len(html.encode()) < 400_000
    places = re.search(r'd="M([\d. ]+)" class="line faint"', html)
    assert places is not None and 300 <= len(places[1].split()) / 2 <= 420
    assert ">80<" in html  # the axis reaches the spike


def test_long_texts_are_cut() -> None:
    given = results()
    given["worst"] = [given["worst"][0] | {"query": "q" * 10**6, "expected": ["e" * 10**6] * 50}] * 50
    assert len(page(given, [])) < 200_000


def test_of_a_repeated_step_the_later_line_wins() -> None:
    events = [*steps(10), {"event": "start", "steps": 12}, {"event": "step", "step": 5, "loss": 40.0}]
    html = page({}, [{"event": "start", "steps": 12, "pairs": 64}, *events, {"event": "other"}])
    assert "Not finished: step 10 of 12" in text(html)
    assert ">40<" in html  # the axis reaches the later value
    assert "Not finished" not in page({}, [*events, {"event": "end"}])


def test_the_held_out_loss_stands_beside_the_training_loss() -> None:
    evaluations = [
        {"event": "evaluate", "step": step, "metrics": {"heldout_loss": 1.5 + step / 100}} for step in (10, 20)
    ]
    assert "held out from 1.6 to 1.7" in page(results(), [*steps(20), *evaluations])
    assert "held out from 1.6 to 1.6" in page(results(), [*steps(20), *evaluations[:1]])  # a dot
    assert "held out" not in page(results(), steps(20))


def test_a_folder_becomes_a_page(tmp_path: Path) -> None:
    given = {key: value for key, value in results().items() if key not in ("recipe", "run")}
    (tmp_path / "results.json").write_text(json.dumps(given), "utf-8")
    (tmp_path / "recipe.yaml").write_text("data: {name: python_packages}\n", "utf-8")
    lines = [*map(json.dumps, steps(20)), "[1]", "", '{"event": "step", "step": 21, "lo']
    (tmp_path / "events.jsonl").write_bytes("\n".join(lines).encode() + b"\xff")
    written = write_page(tmp_path)
    assert written == tmp_path / "report.html"
    shown = text(written.read_text("utf-8"))
    assert "Better than BM25: MRR@10 0.586" in shown
    assert tmp_path.name in shown
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "events.jsonl",
        "recipe.yaml",
        "report.html",
        "results.json",
    ]


@pytest.mark.parametrize("name", ["events.jsonl", "recipe.yaml"])
def test_one_file_of_a_run_is_enough(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    assert "Nothing was measured that judges a model." in text(write_page(tmp_path).read_text("utf-8"))


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no results\.json, recipe\.yaml or events\.jsonl"):
        write_page(tmp_path / "nowhere")
    (tmp_path / "results.json").write_text("{half")
    with pytest.raises(InputError, match=r"results\.json: not a JSON object"):
        write_page(tmp_path)


@pytest.mark.parametrize(
    "values", [[1.0], [0.0, 0.0], [5.0, 5.0], [-3.0, 1e-12], [1e5, 1e5 + 1], [0.0, 1e-320], [-1e99, 1e99]]
)
def test_axes_hold_their_values_and_count_few_ticks(values: list[float]) -> None:
    for whole in (False, True):
        axis = charts.Axis.over(values, whole=whole)
        assert all(-1e-6 <= axis.at(value) <= 1 + 1e-6 for value in values)
        assert 1 <= len(axis.ticks()) <= 12
        assert len({text for _, text in axis.ticks()}) == len(axis.ticks())


def test_smoothing_keeps_a_straight_line_straight() -> None:
    line = [(float(i), 2.0 * i) for i in range(1000)]
    assert all(y == pytest.approx(2 * x) for x, y in charts.smooth(line))
    assert len(charts.smooth(line)) == 200
