"""A task's documents are those of the pool that the data name, each once, and the split's own come first."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nearfar.abilities import pool_of
from nearfar.augmentations.text_crop import TextCrop
from nearfar.column import ListColumn, content_ids
from nearfar.data.table import Table
from nearfar.positives.columns import Columns
from nearfar.positives.relations.documents import JoinedColumn
from nearfar.positives.relations.view import ViewEntry
from nearfar.positives.views import Views
from nearfar.tasks import Retrieval


def documents(task: Retrieval) -> list[str]:
    return list(task.documents.read(0, len(task.documents)))


def test_documents_of_the_pool_are_added_once() -> None:
    rows = [{"query": f"q{i}", "key": f"k{(i + j) % 3}"} for i in range(9) for j in range(2)]
    table = Table(rows, heldout=2)
    task = Columns(table).task("heldout")
    assert sorted(documents(task)) == ["k0", "k1", "k2"] and len(task.queries) == 1
    own = table.split("heldout").column("key")
    assert documents(task)[:2] == own.read(0, 2) and task.relevance == {0: {0: 1, 1: 1}}
    assert task.document_ids == ["d0", "d1", "d2"]
    assert [len(rows) for rows in pool_of(table, "heldout")] == [16] and task.seen is not None
    assert [len(rows) for rows in pool_of(table, "train")] == [2] and task.seen.all()


def test_the_pool_is_the_documents_of_all_splits_and_says_which_training_has_seen(tmp_path: Path) -> None:
    sides = {"train": range(6), "dev": range(4, 8), "test": range(7, 10)}
    for name, numbers in sides.items():
        lines = (json.dumps({"query": f"{name} {i}", "key": f"k{i}"}) for i in numbers)
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    positives = Columns(Table(tmp_path))
    test = positives.task("test")
    assert documents(test)[:3] == ["k7", "k8", "k9"] and sorted(documents(test)) == [f"k{i}" for i in range(10)]
    assert test.seen is not None and sorted(np.array(documents(test))[test.seen]) == [f"k{i}" for i in range(6)]
    train = positives.task("train")
    assert train.seen is None and len(train.documents) == 10 and documents(train)[:6] == [f"k{i}" for i in range(6)]


def test_negatives_are_texts_that_training_has_seen() -> None:
    rows = [{"query": f"q{i}", "key": f"k{i}", "negative": f"k{(i + 1) % 40}"} for i in range(40)]
    table = Table(rows, heldout=4, heldout_by=["query"])
    task = Columns(table).task("heldout")
    trained = set(table.column("key").read(0, 99)) | set(table.column("negative").read(0, 99))
    assert task.seen is not None and task.seen[:4].any()
    assert task.seen.tolist() == [text in trained for text in documents(task)]


def test_views_are_ranked_among_the_views_of_all_documents() -> None:
    """A document of training has its crop taken out, too: otherwise its length alone would tell it apart."""
    table = Table([{"text": " ".join(f"d{i}w{j}" for j in range(30))} for i in range(20)], heldout=4)
    task = Views(table, views=[ViewEntry(TextCrop(), times=2)]).task("heldout")
    assert len(task.queries) == 4 and len(task.documents) == 20
    assert task.seen is not None and task.seen.tolist() == [False] * 4 + [True] * 16
    assert all(len(text.split()) < 30 for text in documents(task))
    whole = Views(table, views=[ViewEntry(TextCrop(), times=2)]).task("train")
    assert sorted(documents(whole)) == sorted(documents(task)) and whole.seen is None


@given(st.lists(st.integers(0, 5), max_size=6), st.integers(0, 40), st.integers(0, 40))
def test_joined_columns_read_as_one(sizes: list[int], start: int, stop: int) -> None:
    parts = [[f"{i} {j}" for j in range(size)] for i, size in enumerate([1, *sizes])]
    joined = JoinedColumn("text", [ListColumn("part", part) for part in parts])
    whole = [cell for part in parts for cell in part]
    stop = min(stop, len(whole))
    assert joined.read(min(start, stop), stop) == whole[min(start, stop) : stop] and len(joined) == len(whole)
    assert content_ids(joined).tolist() == content_ids(ListColumn("text", whole)).tolist()


def test_lists_of_paraphrases_have_a_pool_without_its_queries() -> None:
    rows = [{"set": [f"a{i}", f"b{i}", f"c{i // 2}"]} for i in range(12)]  # two rows share a text
    table = Table(rows, heldout=2)
    assert table.notes["held-out groups"] == 1
    task = Columns(table, query="set", key="set").task("heldout")
    assert len(task.queries) == 2
    everything = {text for row in rows for text in row["set"][1:]}
    assert set(documents(task)) == everything and len(documents(task)) == len(everything)


def test_data_that_say_nothing_have_no_pool() -> None:
    class Plain:
        def __init__(self) -> None:
            self.columns = ["query"]
            self.fingerprint = "plain"

        def __len__(self) -> int:
            return 1

        def column(self, name: str) -> ListColumn:
            return ListColumn(name, ["x"])

        def split(self, name: str) -> Plain:
            return self

    assert pool_of(Plain(), "heldout") == []
