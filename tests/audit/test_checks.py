"""Each check by itself, on texts made for it."""

from __future__ import annotations

import random
import sys
from typing import Any

import pytest

from nearfar.audit import boilerplate, diversity, duplicates, lengths, material
from nearfar.audit.findings import Finding, Found
from nearfar.audit.material import Material
from nearfar.data.table import Table
from tests.audit.test_audit import sentence

ENGLISH = "The people of the town had been waiting for a long time before the train came in at last"
GERMAN = "Die Menschen der Stadt hatten schon sehr lange gewartet, bevor der Zug endlich eingefahren ist"


def read(texts: list[Any], **columns: list[Any]) -> Material:
    return material.read_material(
        Table([{"text": text, **{name: cells[i] for name, cells in columns.items()}} for i, text in enumerate(texts)])
    )


def findings(found: Found, level: str = "notice") -> dict[str, Finding]:
    return {finding.check: finding for finding in found.findings if finding.level == level}


def texts(n: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [sentence(i, draw.randint(5, 60)) for i in range(n)]


@pytest.mark.parametrize("cut", [lambda text: text[:200], lambda text: " ".join(text.split()[:30])])
def test_a_cut_is_found(cut: Any) -> None:
    whole = texts(300)
    found = findings(lengths.truncated(read([cut(text) for text in whole])), "problem")["truncated"]
    shorter = [row for row, text in enumerate(whole) if cut(text) != text]
    assert 0.8 * len(shorter) <= found.count <= len(shorter)  # a cut may fall on the end of a word, a sentence
    assert "exactly" in found.what


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
    found = findings(lengths.empty(read([*long, "12-MAR-1987 12-MAR-1987", "- - -"])), "problem")
    assert found["nearly empty"].count == 2
    assert findings(lengths.empty(read(["find", "ls", "a word"])), "problem") == {}


def test_lengths_are_those_of_numpy() -> None:
    told = lengths.lengths(read(["a bc", "d", "", "e f g"])).profile["lengths"]["text"]
    assert told["texts"] == 3
    assert (told["words"]["least"], told["words"]["50%"], told["words"]["most"]) == (1, 2, 3)
    assert told["characters"]["mean"] == pytest.approx(10 / 3)
    assert sum(told["histogram"]["counts"]) <= 3


def test_a_licence_header_is_boilerplate() -> None:
    header = "Licensed under the Apache License, Version 2.0 (the License).\n"
    found = findings(boilerplate.boilerplate(read([header * (i < 30) + text for i, text in enumerate(texts(200))])))
    assert found["boilerplate"].count == 30
    assert found["boilerplate"].examples[0]["text"] == header.strip()
    assert found["shared opening"].count == 30


def test_markup_is_counted_by_texts() -> None:
    rows = [text + "<br /><br />more" * (i % 2) + " a < b && c" for i, text in enumerate(texts(60))]
    found = findings(boilerplate.boilerplate(read(rows)))["markup"]
    assert (found.count, found.of) == (30, 60)
    assert "<br> in 30" in found.what


def test_copies_are_no_boilerplate() -> None:
    rows = [*texts(50), *["One text of its own that is here often."] * 40]
    assert findings(boilerplate.boilerplate(read(rows))) == {}


def test_a_foreign_text_is_named() -> None:
    pytest.importorskip("lingua")
    rows = [f"{ENGLISH}, said {sentence(i, 3)}" for i in range(40)]
    rows[5] = rows[17] = GERMAN
    rows[17] += "."
    found = diversity.languages(read(rows))
    notice = findings(found)["languages"]
    assert [told["row"] for told in notice.examples] == [6, 18]
    assert {told["language"] for told in notice.examples} == {"German"}
    assert found.profile["languages"]["text"]["shares"]["English"] == pytest.approx(0.95)


def test_without_the_library_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lingua", None)
    found = diversity.languages(read([ENGLISH]))
    assert "nearfar[audit]" in found.findings[0].what


def test_classes_are_counted() -> None:
    found = diversity.classes(read(texts(40), label=["a"] * 20 + ["b"] * 20))
    assert found.profile["classes"]["effective"] == pytest.approx(2)
    assert found.findings[0].level == "fine"
    skewed = diversity.classes(read(texts(40), label=["a"] * 38 + ["b", "c"]))
    assert skewed.profile["classes"]["counts"]["train"] == {"a": 38, "b": 1, "c": 1}
    assert "c 1, b 1" in skewed.findings[0].what


def test_several_labels_in_a_cell_count_each() -> None:
    found = diversity.classes(read(texts(8), topics=[["x", "y"], ["x"], ["y"], ["x"]] * 2))
    assert found.profile["classes"]["counts"]["train"] == {"x": 6, "y": 4}


def test_one_text_with_two_labels_is_a_conflict() -> None:
    rows = [*texts(10), "the same", "the same", "again", "again"]
    found = duplicates.conflicts(read(rows, label=["a", "b"] * 5 + ["a", "b", "a", "a"]))
    assert found.findings[0].count == 1
    assert [told["label"] for told in found.findings[0].examples] == ["a", "b"]
