"""A comparison of runs: its numbers, what it refuses, and what it says on the terminal and on the page."""

from __future__ import annotations

import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from nearfar.errors import InputError
from nearfar.reports.comparison import comparison
from nearfar.reports.comparison_page import page
from nearfar.reports.comparison_tables import show_comparison
from nearfar.reports.run_record import run_records
from tests.reports.runs import N, rows, values, write_run

GAINS, LOSSES = {1: 1.0, 4: 0.5, 9: 1.0}, {3: 0.25, 7: 0.0}


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    return [
        write_run(tmp_path / "a", rows(values()), "loss: {name: infonce, temperature: 0.05}\ntraining: {epochs: 3}\n"),
        write_run(
            tmp_path / "b",
            rows(values(GAINS | LOSSES)),
            "loss: {name: infonce, temperature: 0.1}\ntraining: {epochs: 3}\nevaluate: [{name: knn}]\n",
        ),
    ]


def compared(folders: list[Path]) -> dict[str, Any]:
    facts = comparison(run_records(folders))
    json.dumps(facts, allow_nan=False)
    return facts


def shown(folders: list[Path], width: int = 80) -> str:
    out = io.StringIO()
    show_comparison(compared(folders), Console(file=out, width=width))
    return out.getvalue()


def html(folders: list[Path]) -> str:
    records = run_records(folders)
    return page(comparison(records))


def test_the_difference_is_that_of_a_naive_loop(two: list[Path]) -> None:
    naive = [b - a for a, b in zip(values(), values(GAINS | LOSSES))]
    (task,) = compared(two)["tasks"]
    gap = task["difference"]["b"]["mrr@10"]
    assert gap["value"] == pytest.approx(sum(naive) / N, abs=1e-15)
    assert gap["low"] < gap["value"] < gap["high"]
    found = task["rows"]["b"]
    assert (found["better"], found["worse"], found["equal"]) == (3, 2, N - 5)
    assert [row["row"] for row in found["wins"]] == [1, 9, 4]
    assert [row["row"] for row in found["losses"]] == [7, 3]
    assert [row["difference"] for row in found["wins"] + found["losses"]] == [0.75, 0.75, 0.5, -0.75, -0.5]
    assert found["wins"][0]["values"] == {"a": 0.25, "b": 1.0}
    assert found["wins"][0]["rank"] == {"a": 4, "b": 1}
    assert found["wins"][0]["expected"] == ["query document 1"]
    assert [[one["relevant"] for one in ranked] for ranked in found["wins"][0]["found"].values()] == [
        [False, True],
        [True, False],
    ]


def test_the_other_order_is_the_mirror_image(two: list[Path]) -> None:
    (there,), (back,) = compared(two)["tasks"], compared(two[::-1])["tasks"]
    for metric, gap in there["difference"]["b"].items():
        mirrored = back["difference"]["a"][metric]
        assert mirrored["value"] == pytest.approx(-gap["value"], abs=1e-12)
        if gap["low"] is not None:
            assert (mirrored["low"], mirrored["high"]) == pytest.approx((-gap["high"], -gap["low"]), abs=1e-9)
    assert {row["row"] for row in back["rows"]["a"]["losses"]} == {row["row"] for row in there["rows"]["b"]["wins"]}


def test_a_number_of_the_whole_has_no_interval_and_it_is_said(two: list[Path]) -> None:
    facts = compared(two)
    (task,) = facts["tasks"]
    assert task["difference"]["b"]["alignment"] == {"value": 0.0, "low": None, "high": None}
    assert any("without a paired interval" in note and "Alignment" in note for note in task["notes"])
    assert facts["intervals"] == 2
    assert "2 intervals of differences were looked at" in facts["notes"][0]


def test_settings_that_are_equal_are_not_shown(two: list[Path]) -> None:
    assert compared(two)["settings"] == [
        {"setting": "loss.temperature", "values": {"a": 0.05, "b": 0.1}},
        {"setting": "evaluate.0.name", "values": {"b": "knn"}},
    ]


