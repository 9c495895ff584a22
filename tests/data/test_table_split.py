"""Rows are held out in whole groups that share texts; where that cannot be, queries are, and the protocol says so."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from nearfar import config
from nearfar.column import Column
from nearfar.data.table import Table
from nearfar.data.tables.split import FEW
from nearfar.errors import InputError
from nearfar.experiment import train
from nearfar.positives.columns import Columns
from nearfar.reports.console import show_report

Rows = list[dict[str, Any]]
SEEN = "documents were seen in training"


def faq() -> Rows:
    """Return 37 questions to 9 answers: one of five questions, the others of four."""
    return [{"question": f"how {i}?", "answer": f"so {i % 9}", "category": "help", "id": f"r{i}"} for i in range(37)]


def many_to_many() -> Rows:
    """Return 37 questions, each with two of 9 answers: all rows are one group."""
    return [{"question": f"how {i}?", "answer": f"so {(i + j) % 9}"} for i in range(37) for j in range(2)]


def texts(column: Column) -> list[str]:
    return list(column.read(0, len(column)))


def sides(table: Table, name: str) -> tuple[set[str], set[str]]:
    return set(texts(table.column(name))), set(texts(table.split("heldout").column(name)))


def test_several_questions_to_one_answer_are_held_out_by_answers() -> None:
    table = Table(faq(), heldout=0.3)
    notes = table.notes
    assert (notes["asked share"], notes["groups"], notes["largest group"], notes["columns"]) == (
        0.3,
        9,
        5,
        "question, answer",
    )
    assert (notes["train"], notes["heldout"], notes["held-out groups"]) == (25, 12, 3)  # 11 are asked for
    assert notes["reached share"] == round(12 / 37, 4)
    assert notes["held out"] == (
        "no text of training is held out: 3 of 9 groups of rows that share a text (largest 5 rows); asked "
        "30.0% of 37 rows, reached 32.4%"
    )
    for name in ("question", "answer"):
        train, held = sides(table, name)
        assert held and not train & held
    assert "so 0" in sides(table, "answer")[0]  # the largest group


def test_a_small_share_takes_the_smallest_group_and_ranks_among_all_documents() -> None:
    table = Table(faq(), heldout=0.05)
    assert (len(table), len(table.split("heldout"))) == (33, 4)
    task = Columns(table).task("heldout")
    assert (len(task.queries), len(task.documents)) == (4, 9)
    found = {texts(task.documents)[row] for judged in task.relevance.values() for row in judged}
    assert found == sides(table, "answer")[1] and len(found) == 1
    assert SEEN not in str(task.notes)


def test_any_number_of_groups_is_ranked_among_all_documents() -> None:
    rows = [{"question": f"how {i}?", "answer": f"so {i // 2}"} for i in range(200)]
    table = Table(rows, heldout=20)
    assert (table.notes["heldout"], table.notes["held-out groups"]) == (20, 10)
    task = Columns(table).task("heldout")
    assert len(task.documents) == 100 and task.seen is not None
    own = {row for judged in task.relevance.values() for row in judged}
    assert set(np.flatnonzero(~task.seen).tolist()) == own and len(own) == 10


def test_where_all_hangs_together_queries_are_held_out_and_their_documents_told_as_seen() -> None:
    table = Table(many_to_many(), heldout=0.1)
    train, held = sides(table, "question")
    assert len(held) == 3 and not train & held  # six of the seven rows that are asked for: a question has two
    assert table.notes["heldout"] == 6 and table.notes["reached share"] == round(6 / 74, 4)
    assert sides(table, "answer")[1] <= sides(table, "answer")[0]
    task = Columns(table).task("heldout")
    assert (len(task.queries), len(task.documents)) == (3, 9) and task.seen is not None and task.seen.all()
    answers = {row["question"]: set() for row in many_to_many()}  # type: dict[str, set[str]]
    for row in many_to_many():
        answers[row["question"]].add(row["answer"])
    documents = texts(task.documents)
    for query, judged in task.relevance.items():
        assert {documents[row] for row in judged} == answers[texts(task.queries)[query]]
    assert task.notes["split"]["held out"].startswith(f"{SEEN}: held out by queries alone, as 1 group of rows")


def test_a_query_that_is_a_document_elsewhere_is_not_held_out_alone() -> None:
    rows = [{"question": f"t{i}", "answer": f"t{i + 1}"} for i in range(30)]  # a chain: only t0 is no answer
    table = Table(rows, heldout=3)
    assert sides(table, "question")[1] == {"t0"}


@pytest.mark.parametrize("name", ["category", "id", "source", "lang", "user_id"])
@pytest.mark.parametrize("first", [False, True])
def test_columns_that_describe_a_row_do_not_matter(name: str, first: bool) -> None:
    plain = [{"question": f"how {i}?", "answer": f"so {i // 4}"} for i in range(80)]
    rows = [{name: "one", **row} if first else {**row, name: "one"} for row in plain]
    found, expected = (sides(Table(some, heldout=0.2), "question") for some in (rows, plain))
    assert found == expected
    unnamed = [{"x": row["question"], "y": row["answer"], name: "one"} for row in plain]  # no names are recognised
    table = Table(unnamed, heldout=0.2)
    assert table.notes["columns"] == "x, y" and SEEN not in table.notes["held out"]


def test_named_columns_decide() -> None:
    rows = [{"query": f"q{i}", "neg": ["common", f"n{i}"], "mood": f"m{i % 2}"} for i in range(50)]
    table = Table(rows, heldout=5, heldout_by=["query"])
    assert table.notes == {"train": 45, "heldout": 5}
    assert Table(rows, heldout=5, in_use=["query", "mood"]).notes["columns"] == "query, mood, neg"


def test_columns_that_a_recipe_names_decide(tmp_path: Path) -> None:
    lines = [{"mood": f"m{i % 2}", "title": f"t{i}", "body": f"b{i // 2}"} for i in range(60)]
    path = tmp_path / "notes.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    settings = [f"data.path={path}", "data.heldout=0.4", "positives.query=title", "positives.key=body"]
    data = config.build(config.load("static", [*settings, "encoder.dim=8"])).data
    assert isinstance(data, Table)
    assert data.notes["columns"] == "title, body" and data.notes["groups"] == 30
    assert data.notes["heldout"] == 24
    assert "in_use" not in config.resolved(config.load("static", settings))["data"]


@pytest.mark.filterwarnings("ignore::UserWarning")  # of so small a run: that its space collapses
@pytest.mark.parametrize(("rows", "said"), [(faq(), "no text of training is held out"), (many_to_many(), SEEN)])
def test_the_first_command_works_and_tells(tmp_path: Path, rows: Rows, said: str) -> None:
    path = tmp_path / "faq.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    small = {"encoder.dim": 8, "training.epochs": 1}
    done = train("static", {"data.path": path, **small}, out=tmp_path / "run", quiet=True)
    assert done is not None
    console = Console(file=io.StringIO(), width=300)
    show_report(done.reports["heldout"], console)
    assert isinstance(console.file, io.StringIO)
    printed = " ".join(console.file.getvalue().split())
    assert said in printed and ", 9 documents" in printed
    assert (
        said in (tmp_path / "run" / "results.json").read_text()
        and said in (tmp_path / "run" / "report.html").read_text()
    )


def test_a_few_rows_outside_one_large_group_are_enough() -> None:
    large = [{"question": f"how {i}?", "answer": "so"} for i in range(400)]
    small = [{"question": f"why {i}?", "answer": f"as {i}"} for i in range(FEW + 5)]
    table = Table(large + small, heldout=100)
    assert table.notes["heldout"] == FEW + 5 and sides(table, "answer")[0] == {"so"}
    fewer = Table(large + small[: FEW - 1], heldout=100)
    assert fewer.notes["heldout"] == 100 and fewer.notes["held out"].startswith(SEEN)


def test_following_the_error_works(tmp_path: Path) -> None:
    rows = [{"question": "how?", "answer": f"so {i}"} for i in range(9)]
    with pytest.raises(InputError, match=r"2 of 9 rows: none can be held out.*'question' and 'answer'.*heldout=0"):
        Table(rows, heldout=2)
    for name, lines in (("train", rows), ("heldout", rows[:2])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    table = Table(tmp_path, heldout=0)
    assert (len(table), len(table.split("heldout"))) == (9, 2)  # as the files say
    assert Table([*rows, {"question": "why?", "answer": "as"}], heldout=2).notes["heldout"] == 1


def test_one_row_is_held_out_of_a_small_table() -> None:
    for seed in range(20):  # a draw of each row by itself would often take none
        notes = Table([{"query": f"q{i}", "key": f"k{i}"} for i in range(9)], heldout=0.05, seed=seed).notes
        assert notes["heldout"] >= 1 and notes["train"] + notes["heldout"] == 9


@given(
    pairs=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=8, max_size=80, unique=True),
    heldout=st.sampled_from([0.05, 0.2, 0.4, 3, 7]),
    seed=st.integers(0, 9),
)
@settings(max_examples=100, deadline=None)
def test_no_query_is_on_both_sides(pairs: list[tuple[int, int]], heldout: float, seed: int) -> None:
    data = [{"query": f"q{a}", "key": f"k{b}"} for a, b in pairs]
    try:
        table = Table(data, heldout=heldout, seed=seed)
    except InputError as error:
        assert "none can be held out" in str(error)
        assert len({query for query, _ in pairs}) == 1  # others could be held out
        return
    notes, out = table.notes, table.split("heldout")
    assert (len(table), len(out)) == (notes["train"], notes["heldout"]) and notes["train"] + notes["heldout"] == len(
        data
    )
    assert len(table) and len(out)
    by_queries = notes.get("held out", "").startswith(SEEN)
    for name in ("query",) if by_queries else ("query", "key"):
        train, held = sides(table, name)
        assert not train & held
    if "groups" in notes:
        assert notes["reached share"] == round(len(out) / len(data), 4)
        assert by_queries or notes["largest group"] <= len(table)
    shuffled = random.Random(seed).sample(data, len(data))
    for other in (Table(data, heldout=heldout, seed=seed), Table(shuffled, heldout=heldout, seed=seed)):
        assert sides(other, "query") == sides(table, "query") and other.notes == notes


def test_the_seed_draws_the_groups() -> None:
    held = [frozenset(sides(Table(faq(), heldout=0.3, seed=seed), "answer")[1]) for seed in range(6)]
    assert len(set(held)) > 1
