"""Commands read a table by the columns, the split and the delimiter that they are given, as training does."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nearfar as nf
from tests.cli.calling import Run
from tests.cli.conftest import pairs
from tests.contracts.samples import beir


@pytest.fixture
def german(here: Path) -> list[dict[str, str]]:
    """Rows in de.csv, parted by semicolons, whose columns have unusual names; commas lie in the texts."""
    rows = [{"de": f"{row['query']}, bitte", "en": row["key"]} for row in pairs(40)]
    with (here / "de.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["de", "en"], delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
    return rows


def facts(nearfar: Run, *words: str) -> Any:
    done = nearfar(*words, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


@pytest.mark.parametrize(
    "words",
    [
        ["--query", "de", "--key", "en", "--delimiter", ";"],
        ["positives.query=de", "positives.key=en", "data.delimiter=;"],
        ["positives.query=de", "--key", "en", "data.delimiter=;", "--delimiter", ";"],
    ],
    ids=["options", "settings", "both"],
)
def test_evaluate_takes_columns_and_delimiter(german: list[dict[str, str]], words: list[str], nearfar: Run) -> None:
    found = facts(nearfar, "evaluate", "model", "de.csv", *words)
    expected = nf.positives.Columns(nf.data.Table(german), query="de", key="en").task("train")
    assert found["metrics"] == pytest.approx(nf.evaluate(nf.Model.load("model"), expected).metrics)
    assert found["protocol"]["queries"] == len({row["de"] for row in german})


def test_evaluate_on_rows_that_a_setting_holds_out(german: list[dict[str, str]], nearfar: Run) -> None:
    call = ["evaluate", "model", "de.csv", "data.delimiter=;", "positives.query=de", "positives.key=en"]
    assert facts(nearfar, *call, "data.heldout=10")["protocol"]["queries"] == 10


def test_columns_that_are_given_win_over_grades(here: Path, nearfar: Run) -> None:
    rows = [{**row, "sentence1": row["query"], "sentence2": row["key"], "score": i} for i, row in enumerate(pairs(9))]
    (here / "graded.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert "spearman" in facts(nearfar, "evaluate", "model", "graded.jsonl")["metrics"]
    found = facts(nearfar, "evaluate", "model", "graded.jsonl", "--query", "query", "--key", "key")
    assert "mrr@10" in found["metrics"]


def test_mine_takes_them(german: list[dict[str, str]], nearfar: Run) -> None:
    call = ["mine", "model", "de.csv", "data.delimiter=;", "positives.query=de", "positives.key=en"]
    assert facts(nearfar, *call, "--out", "n.jsonl")["examples"] == len(german)
    first = json.loads(Path("n.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert (first["query"], first["key"]) == (german[0]["de"], german[0]["en"])


def test_audit_takes_the_delimiter_and_cleans_by_it(german: list[dict[str, str]], here: Path, nearfar: Run) -> None:
    with (here / "de.csv").open("a", encoding="utf-8") as file:
        file.write(f'"{german[0]["de"]}";"{german[0]["en"]}"\n')
    call = ["audit", "de.csv", "--query", "de", "--key", "en", "--out", "a.html", "--fix", "fixed.jsonl"]
    found = facts(nearfar, *call, "--delimiter", ";")
    assert found["splits"] == {"train": len(german) + 1}
    assert found["fixed"]["kept"] == len(german)
    assert [json.loads(line) for line in Path("fixed.jsonl").read_text(encoding="utf-8").splitlines()] == german


def test_search_and_embed_take_split_and_delimiter(german: list[dict[str, str]], here: Path, nearfar: Run) -> None:
    (here / "set").mkdir()
    (here / "set" / "train.csv").write_text("text;id\na red fox, really;a\n", encoding="utf-8")
    (here / "set" / "test.csv").write_text("text;id\na grey goose, really;b\n", encoding="utf-8")
    read = ["--delimiter", ";", "--split", "test"]
    [hit] = facts(nearfar, "search", "model", "set", "fox", *read)
    assert (hit["id"], hit["text"]) == ("b", "a grey goose, really")
    [hit] = facts(nearfar, "search", "model", "set", "fox", "data.delimiter=;")
    assert (hit["id"], hit["text"]) == ("a", "a red fox, really")
    facts(nearfar, "embed", "model", "set", "--out", "v.npy", *read)
    np.testing.assert_array_equal(np.load("v.npy"), nf.Model.load("model").embed(["a grey goose, really"]))


def test_lab_takes_columns_and_delimiter(german: list[dict[str, str]], nearfar: Run) -> None:
    call = ["lab", "temperature", "model", "de.csv", "--steps", "0"]
    found = facts(nearfar, *call, "--query", "de", "--key", "en", "--delimiter", ";")
    assert found["protocol"]["pairs of the data"] == len(german)
    assert facts(nearfar, *call, "positives.query=de", "--key", "en", "data.delimiter=;")["curves"] == found["curves"]


def test_mine_reads_a_corpus_as_it_is_told(german: list[dict[str, str]], here: Path, nearfar: Run) -> None:
    """In the format of DATA it is parsed as DATA is, and its documents lie in the column of the keys, if it has one."""
    call = ["mine", "model", "de.csv", "--query", "de", "--key", "en", "--delimiter", ";", "--out", "m.jsonl"]
    documents = len({row["en"] for row in german})
    (here / "more.csv").write_text("text;en\nold, grey;a red fox, really\nold, red;a grey goose, really\n")
    assert facts(nearfar, *call, "--corpus", "more.csv")["documents"] == documents + 2
    (here / "other.csv").write_text("id|prose\na|a red fox, really\n")
    own = ["corpus.column=prose", "corpus.delimiter=|"]
    assert facts(nearfar, *call, "--corpus", "other.csv", *own)["documents"] == documents + 1
    nearfar(*call, *own).refused("corpus.column=prose", "(data.SETTING and positives.SETTING)")
    nearfar(*call, "--corpus", "other.csv", "corpus.colunm=prose").refused("'colunm'")
    nearfar(*call, "--corpus", "other.csv", "corpus.path=x").refused("corpus.path=x", "corpus.SETTING")
    nearfar(*call, "--corpus", "other.csv", "corpsu.column=x").refused("did you mean 'corpus'")


@pytest.mark.filterwarnings("ignore:calibration on")
def test_embed_reads_a_calibration_as_it_is_told(german: list[dict[str, str]], here: Path, nearfar: Run) -> None:
    call = ["embed", "model", "de.csv", "--column", "de", "--delimiter", ";", "--precision", "int8", "--out", "v.npy"]
    facts(nearfar, *call, "--calibration", "de.csv")
    model = nf.Model.load("model")
    texts = [row["de"] for row in german]
    np.testing.assert_array_equal(np.load("v.npy"), model.embed(texts, precision="int8", calibration=texts))
    facts(nearfar, *call, "--calibration", "de.csv", "calibration.column=en")
    keys = [row["en"] for row in german]
    np.testing.assert_array_equal(np.load("v.npy"), model.embed(texts, precision="int8", calibration=keys))


@pytest.mark.parametrize("given", [["--split", "test"], ["--column", "text"]], ids=lambda words: words[0])
def test_a_split_or_column_of_what_has_none_is_refused(given: list[str], here: Path, nearfar: Run) -> None:
    beir(here / "beir")
    said = f"leave {given[0][2:]} {given[1]} out"
    nearfar("search", "model", "beir", "fox", *given).refused("beir", said)
    nearfar("embed", "model", "beir", "--out", "v.npy", *given).refused("beir", said)


def test_a_text_file_is_a_table_of_one_column_and_one_split(here: Path, nearfar: Run) -> None:
    (here / "lines.txt").write_text("a red fox\na grey goose\n")
    for call in (["search", "model", "lines.txt", "fox"], ["embed", "model", "lines.txt", "--out", "v.npy"]):
        assert nearfar(*call, "--column", "text").code == 0
        nearfar(*call, "--column", "txt").refused("lines.txt", "no column 'txt'; did you mean 'text'?")
        nearfar(*call, "--split", "test").refused("lines.txt", "no split 'test'; known: train")


def test_what_cannot_be_set_is_refused(german: list[dict[str, str]], here: Path, nearfar: Run) -> None:
    beir(here / "beir")
    call = ["evaluate", "model", "de.csv"]
    nearfar(*call, "training.epochs=3").refused("training.epochs=3", "known: data, positives")
    nearfar(*call, "data.path=x.csv").refused("data.path=x.csv", "is the argument")
    nearfar(*call, "data.delimeter=;").refused("'delimeter'", "did you mean 'delimiter'")
    nearfar(*call, "data.delimiter=;", "positives.qeury=de").refused("'qeury'", "did you mean 'query'")
    nearfar(*call, "positives.query=de", "--query", "en").refused("--query en and positives.query=de", "one of them")
    nearfar("evaluate", "model", "beir", "--query", "de").refused("beir", "--query, positives.query")
    nearfar("search", "model", "de.csv", "fox", "positives.query=de").refused("positives.query=de", "known: data")
