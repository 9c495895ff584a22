from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.column import Column, Ids, ListColumn, content_id
from nearfar.data.table import Table
from nearfar.errors import InputError
from nearfar.losses.infonce import InfoNCE
from nearfar.positives.columns import Columns
from tests.losses.naive import relation
from tests.training.runs import Rows

TEXT = st.sampled_from("abcde")  # few: queries and keys repeat, and repeat each other
LISTS = st.lists(TEXT, max_size=3)
TABLE = st.lists(st.tuples(LISTS, LISTS, LISTS, TEXT), min_size=1, max_size=8).filter(
    lambda rows: any(query and key for query, key, *_ in rows)
)


class ListRows(Rows):
    """Cells that may hold lists."""

    def lists(self, name: str) -> tuple[Column, Ids]:
        cells = [cell if isinstance(cell, list) else [cell] for cell in self.cells[name]]
        return ListColumn(name, [text for some in cells for text in some]), np.cumsum([0, *map(len, cells)])


def table(rows: list[tuple[list[str], list[str], list[str], str]]) -> ListRows:
    query, key, neg, other = (list(cells) for cells in zip(*rows, strict=True))
    return ListRows(query=query, pos=key, neg=neg, other=other)


def columns(rows: Any) -> Columns:
    return Columns(table(rows), query="query", key="pos", negative=["neg", "other"])


def naive(rows: Any, examples: Any) -> tuple[list[str], list[str], torch.Tensor, torch.Tensor]:
    """Return queries, keys, which pairs (n, m) are positives and which are compared, row by row."""
    all_pairs = [(row, q, k) for row, (query, key, *_) in enumerate(rows) for q in query for k in key]
    chosen = [all_pairs[example] for example in examples]
    queries, keys = [q for _, q, _ in chosen], [k for *_, k in chosen]
    members = sorted({row for row, *_ in chosen})
    keys += [text for row in members for text in rows[row][2]] + [rows[row][3] for row in members]
    answers = {(q, k) for _, q, k in all_pairs}
    positive = torch.tensor([[(q, k) in answers for k in keys] for q in queries])
    compared = positive | torch.tensor([[q != k for k in keys] for q in queries])
    return queries, keys, positive, compared


def test_one_column_for_both_pairs_the_different_texts_of_a_row() -> None:
    rows = ListRows(texts=[["a", "b", "c"], ["d"], ["e", "e"], ["a", "f"]])
    same = Columns(rows, query="texts", key="texts")
    found = [(row["query"], row["key"]) for row in same.describe(np.arange(len(same)))]
    assert found == [*((q, k) for q in "abc" for k in "abc" if q != k), ("a", "f"), ("f", "a")]
    batch = same.batch(np.array([0, 7]))  # the positives are (a, b) in one row and (f, a) in the other
    assert batch.pairs.known is not None  # (a, f) is a positive, too, and (a, a) is ignored


def test_one_column_for_both_is_judged_by_the_first_text_of_each_row() -> None:
    rows = ListRows(texts=[["a", "b", "c"], ["d"], ["e", "f", "a"]])
    task = Columns(rows, query="texts", key="texts").task("train")
    queries, documents = (side.read(0, len(side)) for side in (task.queries, task.documents))
    assert queries == ["a", "e"] and documents == ["b", "c", "f", "a"]
    assert task.relevance == {0: {0: 1, 1: 1}, 1: {2: 1, 3: 1}}
    assert task.excluded == {0: [3]}  # a document of "e" is the query "a" itself


def test_mirrored_lists_are_judged_as_mirrored_pairs_are() -> None:
    """The documents of each list are the queries of the other; none finds itself."""
    rows = ListRows(texts=[["a", "b"], ["b", "a"]])
    task = Columns(rows, query="texts", key="texts").task("train")
    assert (task.documents.read(0, 2), task.relevance) == (["b", "a"], {0: {0: 1}, 1: {1: 1}})
    assert task.excluded == {0: [1], 1: [0]}


def test_one_column_for_both_without_two_texts_in_a_row_is_refused() -> None:
    with pytest.raises(InputError, match="no two different texts in a row of 'texts'"):
        Columns(ListRows(texts=[["a"], ["b", "b"]]), query="texts", key="texts")


