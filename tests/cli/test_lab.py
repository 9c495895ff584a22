"""The temperature laboratory from end to end: its JSON, its page, its tables, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar.column import Ids
from nearfar.encoders.static import Static
from nearfar.lab import measure
from nearfar.lab.page import page
from nearfar.model import Model
from nearfar.positives.columns import Columns
from tests.cli.calling import Run
from tests.cli.test_commands import facts, shown
from tests.contracts.samples import beir, write_lines
from tests.reports.test_run import Elements, text

SHORT = ["--steps", "2", "--taus", "0.5,0.05", "--quiet"]
CALL = ["lab", "temperature", "model", "pairs.jsonl"]


def labelled(here: Path) -> None:
    rows = [json.loads(line) for line in (here / "pairs.jsonl").read_text().splitlines()]
    write_lines(here / "labelled.jsonl", [{**row, "thing": row["key"].split()[1]} for row in rows])


def test_it_says_what_it_measured(here: Path, nearfar: Run) -> None:
    found = facts(nearfar(*CALL, *SHORT, "--out", "lab", "--json"))
    assert json.loads((here / "lab" / "temperature.json").read_text()) == found
    assert found["page"] == "lab/temperature.html"
    assert (found["temperature"], found["from_recipe"]) == (0.05, True)
    assert found["sample"]["queries"] == 30
    assert 25 <= found["sample"]["negatives"]["least"] <= found["sample"]["negatives"]["most"] <= 29
    curves = found["curves"]
    assert set(curves["hardest"]) == {"1", "10"}  # a query has fewer than 100 negatives
    grid = curves["temperature"]
    assert grid == sorted(grid)
    assert (grid[0], grid[-1]) == (0.01, 10)
    for values in (*curves["hardest"].values(), curves["entropy"], curves["entropy_share"], curves["positive"]):
        assert len(values) == len(grid)
    assert curves["hardest"]["1"] == sorted(curves["hardest"]["1"], reverse=True)
    assert curves["entropy"] == sorted(curves["entropy"])
    assert found["limits"]["zero"]["hardest"]["1"] == pytest.approx(1)
    assert found["limits"]["infinity"]["entropy_share"] == pytest.approx(1)


def test_it_trains_for_a_moment_at_each_temperature(here: Path, nearfar: Run) -> None:
    found = facts(nearfar(*CALL, *SHORT, "--json"))
    assert [told["temperature"] for told in found["trainings"]] == [0.05, 0.5]
    for told in (found["start"], *found["trainings"]):
        assert told["tolerance"] == pytest.approx(1 - told["alignment"] / 2)
        assert told["mrr@10 interval"]["low"] <= told["mrr@10"] <= told["mrr@10 interval"]["high"]
    assert found["start"]["uniformity"] != found["trainings"][0]["uniformity"] != found["trainings"][1]["uniformity"]
    assert found["tolerance_of"] == "a query and its keys"
    trainings = found["protocol"]["short trainings"]
    assert (trainings["steps"], trainings["learning rate"], trainings["pairs to train on"]) == (2, 0.02, 30)
    assert facts(nearfar(*CALL, *SHORT, "--json")) == found  # seeded
    other = facts(nearfar(*CALL, *SHORT, "--seed", "1", "--learning-rate", "0.001", "--json"))
    assert other["start"] != found["start"]
    assert other["protocol"]["short trainings"]["learning rate"] == 0.001


def test_classes_make_tolerance(here: Path, nearfar: Run) -> None:
    labelled(here)
    found = facts(nearfar("lab", "temperature", "model", "labelled.jsonl", "--label", "thing", *SHORT, "--json"))
    assert found["tolerance_of"] == "keys of one thing"
    assert found["start"]["tolerance"] != pytest.approx(1 - found["start"]["alignment"] / 2)


def test_without_trainings_all_pairs_are_measured(here: Path, nearfar: Run) -> None:
    found = facts(nearfar(*CALL, "--steps", "0", "--json"))
    assert found["sample"]["queries"] == 60
    assert "trainings" not in found
    assert facts(nearfar(*CALL, "--steps", "0", "--rows", "20", "--json"))["sample"]["queries"] == 20


def test_a_beir_folder_will_do(here: Path, nearfar: Run) -> None:
    documents = [{"_id": f"d{i}", "text": f"the fox number {i}"} for i in range(40)] + [{"_id": "none", "text": ""}]
    write_lines(beir(here / "beir") / "corpus.jsonl", documents)
    write_lines(here / "beir" / "queries.jsonl", [{"_id": f"q{i}", "text": f"fox {i}"} for i in range(20)])
    lines = [f"q{i}\td{i}\t1\nq{i}\td{i + 20}\t2\nq{i}\tnone\t1\n" for i in range(20)]
    (here / "beir" / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    found = facts(nearfar("lab", "temperature", "model", "beir", "--steps", "0", "--json"))
    assert found["sample"] == {"queries": 40, "negatives": {"mean": 38, "least": 38, "most": 38}}  # but both answers
    assert len(facts(nearfar("lab", "temperature", "model", "beir", *SHORT, "--json"))["trainings"]) == 2


def test_other_answers_are_no_negatives_though_another_row_was_drawn(here: Path) -> None:
    rows = [{"query": f"fox {i % 20}", "key": f"the fox {i}"} for i in range(40)]
    rows += [{"query": f"fox {i}", "key": f"the fox {(i + 1) % 20}"} for i in range(20)]
    write_lines(here / "many.jsonl", rows)
    model = Model.load("model")
    drawn = measure.draw_pairs(model, "many.jsonl", split=None, label=None, rows=20, train=99, seed=0)
    texts = [(told["query"], told["key"]) for told in drawn.measured.describe(_rows(drawn.measured))]
    every = {(row["query"], row["key"]) for row in rows}
    queries, keys = {query for query, _ in texts}, {key for _, key in texts}
    assert sorted(texts) == sorted((q, k) for q, k in every if q in queries and k in keys)
    assert drawn.training is not None
    others = [(told["query"], told["key"]) for told in drawn.training.describe(_rows(drawn.training))]
    assert not queries & {query for query, _ in others}
    assert not keys & {key for _, key in others}


def _rows(columns: Columns) -> Ids:
    return np.arange(len(columns))


def test_prompts_are_part_of_the_texts(here: Path) -> None:
    model = Model(Model.load("model").encoder, prompts={"query": "ask: "})
    drawn = measure.draw_pairs(model, "pairs.jsonl", split=None, label=None, rows=20, train=9, seed=0)
    assert drawn.measured.views["query"].read(0, 1)[0].startswith("ask: where")
    assert drawn.measured.views["key"].read(0, 1)[0].startswith("the ")


def test_it_tells_people(here: Path, nearfar: Run) -> None:
    said = shown(nearfar(*CALL, *SHORT))
    for words in ("30 queries", "hardest 10", "-> 0", "-> inf", "before", "tolerance", "runs/lab/temperature.html"):
        assert words in said
    done = nearfar(*CALL, *SHORT[:-1])
    told = [line for line in done.err.splitlines() if not line.startswith("warning: ")]
    assert told == ["training 1 of 2: temperature 0.05", "training 2 of 2: temperature 0.5"]


def test_the_page_loads_nothing_and_draws_every_figure(here: Path, nearfar: Run) -> None:
    labelled(here)
    nearfar("lab", "temperature", "model", "labelled.jsonl", "--label", "thing", *SHORT, "--out", "lab")
    html = (here / "lab" / "temperature.html").read_text()
    elements = Elements(html)
    assert elements.open == []
    assert sum(tag == "svg" and found.get("class") == "plot" for tag, found in elements.found) == 7
    loads = [value for _, found in elements.found for key, value in found.items() if key in ("src", "href")]
    assert loads == ["data:,"]
    assert not any(key.startswith("on") or key == "style" for _, found in elements.found for key in found)
    said = text(html)
    assert re.search(
        r"At temperature 0\.05, \d+% of what pushes a query.s \d+ negatives away falls on the hardest", said
    )
    assert said.count("Measured: ") == 7
    assert "the temperature this model was trained at" in said
    assert "the mean cosine of keys of one thing" in said
    assert not re.search(r"\b(nan|none|inf)\b", said, flags=re.I)


def test_foreign_text_on_the_page_is_never_markup(here: Path, nearfar: Run) -> None:
    found = facts(nearfar(*CALL, *SHORT, "--json"))
    evil = "<script>alert('x')</script>"
    told = found | {"model": evil, "data": evil, "tolerance_of": evil, "protocol": {**found["protocol"], evil: evil}}
    assert [tag for tag, _ in Elements(page(told)).found].count("script") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model", "pairs.jsonl", "--taus", "0.1,0"], ["--taus 0.1,0", "'0'", "above 0"]),
        (["model", "pairs.jsonl", "--taus", "warm"], ["'warm' is no temperature"]),
        (["model", "pairs.jsonl", "--taus", ""], ["--taus"]),
        (["model", "pairs.jsonl", "--taus", "nan"], ["'nan'"]),
        (["model", "pairs.jsonl", "--label", "colour"], ["colour", "query"]),
        (["model", "pairs.jsonl", "--label", "id", *SHORT], ["tolerance", "share a class"]),
        (["model", "pairs.jsonl", "--steps", "-1"], ["--steps"]),
        (["model", "pairs.jsonl", "--rows", "0"], ["--rows"]),
        (["model", "pairs.jsonl", "--rows", "9"], ["pairs.jsonl", "16"]),
        (["model", "pairs.jsonl", "--learning-rate", "0"], ["--learning-rate"]),
        (["model", "pairs.jsonl", "--split", "tset"], ["tset"]),
        (["model", "nowhere.jsonl"], ["nowhere.jsonl"]),
        (["nowhere", "pairs.jsonl"], ["nowhere", "no such model folder"]),
        (["model", "few.jsonl"], ["few.jsonl: 20 pairs", "32"]),
        (["model", "one.jsonl", "--steps", "0"], ["one.jsonl", "fewer than two negatives"]),
        (["model", "one.jsonl"], ["one.jsonl", "share a text", "--steps 0"]),
        (["model", "sts.jsonl"], ["graded"]),
        (["model", "beir", "--label", "id"], ["--label", "BEIR"]),
        (["model", "pairs.jsonl", "--out", "pairs.jsonl"], ["pairs.jsonl", "a file stands"]),
    ],
)
def test_wrong_input_is_refused(words: list[str], said: list[str], here: Path, nearfar: Run) -> None:
    write_lines(here / "few.jsonl", [{"query": f"fox {i}", "key": f"the fox {i}"} for i in range(20)])
    write_lines(here / "one.jsonl", [{"query": f"fox {i}", "key": "the fox"} for i in range(40)])
    write_lines(here / "sts.jsonl", [{"sentence1": "a fox", "sentence2": f"fox {i}", "score": 1} for i in range(40)])
    beir(here / "beir")
    nearfar("lab", "temperature", *words).refused(*said)


def test_a_model_of_something_else_is_refused(here: Path, nearfar: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Static, "reads", ("image",))
    nearfar(*CALL, *SHORT).refused("model: a model whose query side reads image, not text", "give a text model")


@pytest.mark.parametrize(
    ("loss", "said"), [({"temperature": 0.2}, 0.2), ({"temperature": 0.2, "learnable": True}, 0.05)]
)
def test_it_speaks_of_the_temperature_of_the_recipe_if_that_stayed(
    loss: dict[str, Any], said: float, here: Path, nearfar: Run
) -> None:
    known = json.loads((here / "model" / "nearfar.json").read_text())
    known["recipe"]["loss"] |= {"learnable": False} | loss
    (here / "model" / "nearfar.json").write_text(json.dumps(known))
    found = facts(nearfar(*CALL, "--steps", "0", "--json"))
    assert (found["temperature"], found["from_recipe"]) == (said, said == 0.2)
