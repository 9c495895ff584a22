"""Likely false negatives, and the page to look at them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar.mining.controls import Controls
from nearfar.mining.mine import mine
from nearfar.mining.search import MiningResult
from nearfar.mining.suspects import Bm25Scorer, Review, review
from nearfar.positives.relations.decisions import Decisions
from nearfar.reports.review import page
from nearfar.text.bm25 import Bm25
from tests.mining.test_mine import Axis, table


class EvenScorer:
    """A scorer that gives every text of even angle 2, others 1."""

    name = "even"

    def __call__(self, queries: Sequence[str], texts: Sequence[str]) -> Any:
        return np.array([1.0 + (float(text.split()[-1]) % 2 == 0) for text in texts])


@pytest.fixture
def hard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MiningResult:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path))
    rows = table(("q 0", "k 10"), ("q 60", "k 60"), ("q 100", "k 6"), ("q 200", "k 13"), ("q 300", "k 12"))
    return mine(Axis(), rows, Controls(negatives=4))


def test_suspects(hard: MiningResult) -> None:
    result = review(hard)
    of_zero = [(s.negative, s.reason) for s in result.suspects if s.query == "q 0"]
    assert of_zero == [("k 6", "above")]
    excess = [s.scores["model"][1] - s.scores["model"][0] for s in result.suspects]
    assert excess == sorted(excess, reverse=True)
    assert result.negatives == 20
    assert result.found == len(result.suspects)


def test_second_scorer_brings_those_just_below(hard: MiningResult) -> None:
    result = review(hard, EvenScorer())
    of_zero = {s.negative: s for s in result.suspects if s.query == "q 0"}
    # 12 lies half a degree of cosine below the answer at 10, and is even; 13 is odd; 60 is too far
    assert {name: s.reason for name, s in of_zero.items()} == {"k 6": "both", "k 12": "both"}
    assert of_zero["k 12"].scores["even"] == (2.0, 2.0)
    reasons = [s.reason for s in result.suspects]
    assert reasons == sorted(reasons, reverse=True)


def test_most_are_kept_and_all_are_counted(hard: MiningResult) -> None:
    every, some = review(hard), review(hard, most=1)
    assert some.found == every.found > 1
    assert some.suspects == every.suspects[:1]
    assert json.loads(json.dumps(every.to_json()))["found"] == every.found


def test_an_empty_review_says_why_in_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path))
    rows = table(("q 0", "k 10"), ("q 60", "k 60"))
    found = review(mine(Axis(), rows, Controls(negatives=1, absolute_margin=0.3)))
    assert (found.found, found.suspects) == (0, [])
    # of q 0 (its answer at 10 degrees) the negative is at 60; of q 60 it is at 10
    scores = [(np.cos(np.radians(10)), np.cos(np.radians(60))), (1.0, np.cos(np.radians(50)))]
    positive, negative = min(scores, key=lambda pair: float(pair[0] - pair[1]))
    assert found.closest == pytest.approx((positive, negative), abs=1e-6)
    said = found.why_none or ""
    assert f"scores {negative:.3f}, {positive - negative:.3f} below its answer's {positive:.3f}" in said
    assert "--absolute-margin" not in said  # it rejected nothing
    assert said in page(found, model="m", data="d", out="r.html").replace("&#39;", "'")
    strict = review(mine(Axis(), rows, Controls(negatives=1, absolute_margin=0.45)))
    assert strict.rejected == {"absolute_margin": 1}
    assert "--absolute-margin kept 1 nearer candidates from being negatives" in (strict.why_none or "")
    none = review(mine(Axis(), rows, Controls(negatives=1, absolute_margin=0.9)))
    assert (none.negatives, none.closest, none.rejected) == (0, None, {"absolute_margin": 2})
    assert "No negative was mined" in (none.why_none or "")


def test_words_score_pairs_as_bm25_ranks_them(hard: MiningResult) -> None:
    texts = hard.keys.texts(np.arange(len(hard.keys)))
    ranking = Bm25(texts).rank(["k 10", "6"], k=3)
    for i, query in enumerate(["k 10", "6"]):
        rows = ranking.rows[i][ranking.rows[i] >= 0]
        scores = Bm25Scorer(hard)([query] * len(rows), [texts[row] for row in rows])
        assert scores.tolist() == ranking.scores[i][: len(rows)].tolist()
    assert Bm25Scorer(hard)(["nothing shared"], texts[:1]).tolist() == [0.0]


class Page(HTMLParser):
    """Collects the tags, and the script's data."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.actions: list[str] = []
        self.data: list[dict[str, str]] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append(tag)
        self.actions += [attributes["data-action"] or ""] if "data-action" in attributes else []
        self._inside = attributes.get("id") == "suspects"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.data = json.loads(data)
            self._inside = False


def test_page(hard: MiningResult, tmp_path: Path) -> None:
    result = review(hard, EvenScorer())
    text = page(result, model="m", data="d", out="r.html")
    read = Page(text)
    assert read.tags.count("article") == len(result.suspects) == len(read.data)
    assert set(read.actions) == {"positive", "drop", "keep"}
    assert not re.search(r"(src|href)=\"?http|url\(http|@import", text)
    # what the page saves is what training reads
    path = tmp_path / "decisions.jsonl"
    path.write_text("\n".join(json.dumps({**row, "action": "drop"}) for row in read.data))
    assert len(Decisions.read(path).dropped[0]) == len(result.suspects)
    assert "None of 20 mined negatives" in page(Review([], 0, 20), model="m", data="d", out="r.html")


def test_prose_is_shown_as_prose(hard: MiningResult) -> None:
    html = page(review(hard), model="m", data="d", out="r.html")
    assert html.count('<p class="text">') == 2 * html.count('<article class="card"') > 0
    assert "<pre>" not in html


def test_texts_are_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path))
    bad = "</script><script>alert(1)</script> <b> 1"
    hard = mine(Axis(), table(("</pre><img src=x onerror=alert(1)> 0", "k 10"), ("q 9", bad)), Controls())
    text = page(review(hard), model="<i>", data="&", out='"><b>')
    read = Page(text)
    assert read.tags.count("script") == 2
    assert "img" not in read.tags and "i" not in read.tags
    assert read.data[0]["negative"] == bad