@settings(deadline=None)
@given(TABLE, st.data())
def test_a_batch_has_the_pairs_of_the_whole_table(rows: Any, data: st.DataObject) -> None:
    some = columns(rows)
    examples = data.draw(st.lists(st.integers(0, len(some) - 1), min_size=1, max_size=8))
    batch = some.batch(np.array(examples))
    queries, keys, positive, compared = naive(rows, examples)
    texts = {view: [some.views[view].read(0, 99)[row] for row in chosen] for view, chosen in batch.rows.items()}
    assert [text for view in some.query_views for text in texts[view]] == queries
    assert [text for view in some.key_views for text in texts[view]] == keys
    weight, candidate = relation(batch.pairs)
    assert torch.equal(weight, positive.double())
    assert torch.equal(candidate, compared)


@settings(deadline=None)
@given(TABLE, st.data())
def test_queued_keys_come_last_and_have_the_same_pairs_as_the_batchs_keys(rows: Any, data: st.DataObject) -> None:
    some = columns(rows)
    index = st.lists(st.integers(0, len(some) - 1), min_size=1, max_size=6)
    examples, queued = np.array(data.draw(index)), np.array(data.draw(index))
    batch, alone = some.batch(examples, queued), some.batch(examples)
    queries, keys, *_ = naive(rows, examples)
    _, queued_keys, *_ = naive(rows, queued)
    keys += queued_keys[: len(queued)]
    answers = {(q, k) for query, key, *_ in rows for q in query for k in key}
    positive = torch.tensor([[(q, k) in answers for k in keys] for q in queries])
    compared = positive | torch.tensor([[q != k for k in keys] for q in queries])
    weight, candidate = relation(batch.pairs)
    assert torch.equal(weight, positive.double())
    assert torch.equal(candidate, compared)
    assert {view: cells.tolist() for view, cells in batch.rows.items()} == {
        view: cells.tolist() for view, cells in alone.rows.items()
    }


@settings(deadline=None)
@given(TABLE, st.data())
def test_an_example_of_all_keys_is_a_distinct_query_with_each_of_its_keys_once(rows: Any, data: st.DataObject) -> None:
    some = Columns(table(rows), query="query", key="pos", negative=["neg", "other"], all_keys=True)
    answers: dict[str, dict[str, int]] = {}
    for row, (query, key, *_) in enumerate(rows):
        for q in query:
            for k in key:
                answers.setdefault(q, {}).setdefault(k, row)
    distinct = list(answers)
    assert len(some) == len(distinct)
    examples = data.draw(st.lists(st.integers(0, len(distinct) - 1), min_size=1, max_size=6))
    queries = [distinct[example] for example in examples]
    firsts = [next(iter(answers[q])) for q in queries]
    further = [(k, i) for i, q in enumerate(queries) for k in list(answers[q])[1:]]
    members = sorted({row for q in queries for row in answers[q].values()})
    keys = [*firsts, *(k for k, _ in further)]
    all_of_them = keys + [text for row in members for text in rows[row][2]] + [rows[row][3] for row in members]
    batch = some.batch(np.array(examples))
    texts = {view: [some.views[view].read(0, 99)[row] for row in chosen] for view, chosen in batch.rows.items()}
    assert (texts["query"], texts["key"]) == (queries, keys)
    assert batch.example_index["key"].tolist() == [*range(len(queries)), *(i for _, i in further)]
    positive = torch.tensor([[k in answers[q] for k in all_of_them] for q in queries])
    weight, candidate = relation(batch.pairs)
    assert torch.equal(weight, positive.double())
    assert torch.equal(candidate, positive | torch.tensor([[q != k for k in all_of_them] for q in queries]))


def test_all_keys_are_another_data_set_for_a_resumed_run_and_take_no_mined_negatives() -> None:
    rows: list[tuple[list[str], list[str], list[str], str]] = [(["a"], ["b", "c"], [], "d")]
    plain, whole = (
        columns(rows),
        Columns(table(rows), query="query", key="pos", negative=["neg", "other"], all_keys=True),
    )
    assert plain.fingerprint != whole.fingerprint and (len(plain), len(whole)) == (2, 1)
    with pytest.raises(InputError, match="leave all_keys out, or the negatives"):
        whole.with_negatives(np.full((1, 2), -1))


