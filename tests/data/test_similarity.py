"""Graded pairs: the STS benchmark keeps every row, and pairs that share a sentence are one cluster."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar import tasks
from nearfar.data.similarity import Similarity
from nearfar.data.table import Table
from nearfar.errors import InputError


def pairs(*rows: tuple[str, str, Any]) -> list[dict[str, Any]]:
    return [{"sentence1": first, "sentence2": second, "score": score} for first, second, score in rows]


def test_a_table_becomes_a_task() -> None:
    task = Similarity(pairs(("a", "b", 1), ("c", "d", 2), ("b", "e", 3), ("e", "f", 4))).task()
    assert isinstance(task, tasks.Similarity)
    assert (task.first.read(0, 4), task.second.read(0, 4)) == (["a", "c", "b", "e"], ["b", "d", "e", "f"])
    assert task.scores.tolist() == [1, 2, 3, 4]
    first, other = task.clusters[0], task.clusters[1]
    assert task.clusters.tolist() == [first, other, first, first]
    assert first != other
    assert task.notes == {"pairs": 4, "clusters": 2}


@given(rows=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=20))
@settings(max_examples=60, deadline=None)
def test_clusters_are_the_pairs_that_hang_together(rows: list[tuple[int, int]]) -> None:
    data = pairs(*((f"s{a}", f"s{b}", i) for i, (a, b) in enumerate(rows)))
    clusters = Similarity(data).task().clusters
    together = np.array([[bool({*a} & {*b}) for b in rows] for a in rows])  # (n, n)
    for _ in rows:
        together = together @ together
    assert ((clusters[:, None] == clusters) == together).all()


def test_columns_can_be_named_and_a_test_split_is_taken(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a,b,grade\nx,y,1\nz,w,2\n")
    (tmp_path / "test.csv").write_text("a,b,grade\np,q,3\nr,s,4.5\n")
    task = Similarity(tmp_path, first="a", second="b", score="grade").task()
    assert task.scores.tolist() == [3, 4.5]
    assert task.name == "test"
    task = Similarity(Table(tmp_path), first="a", second="b", score="grade").task()
    assert task.scores.tolist() == [1, 2]


def test_a_missing_column_is_named_with_its_role(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("sentence_1,sentence2,score\nx,y,1\n")
    with pytest.raises(InputError) as error:
        Similarity(tmp_path / "a.csv")
    assert str(error.value) == (
        f"{tmp_path / 'a.csv'}: no column 'sentence1' for the first; name it with first=...; "
        "did you mean 'sentence_1'? known: score, sentence2, sentence_1"
    )


def test_scores_without_an_order_are_an_error() -> None:
    with pytest.raises(InputError, match="column 'score': all 2 scores are 1, which puts the pairs in no order"):
        Similarity(pairs(("a", "b", 1), ("c", "d", 1))).task()


@pytest.mark.parametrize(
    ("row", "says"),
    [(("a", "", 1), "row 2, column 'sentence2': is empty"), (("a", "b", None), "row 2, column 'score': null is not")],
)
def test_a_bad_row_is_named(row: tuple[str, str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Similarity(pairs(("x", "y", 1), row, ("z", "w", 2))).task()


@pytest.mark.parametrize(("split", "count"), [("train", 5749), ("dev", 1500), ("test", 1379)])
def test_the_original_sts_benchmark_keeps_every_row(shared_data: Path, split: str, count: int) -> None:
    task = Similarity(shared_data / "B-stsb" / f"sts-{split}.csv.gz").task()
    assert (len(task.first), len(task.second), len(task.scores), len(task.clusters)) == (count,) * 4
    assert task.scores.min() >= 0
    assert task.scores.max() <= 5


def test_the_original_sts_benchmark_is_what_its_parsed_copy_says(shared_data: Path) -> None:
    parsed = Table(shared_data / "B-stsb" / "stsb.jsonl.gz", split_column=None)
    rows = [i for i, split in enumerate(parsed.column("split").read(0, len(parsed))) if split == "test"]
    task = Similarity(shared_data / "B-stsb" / "sts-test.csv.gz").task()
    for column, name in ((task.first, "sentence1"), (task.second, "sentence2")):
        cells = parsed.text(name).read(0, len(parsed))
        assert [cells[row].strip() for row in rows] == [cell.strip() for cell in column.read(0, len(column))]
    assert parsed.numbers("score")[rows].tolist() == task.scores.tolist()
    by_column = Similarity(shared_data / "B-stsb" / "stsb.jsonl.gz").task()
    assert by_column.scores.tolist() == task.scores.tolist()


def test_mrpc_with_its_own_column_names(shared_data: Path) -> None:
    path = shared_data / "B-mrpc" / "msr-para-test.tsv.gz"
    task = Similarity(path, first="#1 String", second="#2 String", score="Quality").task()
    assert (len(task.scores), task.scores.mean().round(2)) == (1725, 0.66)
