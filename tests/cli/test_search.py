"""nearfar search by vectors, words and both, for one query and for the lines of standard input."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

import nearfar as nf
from tests.cli.calling import Run


def lines(here: Path) -> None:
    texts = ["a red fox", "the grey goose", "where the fox lies", "a stone"]
    (here / "lines.txt").write_text("\n".join(texts), encoding="utf-8")


def found(nearfar: Run, *words: str) -> Any:
    done = nearfar("search", "model", "lines.txt", *words, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_each_mode_finds_what_python_finds(here: Path, nearfar: Run) -> None:
    lines(here)
    corpus, model = ["a red fox", "the grey goose", "where the fox lies", "a stone"], nf.Model.load("model")
    ids = ["1", "2", "3", "4"]
    modes: list[Any] = ["vectors", "words", "hybrid"]
    for mode in modes:
        expected = nf.search(model, corpus, "grey fox", k=3, mode=mode)
        hits = found(nearfar, "grey fox", "-k", "3", "--mode", mode)
        assert [(hit["id"], hit["text"]) for hit in hits] == [(ids[hit["id"]], hit["text"]) for hit in expected]
        assert [hit["score"] for hit in hits] == pytest.approx([hit["score"] for hit in expected])
    assert {hit["id"] for hit in found(nearfar, "grey fox", "--mode", "words")} == {"1", "2", "3"}


def test_several_queries_are_a_list_of_lists(here: Path, nearfar: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    lines(here)
    monkeypatch.setattr("sys.stdin", io.StringIO("goose\n\n  \nheron\nfox\n"))
    hits = found(nearfar, "-", "-k", "1", "--mode", "words")
    assert [[hit["id"] for hit in row] for row in hits] == [["2"], [], ["1"]]
    monkeypatch.setattr("sys.stdin", io.StringIO("goose\n"))
    assert [[hit["id"] for hit in row] for row in found(nearfar, "-", "--mode", "words")] == [["2"]]
    assert [hit["id"] for hit in found(nearfar, "goose", "--mode", "words")] == ["2"]


def test_people_read_each_query_under_the_number_of_its_line(
    here: Path, nearfar: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines(here)
    monkeypatch.setattr("sys.stdin", io.StringIO("goose\n\nheron\n"))
    out = nearfar("search", "model", "lines.txt", "-", "--mode", "words").out
    first, second = out.split("\n\n3: heron\n\n")
    assert first.startswith("1: goose\n\n")
    assert first.endswith("  2\n       the grey goose")
    assert second == "nothing found: no document shares a word with the query\n"


def test_help_says_what_a_fusion_score_is(nearfar: Run) -> None:
    assert "Scores of hybrid are fusion scores" in " ".join(nearfar("search", "--help").out.split())


def test_no_control_character_of_the_data_or_the_call_is_printed(
    here: Path, nearfar: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    wild = "a red \x1b[31mfox\x1b[0m \x9b2J \u202eesoog"
    (here / "wild.jsonl").write_text(json.dumps({"id": "i\x1b]0;t\x07", "text": wild}) + "\n", encoding="utf-8")
    monkeypatch.setattr("sys.stdin", io.StringIO("fox \x1b[2J\n"))
    told = nearfar("search", "model", "wild.jsonl", "-").out
    assert "1: fox \\u001b[2J" in told
    assert "i\\u001b]0;t\\u0007" in told
    assert "a red \\u001b[31mfox\\u001b[0m \\u009b2J \\u202eesoog" in told
    as_json = nearfar("search", "model", "wild.jsonl", "fox", "--json").out
    assert json.loads(as_json)[0]["text"] == wild
    missing = nearfar("search", "model", "\x1b[2Jno.jsonl", "fox")
    missing.refused("\\u001b[2Jno.jsonl: no such file")
    for text in (told, as_json, missing.err):
        assert not {"\x1b", "\x9b", "\x07", "\u202e"} & set(text)


def test_no_query_and_no_mode_are_refused(here: Path, nearfar: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    lines(here)
    monkeypatch.setattr("sys.stdin", io.StringIO("\n \n"))
    nearfar("search", "model", "lines.txt", "-").refused("standard input", "a query a line")
    nearfar("search", "model", "lines.txt", "fox", "--mode", "vector").refused(
        "--mode vector", "did you mean 'vectors'"
    )


def test_a_line_ends_at_a_line_feed_alone_in_files_and_queries(
    here: Path, nearfar: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "lines.txt").write_bytes("\ufefftop\fup\na stone\u2028river\r\nlost\x85fox\n".encode())
    assert sorted((hit["id"], hit["text"]) for hit in found(nearfar, "fox")) == [
        ("1", "top\fup"),
        ("2", "a stone\u2028river"),
        ("3", "lost\x85fox"),
    ]
    monkeypatch.setattr("sys.stdin", io.StringIO("stone\friver\u2028fox\n"))
    assert len(found(nearfar, "-", "--mode", "words")) == 1


def test_a_blank_line_is_refused_by_its_number(here: Path, nearfar: Run) -> None:
    (here / "lines.txt").write_text("a red fox\n\n a stone\n")
    for words in (["search", "model", "lines.txt", "fox"], ["embed", "model", "lines.txt", "--out", "v.npy"]):
        nearfar(*words).refused("lines.txt: row 2 (line 2), column 'text': is empty; write some text or remove")


def test_a_folder_of_texts_is_searched_by_document(here: Path, nearfar: Run) -> None:
    for name, text in (
        ("a.md", "# A red fox\n\nIt lies there."),
        ("deep/b.txt", "the grey goose"),
        ("deep/c.rst", "\n"),
    ):
        path = here / "notes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    done = nearfar("search", "model", "notes", "goose", "--mode", "words", "--json")
    assert [(hit["id"], hit["text"]) for hit in json.loads(done.out)] == [("deep/b.txt", "the grey goose")]
    assert "notes: 1 of 3 text files are empty and left out" in done.err