def test_each_of_several_is_compared_with_the_first(two: list[Path], tmp_path: Path) -> None:
    third = write_run(tmp_path / "c", rows(values({0: 1.0})))
    (task,) = compared([*two, third])["tasks"]
    assert list(task["difference"]) == list(task["rows"]) == ["b", "c"]
    assert task["difference"]["c"]["mrr@10"]["value"] == pytest.approx(1 / N)
    assert [one["run"] for one in task["sentences"]] == ["b", "c"]


def test_a_decided_difference_is_said_so(tmp_path: Path) -> None:
    folders = [
        write_run(tmp_path / "low", rows([0.25] * N)),
        write_run(tmp_path / "high", rows([0.5 + 0.5 * (i % 2) for i in range(N)])),
    ]
    (task,) = compared(folders)["tasks"]
    assert task["sentences"][0]["outcome"] == "better"
    assert task["sentences"][0]["text"].startswith("high is better than low: MRR@10 0.750, 0.500 [")
    (back,) = compared(folders[::-1])["tasks"]
    assert back["sentences"][0]["text"].startswith("low is worse than high: MRR@10 0.250, 0.500 [")


def test_a_run_of_an_earlier_release_has_values_alone(two: list[Path], tmp_path: Path) -> None:
    old = write_run(tmp_path / "old", rows(values()), with_rows=False)
    for folders in ([old, two[1]], [two[1], old]):
        (task,) = compared(folders)["tasks"]
        (gaps,) = task["difference"].values()
        assert gaps["mrr@10"]["value"] != 0 and gaps["mrr@10"]["low"] is None
        assert task["rows"] == {} and task["intervals"]["old"]["mrr@10"]["low"] is not None
        assert any("old keeps no values of single rows" in note for note in task["notes"])
        assert "old keeps no values" in " ".join(shown(folders).split())
        assert "Old keeps no values" in html(folders)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (rows(values(), task="test"), ["judged on test, and", "on heldout;"]),
        (rows(values(), kind="labels"), ["judged on heldout, labels, and"]),
        (rows(values(), parts={"queries": "a", "documents": "c"}), ["on heldout its documents differ from those of"]),
        (rows(values(), parts={"queries": "x", "documents": "c"}), ["its queries, documents differ"]),
        (rows(values(), parts={"queries": "a"}), ["its documents differ"]),
        (rows(values()[:-2]), ["its rows differ", "20 queries", "18 queries"]),
    ],
)
def test_a_run_on_another_task_is_refused_by_name(other: Any, said: list[str], two: list[Path], tmp_path: Path) -> None:
    wrong = write_run(tmp_path / "wrong", other)
    with pytest.raises(InputError) as error:
        compared([two[0], two[1], wrong])
    assert str(error.value).startswith(f"{wrong}: ")
    assert all(words in str(error.value) for words in said), error.value


def test_another_size_is_refused_without_rows(two: list[Path], tmp_path: Path) -> None:
    old = write_run(tmp_path / "old", rows(values()), with_rows=False, protocol={"kind": "retrieval", "queries": 19})
    with pytest.raises(InputError, match="its queries, documents, clusters differ"):
        compared([two[0], old])


def test_one_run_and_the_same_run_twice_are_refused(two: list[Path]) -> None:
    with pytest.raises(InputError, match="one run alone"):
        compared(two[:1])
    with pytest.raises(InputError, match="given twice"):
        compared([two[0], two[0].parent / "." / two[0].name])


def test_a_task_of_some_runs_is_said(two: list[Path], tmp_path: Path) -> None:
    kept = rows(values())
    more = write_run(tmp_path / "more", kept, unseen={"task": "unseen", "metrics": {"mrr@10": 0.5}})
    facts = compared([more, two[0]])
    assert [task["task"] for task in facts["tasks"]] == ["heldout"]
    assert "a: not judged on unseen" in facts["notes"]


