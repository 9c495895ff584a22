"""`nearfar audit`: what programs and people read, the page, the cleaned copy, and refusals."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from nearfar.data.table import Table
from nearfar.serving.review_queue import ReviewQueue
from tests.cli.calling import Run
from tests.cli.conftest import pairs
from tests.cli.test_commands import facts, shown
from tests.contracts.samples import write_lines


@pytest.fixture
def leaky(here: Path) -> Path:
    """A folder with a copy, an empty key and a leak, and something that a page must not run."""
    rows = pairs(80)
    train, test = rows[:70], rows[70:]
    train[5] |= {key: train[2][key] for key in ("query", "key")}
    train[9]["key"] = ""
    train[12]["query"] = test[3]["query"] = "<script>alert('now')</script> where is the <br> tag"
    (here / "leaky").mkdir()
    write_lines(here / "leaky" / "train.jsonl", train)
    write_lines(here / "leaky" / "test.jsonl", test)
    return here / "leaky"


def test_audit_says_what_is_wrong_and_what_is_fine(leaky: Path, nearfar: Run) -> None:
    found = facts(nearfar("audit", leaky, "--out", "a.html", "--json"))
    assert set(found) >= {"data", "kind", "splits", "columns", "findings", "fine", "profile", "seconds", "page"}
    assert (found["data"], found["kind"]) == ("leaky", "pairs")
    assert found["splits"] == {"train": 70, "test": 10}
    counts = {finding["check"]: finding["count"] for finding in found["findings"]}
    assert [counts[name] for name in ("duplicates", "empty", "leaks")] == [1, 1, 1]
    assert all(finding["level"] in ("problem", "notice") and finding["fix"] for finding in found["findings"])
    assert "truncated" in {told["check"] for told in found["fine"]}


@pytest.mark.parametrize("columns", [80, 60])
def test_people_read_it_on_any_terminal(leaky: Path, nearfar: Run, columns: int) -> None:
    out = shown(nearfar("audit", leaky, "--out", "a.html", columns=columns), columns)
    assert out.startswith(f"{'':9}leaky: pairs, 70 train, 10 test")
    assert "problem  leaks: 1 row of 10 outside training" in out
    assert "rows: test 4" in out
    assert "fine     truncated" in out
    assert "page     a.html" in out


def test_the_page_loads_and_runs_nothing(leaky: Path, nearfar: Run) -> None:
    facts(nearfar("audit", leaky, "--out", "deep/a.html", "--json"))
    page = Path("deep/a.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert re.findall(r"""(?:src|href)=["'](?!data:)""", page) == []
    assert "http://" not in page
    assert "https://" not in page
    assert "1 leak" in page


def test_what_people_drop_is_not_trained_on_and_resuming_knows_it(leaky: Path, nearfar: Run) -> None:
    lines = (leaky / "train.jsonl").read_text().splitlines()
    rows = [row | {"key": row["key"] or "no longer empty"} for row in map(json.loads, lines)]
    write_lines(leaky / "train.jsonl", rows)
    found = facts(nearfar("audit", leaky, "--out", "a.html", "--review", "q.jsonl", "--json"))
    assert (found["review"], found["to_review"]) == ("q.jsonl", 4)
    assert "review   4 pairs to decide on" in shown(nearfar("audit", leaky, "--out", "a.html", "--review", "q.jsonl"))
    queue = ReviewQueue.open(Path("q.jsonl"))
    assert any(one.query.startswith("<script>") for one in queue.suspects)  # the leak
    for number in range(len(queue)):
        queue.decide(number, "drop")
    small = ["encoder.dim=16", "encoder.vocabulary=300", "training.batch_size=16", "training.steps=4"]
    small += [f"data.path={leaky}", "positives.decisions=q.decisions.jsonl"]
    done = facts(nearfar("train", "static", *small, "--out", "run", "--json"))
    dropped, of = map(int, re.findall(r"^(\d) of (\d+) listed pairs are dropped", done["decisions"])[0])
    assert dropped >= 1 and done["pairs"] == of - dropped  # what is held out, or is in the test, is none of training
    queue.undo(0)
    again = nearfar("train", "static", *small, "--out", "run", "--resume")
    assert again.code == 2 and "cannot resume" in again.err and "positives.data was" in again.err


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--review", "q.html"], "ends in .jsonl"), (["--review", "q.jsonl", "--column", "key"], "read as texts")],
)
def test_a_review_that_cannot_be_is_refused(leaky: Path, nearfar: Run, words: list[str], said: str) -> None:
    refused = nearfar("audit", leaky, "--out", "a.html", *words)
    assert refused.code == 2 and said in refused.err
    assert not Path(words[1]).exists()


def test_sentences_on_the_page_are_apart(here: Path, nearfar: Run) -> None:
    assert nearfar("audit", "pairs.jsonl", "--out", "a.html").code == 0
    page = " ".join((here / "a.html").read_text(encoding="utf-8").split())
    assert "by the words, as no model was given. One split, so leaks could not be looked for." in page


def test_fix_writes_what_is_left_and_a_log(leaky: Path, nearfar: Run) -> None:
    done = nearfar("audit", leaky, "--fix", "clean", "--json")
    told = facts(done)["fixed"]
    assert told["dropped"] == {"leak": 1, "exact duplicate": 1, "empty": 1}
    assert (told["rows"], told["kept"]) == (70, 67)
    assert len(Table("clean")) == 67
    assert Path("clean/test.jsonl").read_text() == (leaky / "test.jsonl").read_text()
    assert [json.loads(line)["row"] for line in Path("clean.dropped.jsonl").read_text().splitlines()] == [6, 10, 13]
    assert "67 of 70 training rows kept" in shown(nearfar("audit", leaky, "--fix", "again"))


def test_a_model_says_what_is_near(here: Path, nearfar: Run) -> None:
    found = facts(nearfar("audit", "pairs.jsonl", "--model", "model", "--json"))
    assert found["profile"]["diversity"]["vectors"] == "model"
    assert found["profile"]["pairs"]["vectors"] == "model"
    assert found["profile"]["tokens"]["query"]["tokens"]["most"] > 5
    assert found["profile"]["diversity"]["dim"] == 16


def test_a_judged_folder_is_read(here: Path, nearfar: Run) -> None:
    rows = [{"_id": str(i), "title": "", "text": row["key"] if i else ""} for i, row in enumerate(pairs(20))]
    write_lines(here / "beir" / "corpus.jsonl", rows)
    write_lines(here / "beir" / "queries.jsonl", [{"_id": "q", "text": "where is it"}])
    (here / "beir" / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\t3\t1\n")
    found = facts(nearfar("audit", "beir", "--json"))
    assert (found["kind"], found["splits"]) == ("BEIR folder", {"corpus": 20, "queries": 1})
    assert found["findings"][0]["check"] == "empty"
    nearfar("audit", "beir", "--fix", "out").refused("judged as it is")


def test_wrong_calls_are_refused(leaky: Path, here: Path, nearfar: Run) -> None:
    nearfar("audit", "nowhere.jsonl").refused("no such file")
    nearfar("audit", leaky, "--column", "quary").refused("did you mean 'query'")
    nearfar("audit", leaky, "--fix-near").refused("--fix OUT")
    nearfar("audit", leaky, "--fix", leaky).refused("the data itself")
    nearfar("audit", leaky, "--fix", "out.xlsx").refused(".parquet")
    nearfar("audit", leaky, "--model", "no-model").refused("no such model folder")
    nearfar("audit", leaky, "--label", "kind").refused("no column 'kind'")
