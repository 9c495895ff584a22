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
from nearfar.text.same_text import ANSWERS_ELSEWHERE


def documents(task: Retrieval) -> list[str]:
    return list(task.documents.read(0, len(task.documents)))


def test_documents_of_the_pool_are_added_once() -> None:
    rows = [{"query": f"q{i}", "key": f"k{(i + j) % 3}"} for i in range(9) for j in range(2)]
    table = Table(rows, heldout=2)
    task = Columns(table).task("heldout")
    assert sorted(documents(task)) == ["k0", "k1", "k2"] and len(task.queries) == 1
    own = set(table.split("heldout").column("key").read(0, 2))
    assert {documents(task)[row] for row in task.relevance[0]} == own and len(own) == 2
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
    assert [documents(test)[row] for q in range(3) for row in test.relevance[q]] == ["k7", "k8", "k9"]
    assert sorted(documents(test)) == [f"k{i}" for i in range(10)]
    assert test.seen is not None and sorted(np.array(documents(test))[test.seen]) == [f"k{i}" for i in range(6)]
    train = positives.task("train")
    assert train.seen is None and len(train.documents) == 10


def test_negatives_are_texts_that_training_has_seen() -> None:
    rows = [{"query": f"q{i}", "key": f"k{i}", "negative": f"k{(i + 1) % 40}"} for i in range(40)]
    table = Table(rows, heldout=4, heldout_by=["query"])
    task = Columns(table).task("heldout")
    trained = set(table.column("key").read(0, 99)) | set(table.column("negative").read(0, 99))
    assert task.seen is not None and any(task.seen[row] for judged in task.relevance.values() for row in judged)
    assert task.seen.tolist() == [text in trained for text in documents(task)]


def test_views_are_ranked_among_the_views_of_all_documents() -> None:
    """A document of training has its crop taken out, too: otherwise its length alone would tell it apart."""
    table = Table([{"text": " ".join(f"d{i}w{j}" for j in range(30))} for i in range(20)], heldout=4)
    task = Views(table, views=[ViewEntry(TextCrop(), times=2)]).task("heldout")
    assert len(task.queries) == 4 and len(task.documents) == 20
    found = sorted(row for judged in task.relevance.values() for row in judged)
    assert task.seen is not None and np.flatnonzero(~task.seen).tolist() == found
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


def test_an_answer_in_another_split_is_no_wrong_document() -> None:
    """The better a model has learnt its training answers, the worse would it look."""
    rows = [{"query": f"q{i}", "key": f"train {i}", "split": "train"} for i in range(40)]
    rows += [{"query": f"q{i}", "key": f"test {i}", "split": "test"} for i in range(20)]
    task = Columns(Table(rows)).task("test")
    found = documents(task)
    assert {q: [found[d] for d in ds] for q, ds in task.excluded.items()} == {i: [f"train {i}"] for i in range(20)}
    assert {q: [found[d] for d in ds] for q, ds in task.relevance.items()} == {i: [f"test {i}"] for i in range(20)}
    assert task.notes[ANSWERS_ELSEWHERE] == 20


def test_equal_scores_do_not_favour_the_documents_of_the_split() -> None:
    """A model with one vector for all finds by chance alone: recall@100 of 500 documents is 0.2."""
    table = Table([{"query": f"q{i}", "key": f"k{i}"} for i in range(500)], heldout=100)
    for task in (
        Columns(table).task("heldout"),
        Views(Table([{"text": f"a b c d {i}"} for i in range(500)], heldout=100)).task("heldout"),
    ):
        places = np.array([row for judged in task.relevance.values() for row in judged])
        assert len(places) == 100 and abs(np.mean(places < 100) - 0.2) < 0.12
        assert abs(places.mean() - 249.5) < 45


def test_documents_without_a_query_are_ranked(tmp_path: Path) -> None:
    rows: list[dict[str, str | None]] = [{"query": f"q{i}", "key": f"k{i}", "split": "train"} for i in range(30)]
    rows += [{"query": None, "key": f"more {i}", "split": "corpus"} for i in range(5)]
    rows += [{"query": f"t{i}", "key": f"test {i}", "split": "test"} for i in range(5)]
    task = Columns(Table(rows)).task("test")
    assert len(task.documents) == 40 and ANSWERS_ELSEWHERE not in task.notes
