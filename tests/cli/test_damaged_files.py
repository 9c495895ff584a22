"""Recipes, results and decisions that are damaged or stand for far more than they hold: one error, in little memory."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from nearfar.errors import InputError, listed, nearest
from nearfar.recipes import load
from tests.cli.calling import Run

TENFOLD = "[&a0 [lol, lol], " + ", ".join(f"&a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)) + "]"
RECIPES = {
    "deep list": ("data: " + "[" * 20_000 + "]" * 20_000, "line 1: nested more than 32 levels deep"),
    "deep mapping": ("data: " + "{a: " * 20_000 + "}" * 20_000, "nested more than 32 levels deep"),
    "deep dashes": ("data:\n" + "- " * 20_000 + "a", "nested more than 32 levels deep"),
    "deep keys": ("? " * 20_000 + "a", "nested more than 32 levels deep"),
    "aliases of aliases": (f"data: {{name: table, header: {TENFOLD}}}", "line 1: its aliases stand for more than"),
    "merged aliases": (
        "training:\n a0: &a0 {x: 1}\n"
        + "".join(f" a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 9)),
        "its aliases stand for more than",
    ),
    "a long text, often": ("data: {a: &a " + "x" * 10_000 + ", b: [" + ", ".join(["*a"] * 200) + "]}", "aliases stand"),
    "an alias of itself": ("training: &t {epochs: 1, batch_size: *t}", "*t stands for nothing that is whole"),
    "too long": ("data: {path: " + "x" * (1 << 20) + "}", "more than 1,048,576 characters"),
}


@pytest.mark.parametrize("kind", RECIPES)
def test_a_recipe_that_explodes_is_refused(kind: str, tmp_path: Path) -> None:
    text, said = RECIPES[kind]
    (tmp_path / "a.yaml").write_text(text)
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as error:
            load(tmp_path / "a.yaml")
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert said in str(error.value) and len(str(error.value)) < 300


def test_aliases_that_stand_for_little_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "encoder: &e {name: static, dim: 16}\npositives: {a: *e, b: *e, c: {<<: *e, dim: 2}}\n"
    )
    recipe = load(tmp_path / "a.yaml")
    assert recipe["positives"]["b"] == recipe["encoder"]
    assert recipe["positives"]["c"] == {"name": "static", "dim": 2}


def test_a_recipe_of_many_keys_is_read_in_one_sweep(tmp_path: Path) -> None:
    keys = ", ".join(f"k{i}: 1" for i in range(20_000))
    (tmp_path / "a.yaml").write_text(f"training: {{{keys}, k7: 2}}")
    with pytest.raises(InputError, match="'k7' is there twice"):
        load(tmp_path / "a.yaml")


def test_every_command_line_says_it_in_one_line(here: Path, nearfar: Run) -> None:
    (here / "a.yaml").write_text(RECIPES["aliases of aliases"][0])
    nearfar("train", "a.yaml").refused("a.yaml: not YAML", "aliases")


@pytest.mark.parametrize(
    "results",
    [
        b"",
        b'{"metrics": {',
        b"[1]",
        b'{"metrics": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b'{"metrics": {"mrr@10": 0.5}, "protocol": ' + b'{"a": ' * 600 + b"1" + b"}" * 601,
        b'{"metrics": {"mrr@10": ' + b"9" * 5000 + b"}}",
    ],
    ids=["empty", "cut off", "a list", "deep", "less deep", "a number of 5,000 digits"],
)
def test_damaged_results_are_refused(results: bytes, run_here: Path, nearfar: Run) -> None:
    (run_here / "run" / "results.json").write_bytes(results)
    nearfar("report", "run").refused("run", "evaluate the run again")
    nearfar("report", "run", "--json").refused("run", "evaluate the run again")


@pytest.mark.parametrize("text", [b'{"metrics": {"mrr@10": 0.5}, "task": "\xe9"}', b'\xef\xbb\xbf{"metrics": {}}'])
def test_results_that_say_enough_make_a_page(text: bytes, run_here: Path, nearfar: Run) -> None:
    (run_here / "run" / "results.json").write_bytes(text)
    done = nearfar("report", "run", "--json")
    assert done.code == 0 and json.loads(done.out)["report"] == "run/report.html"


def test_results_of_the_wrong_type_are_refused_and_the_page_is_kept(run_here: Path, nearfar: Run) -> None:
    page = (run_here / "run" / "report.html").read_bytes()
    file = run_here / "run" / "results.json"
    whole = json.loads(file.read_text())
    for change, said in ({"metrics": 5}, "metrics holds 5"), ({"protocol": 5}, "protocol holds 5"):
        file.write_text(json.dumps(whole | change))
        nearfar("report", "run").refused("results.json", said, "evaluate the run again")
        nearfar("report", "run", "--json").refused("results.json", said, "evaluate the run again")
    assert (run_here / "run" / "report.html").read_bytes() == page


def test_damaged_events_are_passed_over(run_here: Path, nearfar: Run) -> None:
    events = run_here / "run" / "events.jsonl"
    deep = b'{"event": "step", "step": 1, "loss": ' + b"[" * 20_000 + b"]" * 20_000 + b"}\n"
    events.write_bytes(bytes(range(256)) + b"\n" + deep + b'{"event": [], "step": {}}\n' + events.read_bytes()[:-20])
    assert nearfar("report", "run").code == 0


@pytest.mark.parametrize(
    "text",
    [b"[" * 20_000 + b"]" * 20_000, b'{"query": "a", "neg', b'[{"query": "a"}]', bytes(range(256)), b"{" * 20_000],
    ids=["deep", "cut off", "a list", "bytes", "deep and cut off"],
)
def test_damaged_decisions_are_refused(text: bytes, here: Path, nearfar: Run) -> None:
    (here / "d.jsonl").write_bytes(text)
    nearfar("mine", "model", "pairs.jsonl", "--out", "m.jsonl", "--decisions", "d.jsonl").refused("d.jsonl")
    assert not (here / "m.jsonl").exists()


def test_help_says_that_formulas_are_data(nearfar: Run) -> None:
    assert "begins with =" in " ".join(nearfar("audit", "--help").out.split())


def test_an_error_lists_few_of_many_names() -> None:
    names = [f"c{i}" for i in range(100_000)]
    assert listed(names).endswith("c39 and 99,960 more")
    assert listed([]) == "none"
    assert len(nearest("x" * 100_000, names)) < 400
