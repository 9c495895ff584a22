"""nearfar mine: what it writes, says and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nearfar.data.table import Table
from nearfar.mining.review_file import read_suspects
from nearfar.positives.columns import Columns
from tests.cli.calling import Run
from tests.cli.test_commands import facts, shown
from tests.contracts.samples import beir

KEYS = {
    *("out", "rows", "examples", "negatives", "skipped", "fewer", "removed", "queries", "documents", "fingerprint"),
    "dropped",
}


def test_facts_and_file(here: Path, nearfar: Run) -> None:
    told = facts(nearfar("mine", "model", "pairs.jsonl", "--out", "m.jsonl", "--negatives", 3, "--json"))
    assert set(told) == KEYS | {"seconds"}
    assert (told["rows"], told["examples"], told["negatives"], told["skipped"]) == (60, 60, 180, 0)
    assert told["fingerprint"] == json.loads((here / "model" / "nearfar.json").read_text())["fingerprint"]
    rows = [json.loads(line) for line in (here / "m.jsonl").read_text().splitlines()]
    assert all(row["key"] not in row["negative"] and len(row["negative"]) == 3 for row in rows)
    assert len(Columns(Table(here / "m.jsonl"))) == 60


def test_people_read(here: Path, nearfar: Run) -> None:
    done = nearfar("mine", "model", "pairs.jsonl", "--out", "m.parquet", "--form", "triplets", "--max-score", -0.3)
    text = shown(done)
    assert "negatives for 60 pairs in m.parquet" in text
    assert "rejected by max-score" in text
    assert "left out: no candidate remained" in text
    assert len(Columns(Table(here / "m.parquet"))) > 0


def test_review_and_decisions(here: Path, nearfar: Run) -> None:
    words = ("mine", "model", "pairs.jsonl", "--out", "m.jsonl", "--json")
    told = facts(nearfar(*words, "--review", "r.html"))
    assert told["review"] == "r.html" and told["likely_false"] > 0
    assert "mined negatives" in (here / "r.html").read_text()
    first = json.loads((here / "m.jsonl").read_text().splitlines()[0])
    decided = {"query": first["query"], "negative": first["negative"][0], "action": "drop"}
    (here / "d.jsonl").write_text(json.dumps(decided) + "\n")
    facts(nearfar(*words, "--decisions", "d.jsonl"))
    again = json.loads((here / "m.jsonl").read_text().splitlines()[0])
    assert again["negative"][:4] == first["negative"][1:]
    (here / "d.jsonl").write_text(json.dumps({**decided, "negative": first["key"]}) + "\n")  # a pair of the data
    told = facts(nearfar(*words, "--decisions", "d.jsonl"))
    assert (told["dropped"], told["rows"]) == (1, 59)
    assert "1 listed pairs left out" in shown(nearfar(*words[:-1], "--decisions", "d.jsonl"))


def test_people_read_why_a_review_is_empty(here: Path, nearfar: Run) -> None:
    words = ("mine", "model", "pairs.jsonl", "--out", "m.jsonl", "--review", "r.html", "--absolute-margin", "0.3")
    told = facts(nearfar(*words, "--json"))
    assert told["likely_false"] == 0 and told["removed"]["absolute_margin"] > 0
    text = shown(nearfar(*words))
    rejected = f"--absolute-margin kept {told['removed']['absolute_margin']:,} nearer candidates"
    assert rejected in " ".join(text.split()) and rejected in (here / "r.html").read_text()


def test_training_honours_decisions(here: Path, nearfar: Run) -> None:
    row = json.loads((here / "pairs.jsonl").read_text().splitlines()[0])
    (here / "d.jsonl").write_text(json.dumps({"query": row["query"], "negative": "x", "action": "drop"}) + "\n")
    small = ("data.path=pairs.jsonl", "encoder.dim=16", "encoder.vocabulary=300", "training.batch_size=16")
    steps = ("training.steps=2", "data.heldout=0.3", "--out", "run", "--json")
    done = nearfar("train", "static", *small, "positives.decisions=d.jsonl", *steps)
    assert done.code == 0, done.err
    nearfar("train", "static", *small, "positives.decisions=none.jsonl", *steps[:-2], "b").refused("none.jsonl")


def test_beir_and_corpus(here: Path, nearfar: Run) -> None:
    folder = beir(here)
    (here / "more.txt").write_text("a red fox\na grey goose\n")
    told = facts(nearfar("mine", "model", folder, "--corpus", "more.txt", "--out", "m.jsonl", "--json"))
    assert told["rows"] > 0
    nearfar("mine", "model", folder, "--query", "text", "--out", "m.jsonl").refused("BEIR", "--query")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--out", "m.csv"), ".jsonl or .parquet"),
        (("--out", "m.jsonl", "--form", "triplet"), "triplets"),
        (("--out", "m.jsonl", "--sampling", "best"), "sampling"),
        (("--out", "m.jsonl", "--negatives", "0"), "at least 1"),
        (("--out", "m.jsonl", "--range-max", "3"), "raise range_max"),
        (("--out", "m.jsonl", "--review", "r.txt"), ".html"),
        (("--out", "m.jsonl", "--decisions", "none.jsonl"), "none.jsonl"),
        (("--out", "m.jsonl", "--rescore", "none"), "config.json"),
        (("--out", "m.jsonl", "--split", "dev"), "dev"),
        (("--out", "m.jsonl", "--query", "nothing", "--key", "key"), "nothing"),
        (("--out", "pairs.jsonl/m.jsonl"), "pairs.jsonl"),
    ],
)
def test_refused(here: Path, nearfar: Run, words: tuple[str, ...], said: str) -> None:
    nearfar("mine", "model", "pairs.jsonl", *words).refused(said)


def test_a_review_for_a_server_holds_what_the_page_shows(here: Path, nearfar: Run) -> None:
    told = facts(nearfar("mine", "model", "pairs.jsonl", "--out", "m.jsonl", "--review", "r.jsonl", "--json"))
    found = read_suspects(here / "r.jsonl")
    assert 0 < len(found) <= told["likely_false"]
    mined = {
        (row["query"], text)
        for row in map(json.loads, (here / "m.jsonl").read_text().splitlines())
        for text in row["negative"]
    }
    assert {(one.query, one.negative) for one in found} <= mined