def test_a_baseline_that_is_another_in_each_run_is_left_out(two: list[Path], tmp_path: Path) -> None:
    other = {"bm25": {"mrr@10": 0.4}, "start": {"mrr@10": 0.2}}
    third = write_run(tmp_path / "c", rows(values()), baseline=other)
    fourth = write_run(tmp_path / "d", rows(values()), baseline=other | {"start": {"mrr@10": 0.3}})
    (task,) = compared([third, fourth])["tasks"]
    assert list(task["baseline"]) == ["bm25"]
    assert any("start" in note for note in task["notes"])


def test_runs_of_one_name_go_by_their_paths(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / where / "run", rows(values())) for where in ("one", "two")]
    assert [run["name"] for run in compared(folders)["runs"]] == [str(folder) for folder in folders]


DAMAGE: dict[str, tuple[dict[str, Any], str]] = {
    "rows of another number": ({"rows": [{"text": "a"}]}, "tasks.0.rows: holds 1 rows of 20"),
    "values of another number": ({"values": {"mrr@10": [1.0]}}, "tasks.0.values.mrr@10: holds 1 rows of 20"),
    "values of words": ({"values": {"mrr@10": ["a"] * N}}, "tasks.0.values.mrr@10.0 holds 'a'"),
    "no such document": ({"documents": []}, "tasks.0.rows.0: names documents that are not there"),
    "resamples without end": ({"resamples": 10**12}, "resamples or seed out of range"),
    "clusters without end": ({"clusters": [10**30] * N}, "tasks.0.clusters: holds a number that is none of 20"),
    "numbers without end": ({"values": {"mrr@10": [10**400] * N}}, "tasks.0"),
    "some resamples": (
        {"samples": {"auroc": {"whole": 0.5, "resampled": [0.5] * 7, "without": [0.5] * N}}},
        "tasks.0.samples.auroc: of 7 resamples, not all",
    ),
    "no clusters": ({"clusters": []}, "holds 20 rows of 0"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_rows_are_refused_by_name(kind: str, two: list[Path]) -> None:
    change, said = DAMAGE[kind]
    (two[1] / "rows.json").write_text(json.dumps({"tasks": [rows(values()).to_json() | change]}))
    with pytest.raises(InputError) as error:
        compared(two)
    assert str(error.value).startswith(str(two[1] / "rows.json"))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_copy_of_a_run_differs_in_nothing(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name, rows(values())) for name in "ab"]
    (task,) = compared(folders)["tasks"]
    gap = task["difference"]["b"]["mrr@10"]
    assert gap["value"] == 0 and gap["low"] <= 0 <= gap["high"]
    assert "cannot be told from" in task["sentences"][0]["text"]
    found = task["rows"]["b"]
    assert (found["better"], found["worse"], found["equal"]) == (0, 0, N) and found["wins"] == [] == found["losses"]


def test_of_runs_of_one_row_nothing_is_said(tmp_path: Path) -> None:
    one, two = (rows([value]) for value in (0.5, 1.0))
    folders = [write_run(tmp_path / "a", one), write_run(tmp_path / "b", two)]
    (task,) = compared(folders)["tasks"]
    assert task["difference"]["b"]["mrr@10"] == {"value": 0.5, "low": None, "high": None}
    assert task["sentences"][0]["outcome"] == "unknown"
    assert task["rows"]["b"]["better"] == 1
    assert "Nothing can be said of b beside a" in shown(folders)


def test_metrics_of_another_k_are_not_compared(tmp_path: Path) -> None:
    at_five = rows(values(), values={"mrr@5": np.array(values())})
    folders = [write_run(tmp_path / "a", rows(values())), write_run(tmp_path / "b", at_five)]
    (task,) = compared(folders)["tasks"]
    assert list(task["difference"]["b"]) == ["alignment"]
    assert task["metrics"]["a"]["mrr@5"] is None is task["metrics"]["b"]["mrr@10"]
    assert task["sentences"][0]["text"] == "b and a share no metric."
    assert task["rows"] == {}
    assert "share no metric" in shown(folders) and "share no metric" in html(folders)


def test_a_value_that_is_not_finite_is_null(tmp_path: Path) -> None:
    odd = values()
    odd[2] = float("nan")
    folders = [write_run(tmp_path / "a", rows(values())), write_run(tmp_path / "b", rows(values()))]
    kept = rows(values(), values={"mrr@10": np.array(odd)})
    (folders[1] / "rows.json").write_text(json.dumps({"tasks": [kept.to_json()]}).replace("NaN", "null"))
    (task,) = compared(folders)["tasks"]
    assert task["difference"]["b"]["mrr@10"]["low"] is None
    assert task["rows"]["b"]["equal"] == N - 1


def test_the_terminal_says_all_of_it(two: list[Path]) -> None:
    said = shown(two)
    assert max(map(len, said.splitlines())) <= 80
    for words in ("heldout: 20 queries, 40 documents", "b cannot be told from a", "difference [low, high]", "BM25"):
        assert words in said
    assert "b, by MRR@10: 3 queries better, 2 worse, 15 equal" in said
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert "+0.750 rank 4 to 1 query 1" in lines and "-0.750 rank 1 to none query 7" in lines
    assert "loss.temperature" in said and "training.epochs" not in said


class Parts(HTMLParser):
    """The tags of a page, its texts, and the names of its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.names: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.names |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_shows_all_of_it(two: list[Path]) -> None:
    found = Parts(html(two))
    text = " ".join(found.text.split())
    assert "b cannot be told from a" in text and "Difference of b to a" in text
    assert "3 better, 2 worse, 15 equal" in text and "query document 7" in text and "not found" in text
    assert "Loss in training" in text and "Held-out loss" in text
    assert "loss.temperature" in text and "training.epochs" not in text
    assert "The runs differ in loss.temperature, so compare the course" in text
    assert found.tags.count("script") == 1
    assert "style" not in found.names, "a page has no inline style"


def test_programs_read_the_curves_that_the_page_draws(two: list[Path]) -> None:
    found = {curve["title"]: curve for curve in json.loads(json.dumps(compared(two)))["curves"]}
    assert list(found) == ["Loss in training", "Held-out loss"]
    assert [curve["over"] for curve in found.values()] == ["step", "step"]
    logged = [json.loads(line) for line in (two[1] / "events.jsonl").read_text().splitlines()]
    held = [[one["step"], one["heldout_loss"]] for one in logged if one["event"] == "heldout"]
    assert found["Held-out loss"]["series"]["b"] == held
    losses = [one["loss"] for one in logged if one["event"] == "step"]
    shown = dict(map(tuple, found["Loss in training"]["series"]["b"]))
    for step in range(1, 41):  # moving averages over a twentieth: of one step to each side, of none at the ends
        reach = min(1, step - 1, 40 - step)
        assert shown[step] == pytest.approx(np.mean(losses[step - 1 - reach : step + reach]))
    assert set(found["Loss in training"]["series"]) == {"a", "b"}


def test_curves_over_batches_of_two_sizes_are_over_examples(two: list[Path]) -> None:
    log = (two[1] / "events.jsonl").read_text()
    (two[1] / "events.jsonl").write_text(log.replace('"batch_size": 16', '"batch_size": 32'))
    for curve in compared(two)["curves"]:
        assert curve["over"] == "examples"
        assert [points[-1][0] for points in curve["series"].values()] == [640, 1280]
    text = html(two)
    assert 'data-x="examples"' in text
    assert "0.0 1280.0" in text, "40 steps of 32"


def test_hostile_text_is_shown_and_does_nothing(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>\x1b[2J\u202e"
    recipe = json.dumps({"loss": {"name": hostile}, hostile: 5})
    folders = [
        write_run(tmp_path / "<b>a\x1b[2J", rows(values(), hostile), recipe),
        write_run(tmp_path / "b", rows(values(GAINS), hostile)),
    ]
    said, found = shown(folders), html(folders)
    for text in (said, found):
        assert "\x1b" not in text and "\u202e" not in text
    assert Parts(found).tags.count("script") == 1 and Parts(found).tags.count("b") == Parts(html(folders)).tags.count(
        "b"
    )
    assert "<script>alert" not in found and "&lt;script&gt;alert" in found
    assert "style" not in Parts(found).names