@settings(deadline=None)
@given(TABLE, st.data())
def test_mined_keys_follow_the_batchs_keys_and_are_never_false_negatives(rows: Any, data: st.DataObject) -> None:
    some = columns(rows)
    examples = np.array(data.draw(st.lists(st.integers(0, len(some) - 1), min_size=1, max_size=6)))
    cells = st.lists(st.integers(-1, len(some.views["key"]) - 1), min_size=2, max_size=2)
    mined = np.array(data.draw(st.lists(cells, min_size=len(some), max_size=len(some))))
    batch, plain = some.with_negatives(mined).batch(examples), some.batch(examples)
    texts = some.views["key"].read(0, 99)
    queries, keys, *_ = naive(rows, examples)
    of_examples = keys[: len(examples)]
    candidates = [texts[cell] for cell in mined[examples].ravel().tolist() if cell >= 0]
    added = [text for text in dict.fromkeys(candidates) if text not in of_examples]
    assert [texts[cell] for cell in batch.rows["key"].tolist()] == of_examples + added
    keys = of_examples + added + keys[len(of_examples) :]
    answers = {(q, k) for query, key, *_ in rows for q in query for k in key}
    positive = torch.tensor([[(q, k) in answers for k in keys] for q in queries])
    weight, candidate = relation(batch.pairs)
    assert torch.equal(weight, positive.double())
    assert torch.equal(candidate, positive | torch.tensor([[q != k for k in keys] for q in queries]))
    assert {view: cells.tolist() for view, cells in batch.rows.items() if view != "key"} == {
        view: cells.tolist() for view, cells in plain.rows.items() if view != "key"
    }


@settings(deadline=None)
@given(TABLE)
def test_ids_are_of_the_content_and_mean_the_same_in_every_batch(rows: Any) -> None:
    some, again = columns(rows), columns(rows)
    items: dict[tuple[str, str], set[int]] = {}
    for example in range(len(some)):
        for positives in (some, again):
            pairs = positives.batch(np.array([example])).pairs
            queries, keys, *_ = naive(rows, [example])
            for side, texts, ids in (("q", queries, pairs.query_item), ("k", keys, pairs.key_item)):
                for text, identity in zip(texts, ids.tolist(), strict=True):
                    items.setdefault((side, text), set()).add(identity)
            assert pairs.key_group.tolist() == [content_id(text) for text in keys]
            assert pairs.query_group.tolist() == [content_id(keys[0])]
    assert all(len(found) == 1 for found in items.values())
    assert len({identity for found in items.values() for identity in found}) == len(items)


def test_copies_change_nothing() -> None:
    """A duplicate of a row in the batch changes neither the loss of the others nor the set of negatives."""
    rows = Rows(query=["a", "b", "c", "a"], key=["A", "B", "C", "A"])
    some = Columns(rows)
    vectors = dict(zip("abcABC", torch.nn.functional.normalize(torch.randn(6, 8), dim=1), strict=True))

    def loss(examples: list[int]) -> float:
        batch = some.batch(np.array(examples))
        q = torch.stack([vectors[rows.cells["query"][row]] for row in batch.rows["query"]])
        k = torch.stack([vectors[rows.cells["key"][row]] for row in batch.rows["key"]])
        key_to_query = InfoNCE()(q, k, batch.pairs) * 2 - InfoNCE(symmetric=False)(q, k, batch.pairs)
        return float(key_to_query)

    assert loss([0, 1, 2, 3]) == pytest.approx(loss([0, 1, 2]), rel=1e-5)


