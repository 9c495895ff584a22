"""Each check by itself, on texts made for it."""

from __future__ import annotations

import random
import sys
from typing import Any

import pytest

from nearfar.audit import boilerplate, diversity, duplicates, lengths, material
from nearfar.audit.findings import CheckResult, Finding
from nearfar.audit.material import Material
from nearfar.data.table import Table
from tests.audit.test_audit import sentence

ENGLISH = "The people of the town had been waiting for a long time before the train came in at last"
GERMAN = "Die Menschen der Stadt hatten schon sehr lange gewartet, bevor der Zug endlich eingefahren ist"


def read(texts: list[Any], **columns: list[Any]) -> Material:
    return material.read_material(
        Table([{"text": text, **{name: cells[i] for name, cells in columns.items()}} for i, text in enumerate(texts)])
    )


def findings(result: CheckResult, level: str = "notice") -> dict[str, Finding]:
    return {finding.check: finding for finding in result.findings if finding.level == level}


def texts(n: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [sentence(i, draw.randint(5, 60)) for i in range(n)]


@pytest.mark.parametrize("cut", [lambda text: text[:200], lambda text: " ".join(text.split()[:30])])
def test_a_cut_is_found(cut: Any) -> None:
    uncut = texts(300)
    finding = findings(lengths.truncated(read([cut(text) for text in uncut])), "problem")["truncated"]
    shorter = [row for row, text in enumerate(uncut) if cut(text) != text]
    assert 0.8 * len(shorter) <= finding.count <= len(shorter)  # a cut may fall on the end of a word, a sentence
    assert "exactly" in finding.what


def test_whole_texts_are_not_called_cut() -> None:
    assert findings(lengths.truncated(read(texts(300))), "problem") == {}
    assert findings(lengths.truncated(read(["short"] * 50)), "problem") == {}
    assert findings(lengths.truncated(read(["a", "b c"])), "problem") == {}
    titles = [f"where in the town is the thing of the number {i:03d} that is not there" for i in range(100)]
    assert findings(lengths.truncated(read([*titles, *(text.rstrip(".") for text in texts(100))])), "problem") == {}


def test_where_nothing_has_an_end_a_cut_is_the_longest_of_all() -> None:
    rows = [text.rstrip(".")[:150] for text in texts(200)]
    assert findings(lengths.truncated(read(rows)), "problem")["truncated"].count > 100


def test_nearly_empty_is_so_beside_longer_ones() -> None:
    long = [sentence(i, 50) for i in range(40)]
    problems = findings(lengths.empty(read([*long, "12-MAR-1987 12-MAR-1987", "- - -"])), "problem")
    assert problems["nearly empty"].count == 2
    assert findings(lengths.empty(read(["find", "ls", "a word"])), "problem") == {}


def test_lengths_are_those_of_numpy() -> None:
    profile = lengths.lengths(read(["a bc", "d", "", "e f g"])).profile["lengths"]["text"]
    assert profile["texts"] == 3
    assert (profile["words"]["least"], profile["words"]["50%"], profile["words"]["most"]) == (1, 2, 3)
    assert profile["characters"]["mean"] == pytest.approx(10 / 3)
    assert sum(profile["histogram"]["counts"]) <= 3


def test_a_licence_header_is_boilerplate() -> None:
    header = "Licensed under the Apache License, Version 2.0 (the License).\n"
    notices = findings(boilerplate.boilerplate(read([header * (i < 30) + text for i, text in enumerate(texts(200))])))
    assert notices["boilerplate"].count == 30
    assert notices["boilerplate"].examples[0]["text"] == header.strip()
    assert notices["shared opening"].count == 30


def test_markup_is_counted_by_texts() -> None:
    rows = [text + "<br /><br />more" * (i % 2) + " a < b && c" for i, text in enumerate(texts(60))]
    finding = findings(boilerplate.boilerplate(read(rows)))["markup"]
    assert (finding.count, finding.of) == (30, 60)
    assert "<br> in 30" in finding.what


def test_copies_are_no_boilerplate() -> None:
    rows = [*texts(50), *["One text of its own that is here often."] * 40]
    assert findings(boilerplate.boilerplate(read(rows))) == {}


def test_a_foreign_text_is_reported() -> None:
    pytest.importorskip("lingua")
    rows = [f"{ENGLISH}, said {sentence(i, 3)}" for i in range(40)]
    rows[5] = rows[17] = GERMAN
    rows[17] += "."
    result = diversity.languages(read(rows))
    notice = findings(result)["languages"]
    assert [example["row"] for example in notice.examples] == [6, 18]
    assert {example["language"] for example in notice.examples} == {"German"}
    assert result.profile["languages"]["text"]["shares"]["English"] == pytest.approx(0.95)


def test_without_the_library_a_notice_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lingua", None)
    result = diversity.languages(read([ENGLISH]))
    assert "nearfar[audit]" in result.findings[0].what


def test_classes_are_counted() -> None:
    result = diversity.classes(read(texts(40), label=["a"] * 20 + ["b"] * 20))
    assert result.profile["classes"]["effective"] == pytest.approx(2)
    assert result.findings[0].level == "fine"
    skewed = diversity.classes(read(texts(40), label=["a"] * 38 + ["b", "c"]))
    assert skewed.profile["classes"]["counts"]["train"] == {"a": 38, "b": 1, "c": 1}
    assert "c 1, b 1" in skewed.findings[0].what


def test_rows_without_a_class_are_told_of() -> None:
    result = diversity.classes(read(texts(40), label=["a"] * 15 + ["b"] * 15 + [None] * 10))
    assert "10 rows have none" in result.findings[0].what
    assert "none" not in diversity.classes(read(texts(20), label=["a"] * 10 + ["b"] * 10)).findings[0].what


def test_several_labels_in_a_cell_count_each() -> None:
    result = diversity.classes(read(texts(8), topics=[["x", "y"], ["x"], ["y"], ["x"]] * 2))
    assert result.profile["classes"]["counts"]["train"] == {"x": 6, "y": 4}


def test_one_text_with_two_labels_is_a_conflict() -> None:
    rows = [*texts(10), "the same", "the same", "again", "again"]
    result = duplicates.conflicts(read(rows, label=["a", "b"] * 5 + ["a", "b", "a", "a"]))
    assert result.findings[0].count == 1
    assert [example["label"] for example in result.findings[0].examples] == ["a", "b"]
