"""A column that names splits parts a table as files of those names do; a column that only looks like one does not."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from nearfar.data.labelled_pairs import LabelledPairs
from nearfar.data.table import Table
from nearfar.data.tables.files import split_name
from nearfar.errors import InputError
from nearfar.evaluation import sources
from nearfar.evaluation.sources import Reading
from nearfar.tasks import Retrieval
from tests.contracts.samples import write_lines

Rows = list[dict[str, Any]]


def rows(*splits: Any, name: str = "split") -> Rows:
    """Return a row for each value of the column of splits."""
    return [{"query": f"q{i}", "key": f"k{i}", name: split} for i, split in enumerate(splits)]


def queries(table: Table) -> list[str]:
    return list(table.column("query").read(0, len(table)))


def by_split(table: Table) -> dict[str, list[str]]:
    return {name: queries(table.split(name)) for name in table.splits}


def test_a_column_of_splits_parts_the_rows() -> None:
    table = Table(rows("test", "train", "dev", "Train", "TEST", "train"))
    assert by_split(table) == {"train": ["q1", "q3", "q5"], "validation": ["q2"], "test": ["q0", "q4"]}
    assert queries(table) == ["q1", "q3", "q5"]
    assert table.notes["splits"] == "by the column 'split': 3 train, 1 validation, 2 test"
    assert table.where(1) == "the list of rows: row 4"
    assert (table.positions.tolist(), table.split("test").positions.tolist()) == ([1, 3, 5], [0, 4])
    assert queries(table.split("dev")) == queries(table.split("val")) == ["q2"]
    whole = table.rows_of_all_splits()
    assert whole is not None and len(whole) == 6


@pytest.mark.parametrize(
    ("value", "split"),
    [
        *[(word, "train") for word in ("train", "Training", "TRAIN", "train-00000-of-00002")],
        *[(word, "validation") for word in ("dev", "val", "valid", "validation", "eval", "Dev_2")],
        *[(word, "test") for word in ("test", "test_2016_flickr", " test ")],
        *[(word, "heldout") for word in ("heldout", "held-out", "held_out", "Held out")],
        *[(word, None) for word in ("a", "trained", "latest", "", "1")],
    ],
)
def test_files_and_cells_name_splits_by_the_same_words(tmp_path: Path, value: str, split: str | None) -> None:
    assert split_name(value) == split
    if split is not None:
        assert Table(rows(value, value, "other train")).splits == (["train"] if split == "train" else ["train", split])
        write_lines(tmp_path / f"{value}.jsonl", rows("", name="x"))
        assert Table(tmp_path).splits == [split]


@pytest.mark.parametrize(
    "values",
    [("spruce", "oak"), ("train", "oak"), (1, 2), (None, None), ("", " "), tuple(f"train {i}" for i in range(21))],
)
def test_other_values_are_no_splits(values: tuple[Any, ...]) -> None:
    table = Table(rows(*values))
    assert (table.splits, len(table), table.notes) == (["train"], len(values), {"train": len(values), "heldout": 0})


def test_rows_in_no_split_and_in_one_of_another_name_are_not_trained_on() -> None:
    table = Table(rows("train", None, "test", "extra", " ", "train"))
    assert by_split(table) == {"train": ["q0", "q5"], "test": ["q2"], "extra": ["q3"]}
    words = "by the column 'split': 2 train, 1 test, 1 extra; 2 rows with an empty cell are in none"
    assert table.notes["splits"] == words


def test_the_setting_names_another_column_or_none() -> None:
    some = [row | {"part": "test" if i else "train"} for i, row in enumerate(rows("train", "test", "test"))]
    assert by_split(Table(some, split_column=None)) == {"train": ["q0", "q1", "q2"]}
    assert by_split(Table(rows("train", "test", name="part"))) == {"train": ["q0", "q1"]}
    assert by_split(Table(some[::-1], split_column="part")) == {"train": ["q0"], "test": ["q2", "q1"]}
    assert by_split(Table(rows("train", "test", name="Split"))) == {"train": ["q0"], "test": ["q1"]}
    with pytest.raises(InputError, match="no column 'prat' of splits; did you mean 'part'"):
        Table(some, split_column="prat")
    with pytest.raises(InputError, match="column 'key': its values name no splits"):
        Table(some, split_column="key")


def test_files_that_name_splits_go_before_a_column(tmp_path: Path) -> None:
    write_lines(tmp_path / "train.jsonl", rows("train", "test"))
    write_lines(tmp_path / "test.jsonl", rows("train", "test", "dev"))
    table = Table(tmp_path)
    assert {name: len(table.split(name)) for name in table.splits} == {"test": 3, "train": 2}
    assert table.notes["splits"] == "by the names of files, not by their column 'split'"
    again = Table(tmp_path, split_column=None)
    assert (again.splits, again.notes) == (["test", "train"], {"train": 2, "heldout": 0})


def test_held_out_rows_are_of_the_training_rows_alone() -> None:
    some = rows(*["train", "test", "dev"] * 40)
    table = Table(some, heldout=10)
    parts = by_split(table)
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 30,
        "validation": 40,
        "test": 40,
        "heldout": 10,
    }
    training = [row["query"] for row in some if row["split"] == "train"]
    assert sorted(parts["train"] + parts["heldout"]) == sorted(training)
    assert table.notes["splits"] == "by the column 'split': 40 train, 40 validation, 40 test"
    with pytest.raises(InputError, match="has a split 'heldout' already"):
        Table(rows("train", "heldout"), heldout=0.5)


@pytest.mark.parametrize(
    ("values", "judged"), [(("train", "test", "dev"), "test"), (("train", "dev"), "validation"), (("train",), "train")]
)
def test_evaluate_judges_test_and_training_reads_train(tmp_path: Path, values: tuple[str, ...], judged: str) -> None:
    path = str(write_lines(tmp_path / "pairs.jsonl", rows(*values * 3)))
    task = sources.task(path, None)
    assert isinstance(task, Retrieval) and len(task.queries) == 3
    assert task.queries.read(0, 1) == [f"q{values.index('dev' if judged == 'validation' else judged)}"]
    whole = sources.task(path, None, Reading({"split_column": None}))
    assert isinstance(whole, Retrieval) and len(whole.queries) == 3 * len(values)


def test_a_corpus_is_searched_whole(tmp_path: Path) -> None:
    path = str(write_lines(tmp_path / "texts.jsonl", rows("train", "test", "dev")))
    assert len(sources.texts(path, "key")[1]) == 3
    assert sources.texts(path, "key", split="test")[1].read(0, 9) == ["k1"]


def test_pair_labels_have_their_dev_pairs_from_the_column() -> None:
    some = [
        {"sentence1": f"a{i}", "sentence2": f"b{i}", "label": i % 2, "split": "test" if i < 4 else "dev"}
        for i in range(10)
    ]
    task = LabelledPairs(some).task()
    assert task.dev is not None and (len(task.same), len(task.dev.same)) == (4, 6)


def test_nl2bash_is_its_splits(shared_data: Path) -> None:
    path = shared_data / "C-nl2bash" / "pairs.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    table = Table(path)
    assert {name: len(table.split(name)) for name in table.splits} == {"train": 11121, "validation": 489, "test": 997}
    assert Counter(line["split"] for line in lines) == {"train": 11121, "dev": 489, "test": 997}
    expected = [line["nl"] for line in lines if line["split"] == "test"]
    assert table.split("test").column("nl").read(0, 997) == expected
