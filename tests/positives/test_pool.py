"""A task's documents are those of the pool that the data name, each once, and the split's own come first."""

from __future__ import annotations

from nearfar.abilities import pool_of
from nearfar.column import ListColumn
from nearfar.data.table import Table
from nearfar.positives.columns import Columns
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
    pool = pool_of(table, "heldout")
    assert pool is not None and len(pool) == 18 and pool_of(table, "train") is None


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

    assert pool_of(Plain(), "heldout") is None
