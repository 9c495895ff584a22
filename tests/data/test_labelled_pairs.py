"""Labelled pairs: which rows are judged, which ones choose thresholds, and the Microsoft paraphrase corpus."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from nearfar import tasks
from nearfar.data.labelled_pairs import LabelledPairs
from nearfar.errors import InputError
from nearfar.evaluation import sources


def rows(*labels: Any) -> list[dict[str, Any]]:
    return [{"sentence1": f"a {i}", "sentence2": f"b {i // 2}", "label": label} for i, label in enumerate(labels)]


def splits(folder: Path, **labels: list[int]) -> Path:
    for split, values in labels.items():
        lines = "".join(f"{split} a{i},{split} b{i},{value}\n" for i, value in enumerate(values))
        (folder / f"{split}.csv").write_text(f"sentence1,sentence2,label\n{lines}")
    return folder


def test_a_table_becomes_a_task() -> None:
    task = LabelledPairs(rows(1, 0, 1)).task()
    assert isinstance(task, tasks.PairLabels)
    assert task.same.tolist() == [True, False, True]
    assert task.clusters[0] == task.clusters[1] != task.clusters[2]
    assert task.dev is None
    assert task.notes == {"split": "train", "pairs": 3, "clusters": 2}


@pytest.mark.parametrize(
    ("names", "split", "dev"),
    [
        (("train", "dev", "test"), "test", "validation"),  # as tables call it
        (("train", "test"), "test", "train"),
        (("train", "dev"), "validation", "train"),
    ],
)
def test_test_is_judged_and_dev_chooses_thresholds(
    tmp_path: Path, names: tuple[str, ...], split: str, dev: str
) -> None:
    folder = splits(tmp_path, **{name: [1, 0] if name != "test" else [1, 0, 1] for name in names})
    task = LabelledPairs(folder).task()
    assert task.dev is not None
    assert (task.notes["split"], task.notes["thresholds are chosen on"]) == (split, {"split": dev, "pairs": 2})
    assert task.dev.first.read(0, 1) == [f"{'train' if dev == 'train' else 'dev'} a0"]
    assert LabelledPairs(folder, dev="none").task().dev is None


def test_columns_and_splits_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("p,q,equal\nx,y,1\nz,w,0\n")
    (tmp_path / "test.csv").write_text("p,q,equal\nr,s,0\nt,u,1\n")
    named = {"first": "p", "second": "q", "label": "equal"}
    task = LabelledPairs(tmp_path, **named, split="train", dev="test").task()
    assert (task.same.tolist(), task.dev is not None and task.dev.same.tolist()) == ([True, False], [False, True])
    with pytest.raises(InputError, match="no column 'sentence1' for the first; name it with first="):
        LabelledPairs(tmp_path)
    with pytest.raises(InputError, match="no split 'other'"):
        LabelledPairs(tmp_path, **named, split="other").task()


def test_a_label_that_is_neither_is_named_by_its_row() -> None:
    with pytest.raises(InputError, match=r"row 2, column 'label': 3 is neither 1 \(the same\) nor 0"):
        LabelledPairs(rows(1, 3)).task()


def test_the_command_line_knows_them_by_their_columns(tmp_path: Path) -> None:
    folder = splits(tmp_path, train=[1, 0], dev=[0, 1], test=[1, 0, 0])
    task = sources.task(str(folder), None)
    assert isinstance(task, tasks.PairLabels)
    assert len(task.same) == 3 and task.dev is not None
    dev = sources.task(str(folder), "validation")
    assert isinstance(dev, tasks.PairLabels) and len(dev.same) == 2
    assert LabelledPairs.recognised(["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"])
    assert not LabelledPairs.recognised(["sentence1", "sentence2", "score"])
    assert not LabelledPairs.recognised(["text", "label"])


def test_the_microsoft_paraphrase_corpus(shared_data: Path, tmp_path: Path) -> None:
    for file in (shared_data / "B-mrpc").glob("*.tsv.gz"):
        shutil.copy(file, tmp_path)
    task = sources.task(str(tmp_path), None)
    assert isinstance(task, tasks.PairLabels)
    assert (len(task.same), round(float(task.same.mean()), 4)) == (1725, 0.6649)
    assert task.dev is not None and len(task.dev.same) == 500