@settings(deadline=None)
@given(TABLE)
def test_a_task_has_each_text_once_and_all_that_is_relevant(rows: Any) -> None:
    pairs = [(row, q, k) for row, (query, key, *_) in enumerate(rows) for q in query for k in key]
    task = Columns(table(rows), query="query", key="pos", cluster="other").task("heldout")
    queries, documents = task.queries.read(0, 99), task.documents.read(0, 99)
    assert queries == list(dict.fromkeys(q for _, q, _ in pairs))
    assert documents == list(dict.fromkeys(text for _, key, *_ in rows for text in key))
    found = {(queries[q], documents[d]): grade for q, judged in task.relevance.items() for d, grade in judged.items()}
    assert found == {(q, k): 1 for _, q, k in pairs}
    joined = {(a, b) for _, a, _ in pairs for b in [a]}
    for _ in range(len(pairs)):  # queries that share a row's cluster, or another query that does
        same = {(a, b) for r, a, _ in pairs for s, b, _ in pairs if rows[r][3] == rows[s][3]}
        joined |= same | {(a, c) for a, b in joined for d, c in joined | same if b == d}
    for i, a in enumerate(queries):
        for j, b in enumerate(queries):
            if a != b:
                assert (task.clusters[i] == task.clusters[j]) == ((a, b) in joined)


def test_a_task_without_a_cluster_column_has_a_cluster_for_each_query() -> None:
    task = Columns(Rows(query=["a", "b", "a"], key=["A", "B", "C"])).task("heldout")
    assert task.clusters.tolist() == [0, 1]
    assert task.notes == {"queries": 2, "documents": 3, "clusters": 2, "split": {}}
    assert (task.query_ids, task.document_ids) == (["q0", "q1"], ["d0", "d1", "d2"])


@pytest.mark.parametrize(
    ("row", "query", "key", "negatives"),
    [
        ({"query": "a", "key": "b", "negative": "c"}, "query", "key", ["negative"]),
        (
            {"query": "a", "key": "b", "negative_1": "c", "negative_2": "d"},
            "query",
            "key",
            ["negative_1", "negative_2"],
        ),
        ({"anchor": "a", "positive": "b", "negative": "c"}, "anchor", "positive", ["negative"]),
        ({"query": "a", "positive": "b"}, "query", "positive", []),
        ({"query": "a", "pos": ["b", "c"], "neg": ["d"]}, "query", "pos", ["neg"]),
        ({"query": "a", "answer": "b"}, "query", "answer", []),
        ({"question": "a", "answer": "b", "id": "7"}, "question", "answer", []),
        ({"sentence1": "a", "sentence2": "b"}, "sentence1", "sentence2", []),
        ({"sentence_1": "a", "sentence_2": "b"}, "sentence_1", "sentence_2", []),
        ({"query": "a", "key": "b", "negotiated": "c", "negative_score": 0.5}, "query", "key", []),
    ],
)
def test_roles_are_recognised_by_name(row: dict[str, Any], query: str, key: str, negatives: list[str]) -> None:
    roles = Columns(Table([row, row])).roles
    assert (roles.query, roles.key, roles.negatives) == (query, key, negatives)


@pytest.mark.parametrize("grade", ["score", "label"])
def test_graded_pairs_are_refused(grade: str) -> None:
    rows = [{"sentence1": "a", "sentence2": "b", grade: 3}]
    with pytest.raises(InputError, match=f"sentence pairs with a {grade} are graded, not positives or negatives"):
        Columns(Table(rows))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"^positives \(columns\): which column holds the queries and which the keys.*columns: ask, reply, source"),
        ({"query": "ask"}, r"^positives \(columns\): give both query and key"),
        (
            {"query": "aks", "key": "reply"},
            r"^positives\.query: no column 'aks'; did you mean 'ask'\? known: ask, reply",
        ),
        ({"query": "ask", "key": "replies"}, r"^positives\.key: no column 'replies'; did you mean 'reply'"),
        ({"query": "ask", "key": "reply", "negative": "x"}, r"^positives\.negative: no column 'x'; known: ask"),
        (
            {"query": "ask", "key": "reply", "cluster": "sauce"},
            r"^positives\.cluster: no column 'sauce'; did you mean 'source'",
        ),
    ],
)
def test_wrong_columns_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Columns(Table([{"ask": "a", "reply": "b", "source": "s"}]), **settings)


def test_an_empty_cell_is_named_by_row() -> None:
    with pytest.raises(InputError, match="row 2, column 'key'"):
        Columns(Table([{"query": "a", "key": "b"}, {"query": "c", "key": " "}]))


