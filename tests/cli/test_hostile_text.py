"""One hostile text as every name and cell: no command prints it raw, on the terminal or on a page, or forges a line."""

from __future__ import annotations

import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.cli.calling import Done, Run
from tests.cli.conftest import SMALL, pairs
from tests.contracts.samples import write_lines

RAW = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"  # but tab and newline
)
TEXT = "x\x1b[31m\x07\x9b2J\x7f\u202e\u2066\u200f\u061c\u2028\r<script>`|[a](j:x)*\"'&"
NAME = f"{TEXT}\nnearfar: forged"


@pytest.fixture
def place(here: Path) -> Path:
    """A folder of that name, with a model, pairs, classes, documents in it, all named and filled with it."""
    folder = here / NAME
    folder.mkdir()
    shutil.move(here / "model", folder / "model")
    rows = [{"query": f"{TEXT} {row['query']}", "key": f"{TEXT} {row['key']}"} for row in pairs()]
    splits = [NAME, "train", "test"]
    write_lines(folder / "pairs.jsonl", rows)
    write_lines(folder / "splits.jsonl", [{**row, "split": splits[i % 3]} for i, row in enumerate(rows)])
    write_lines(
        folder / "labels.jsonl", [{"text": row["query"], "label": NAME + str(i % 3)} for i, row in enumerate(rows)]
    )
    write_lines(folder / "names.jsonl", [{NAME: row["query"], f"b{NAME}": row["key"]} for row in rows])
    write_lines(folder / "docs.jsonl", [{"_id": f"{NAME}{i}", "text": row["key"]} for i, row in enumerate(rows)])
    return folder


def check(done: Done, code: int, *pages: Path) -> Done:
    """Check that nothing raw was printed or written, and that no line begins as one of ours that is not."""
    assert done.code == code, done.err
    for text in (done.out, done.err):
        assert not RAW.search(text.replace("\n", "")), ascii(text)
        assert "\nnearfar: forged" not in text
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not RAW.search(text.replace("\n", "")), page.name
        if page.suffix == ".html":
            tags = Tags(text)
            assert tags.found.count("script") == (2 if 'id="suspects"' in text else 1)
        else:
            assert "\nnearfar: forged" not in text
            outside = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
            assert not re.search(r"(?<!\\)<script>|(?<!\\)`x|\](?=\(j:x)", outside)
    return done


class Tags(HTMLParser):
    """The names of a page's tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)


def test_training_and_its_report(place: Path, nearfar: Run) -> None:
    run = place / "run"
    call = ["train", "static", f"data.path={place / 'splits.jsonl'}", *SMALL[:-1], "evaluate.0.split=test"]
    files = run / "report.html", run / "model" / "README.md"
    check(nearfar(*call, "--baseline", place / "model", "--out", run), 0, *files)
    check(nearfar("report", run), 0, files[0])
    facts = json.loads(check(nearfar("report", run, "--json"), 0).out)
    assert facts["report"] == str(files[0])
    check(nearfar(*call[:-1], "evaluate.0.split=nosuch", "--out", place / "other"), 2)
    check(nearfar("train", "static", f"data.path={place / 'pairs.jsonl'}", *SMALL, "--dry-run"), 0)


def test_judging_mining_and_searching(place: Path, nearfar: Run) -> None:
    model = place / "model"
    check(nearfar("evaluate", model, place / "pairs.jsonl", "--baseline", "bm25", "--baseline", model), 0)
    check(nearfar("evaluate", model, place / "splits.jsonl", "--split", NAME), 0)
    check(nearfar("evaluate", model, place / "names.jsonl", "--query", NAME, "--key", f"b{NAME}"), 0)
    check(nearfar("evaluate", model, place / "names.jsonl"), 2)
    out, review = place / "mined.jsonl", place / "review.html"
    check(nearfar("mine", model, place / "pairs.jsonl", "--out", out, "--review", review, "--negatives", 2), 0, review)
    check(nearfar("embed", model, place / "names.jsonl", "--column", NAME, "--out", place / "vectors.npy"), 0)
    check(nearfar("search", model, place / "docs.jsonl", f"fox {TEXT}"), 0)
    found = json.loads(check(nearfar("search", model, place / "docs.jsonl", "fox", "--json"), 0).out)
    assert found[0]["id"].startswith(NAME) and TEXT in found[0]["text"]
    lab = place / "lab"
    check(
        nearfar("lab", "temperature", model, place / "pairs.jsonl", "--steps", 0, "--out", lab),
        0,
        lab / "temperature.html",
    )


def test_audits(place: Path, nearfar: Run) -> None:
    page = place / "audit.html"
    check(nearfar("audit", place / "splits.jsonl", "--out", page, "--fix", place / "fixed.csv"), 0, page)
    check(nearfar("audit", place / "labels.jsonl", "--label", "label", "--out", page), 0, page)
    check(nearfar("audit", place / "names.jsonl", "--query", NAME, "--key", f"b{NAME}", "--out", page), 0, page)


def test_errors(place: Path, nearfar: Run) -> None:
    model, data = place / "model", place / "pairs.jsonl"
    for call in (
        ["list", NAME],
        ["train", NAME],
        ["train", "static", f"{NAME}=3"],
        ["train", "static", f"--{NAME}"],
        ["evaluate", place / "no", data],
        ["evaluate", model, place / "no.jsonl"],
        ["evaluate", model, data, "--query", NAME, "--key", "key"],
        ["evaluate", model, data, f"data.{NAME}=1"],
        ["search", model, data, "fox", "--mode", NAME],
    ):
        assert len(check(nearfar(*call), 2).err.splitlines()) == 1


def test_bytes_that_are_no_text_are_refused_before_anything_is_done(here: Path, nearfar: Run) -> None:
    name = os.fsdecode(b"caf\xe9.jsonl")
    for call in (["evaluate", "model", name], ["train", "static", f"data.path={name}"], ["list", name]):
        done = check(nearfar(*call), 2)
        assert "caf\\udce9" in done.err and "not UTF-8" in done.err


def test_a_message_has_an_end(here: Path, nearfar: Run) -> None:
    for call in (["train", "static", "data.path=" + "[" * 20_000], ["list", "x" * 100_000]):
        done = check(nearfar(*call), 2)
        assert len(done.err) < 1300