def test_rows_without_a_pair_are_an_error() -> None:
    with pytest.raises(InputError, match="the data has no rows"):
        Columns(Rows(query=[], key=[]))
    with pytest.raises(InputError, match="has no rows to judge with"):
        some = columns([(["a"], ["b"], [], "c")])
        some.data = ListRows(query=[[]], pos=[[]])
        some.task("heldout")


def test_a_column_may_have_the_name_of_a_view() -> None:
    """A column of negatives that is called like a view does not replace the view."""
    some = Columns(Rows(ask=["a", "b"], reply=["A", "B"], key=["x", "y"]), query="ask", key="reply", negative="key")
    batch = some.batch(np.array([1]))
    assert [some.views[view].read(0, 2)[batch.rows[view][0]] for view in some.key_views] == ["B", "y"]


def test_the_fingerprint_depends_on_pairs_and_negatives() -> None:
    def of(**cells: Any) -> str:
        return Columns(ListRows(**cells)).fingerprint

    prints = [
        of(query=["a", "b"], pos=[["A"], ["B"]]),
        of(query=["a", "b"], pos=[["B"], ["A"]]),
        of(query=["a", "b"], pos=[["A"], ["B", "C"]]),
        of(query=["a", "b"], pos=[["A", "B"], ["C"]]),
        of(query=["a", "b"], pos=[["A"], ["B"]], neg=[["x"], ["y", "z"]]),
        of(query=["a", "b"], pos=[["A"], ["B"]], neg=[["x", "y"], ["z"]]),
    ]
    assert len(set(prints)) == len(prints)
    assert prints[0] == of(query=["a", "b"], pos=[["A"], ["B"]])


def test_examples_are_described_with_their_row() -> None:
    some = columns([(["a"], ["A", "B"], [], "x"), (["b"], ["C"], [], "y")])
    assert some.describe(np.array([2, 1])) == [
        {"row": 2, "query": "b", "key": "C"},
        {"row": 1, "query": "a", "key": "B"},
    ]


def test_cells_that_are_no_texts_are_one_for_each_row() -> None:
    pictures = [np.full((2, 2, 3), i % 3, np.uint8) for i in range(4)]
    some = Columns(Rows(query=list("abcd"), key=pictures), query="query", key="key")
    assert some.describe(np.array([1])) == [{"row": 2, "query": "b", "key": "image of 2 x 2 x 3"}]
    assert some.batch(np.arange(4)).rows["key"].tolist() == [0, 1, 2, 3]
    pairs = some.batch(np.array([0, 3])).pairs
    assert pairs.key_group[0] == pairs.key_group[1]  # two equal pictures are one key
    task = some.task("train")
    assert len(task.documents) == 3 and task.relevance[3] == {0: 1}
    bags = Columns(Table([{"query": "a", "items": [3, 5]}, {"query": "b", "items": [7]}]), query="query", key="items")
    assert bags.views["key"].read(0, 2) == [[3, 5], [7]]


def test_lists_of_texts_in_memory_are_flattened() -> None:
    some = Columns(Rows(query=["a", "b"], key=[["x", "y"], "z"]), query="query", key="key")
    assert [(row["query"], row["key"]) for row in some.describe(np.arange(3))] == [("a", "x"), ("a", "y"), ("b", "z")]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (["x", None], "column 'key', row 2: is empty"),
        (["x", ""], "column 'key', row 2: is empty"),
        (["x", " "], "column 'key', row 2: is empty"),
        ([np.zeros(3), np.zeros((0, 3))], "column 'key', row 2: is empty"),
        ([np.zeros(3), None], "column 'key', row 2: is empty"),
        ([["x"], ["y", " "]], "column 'key', row 2: ' ' is no text, or an empty one"),
        ([["x"], [3]], "column 'key', row 2: 3 is no text"),
        (["x", object()], "column 'key', row 2: a cell of type object has no identity"),
    ],
)
def test_a_cell_that_is_missing_is_named(key: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Columns(Rows(query=["a", "b"], key=key), query="query", key="key")
