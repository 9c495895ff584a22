"""Views of one document are positives; copies are one document, and passages of one are ignored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar import config, registry
from nearfar.abilities import TakesQueue, tasks_of
from nearfar.augmentations.text_cloze import TextCloze
from nearfar.augmentations.text_crop import TextCrop
from nearfar.augmentations.text_noise import TextNoise
from nearfar.column import ListColumn, content_ids
from nearfar.compute.draws import Draws
from nearfar.data.table import Table
from nearfar.errors import InputError
from nearfar.losses.infonce import InfoNCE
from nearfar.positives.relations.documents import Passages, SelectedCells
from nearfar.positives.relations.view import ViewEntry
from nearfar.positives.views import Views
from nearfar.tasks import Labels, Retrieval
from tests.losses.naive import relation
from tests.training.runs import Rows

WORDS = [" ".join(f"d{i}w{j}" for j in range(30)) for i in range(12)]


def documents(texts: list[str]) -> Rows:
    return Rows(text=texts)


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=8), st.data())
def test_positives_follow_content(texts: list[str], data: st.DataObject) -> None:
    found = Views(documents(texts))
    examples, queued = (
        np.array(data.draw(st.lists(st.integers(0, len(texts) - 1), min_size=least, max_size=6)), np.int64)
        for least in (1, 0)
    )
    batch = found.batch(examples, queued)
    assert batch.rows["query"].tolist() == batch.rows["key"].tolist() == examples.tolist()
    weight, compared = relation(batch.pairs)
    expected = [[texts[i] == texts[j] for j in [*examples, *queued]] for i in examples]
    assert (weight > 0).tolist() == expected
    assert compared.all()
    alone = found.batch(examples)
    assert alone.pairs.shape == (len(examples), len(examples))


ENTRIES = st.lists(
    st.builds(ViewEntry, st.none(), st.integers(1, 2), st.sampled_from(["both", "query", "key"])),
    min_size=1,
    max_size=4,
)


@settings(deadline=None)
@given(ENTRIES, st.lists(st.sampled_from(["a b c d", "e f g h", "e f x y", "z"]), min_size=1, max_size=5), st.data())
def test_any_views_are_positives_of_their_document(
    entries: list[ViewEntry], texts: list[str], data: st.DataObject
) -> None:
    """Of a document, any other view is a positive; the same view is itself; another passage of it is ignored."""
    sides = [entry.side for entry in entries for _ in range(entry.times)]
    queries = [i for i, side in enumerate(sides) if side != "key"]
    keys = [i for i, side in enumerate(sides) if side != "query"]
    if not queries or any(not set(keys) - {query} for query in queries):
        with pytest.raises(InputError, match="each query view needs another view"):
            Views(documents(texts), views=entries)
        return
    chunk = data.draw(st.sampled_from([0, 2]))
    found = Views(documents(texts), views=entries, chunk=chunk)
    examples, queued = (
        np.array(data.draw(st.lists(st.integers(0, len(found) - 1), min_size=least, max_size=4)), np.int64)
        for least in (1, 0)
    )
    batch = found.batch(examples, queued)
    cells = found.documents.cells.read(0, len(found))
    in_queries = [(view, i) for view in queries for i in examples]
    in_keys = [(view, i) for view in keys for i in examples] + [(keys[0], i) for i in queued]
    positive = [[cells[i] == cells[j] and v != w for w, j in in_keys] for v, i in in_queries]
    document = [texts[row] for row in found.documents.row.tolist()]

    def one_document(query: tuple[int, int], key: tuple[int, int]) -> bool:
        """Say whether any copies of the two are of one document."""
        copies = [
            [i for view, i in rows if view == row[0] and cells[i] == cells[row[1]]]
            for rows, row in ((in_queries, query), (in_keys, key))
        ]
        return any(document[i] == document[j] for i in copies[0] for j in copies[1])

    negative = [
        [cells[query[1]] != cells[key[1]] and not one_document(query, key) for key in in_keys] for query in in_queries
    ]
    weight, compared = relation(batch.pairs)
    assert (weight > 0).tolist() == positive
    assert (compared & (weight == 0)).tolist() == negative
    assert [len(batch.rows[view]) for view in found.query_views] == [len(examples)] * len(queries)
    assert len(set(found.views)) == len(sides)


def nt_xent(z: torch.Tensor, n: int, temperature: float) -> torch.Tensor:
    """Equation 1 of Chen et al. 2020 (SimCLR), of rows k and k + n, entry by entry, averaged over all 2n."""
    total = z.new_zeros(())
    for i in range(2 * n):
        j = (i + n) % (2 * n)
        others = sum((z[i] @ z[k] / temperature).exp() for k in range(2 * n) if k != i)
        total = total - ((z[i] @ z[j] / temperature).exp() / others).log()
    return total / (2 * n)


def test_two_views_on_both_sides_are_nt_xent() -> None:
    n = 7
    found = Views(documents(WORDS), views=[ViewEntry(TextCrop(), times=2)])
    assert found.query_views == found.key_views == ["view", "view 2"]
    vectors = torch.nn.functional.normalize(torch.randn(2 * n, 5, dtype=torch.float64), dim=1)
    pairs = found.batch(np.arange(n)).pairs
    loss = InfoNCE(temperature=0.2)(vectors, vectors, pairs)
    torch.testing.assert_close(loss, nt_xent(vectors, n, 0.2), rtol=1e-9, atol=0)


def test_a_query_and_a_key_are_one_to_one_and_the_queue_holds_the_first_key_view() -> None:
    """MoCo: the document's other view is its one positive, in the batch and in the queue."""
    found = Views(documents(WORDS), views=[ViewEntry(TextCrop(), side="query"), ViewEntry(TextCrop(), side="key")])
    weight, compared = relation(found.batch(np.arange(3), np.array([2, 5])).pairs)
    assert compared.all()
    assert weight.tolist() == [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 1, 0]]
    assert isinstance(found, TakesQueue)
    assert found.batch(np.arange(3)).positive_index is None  # the first b keys


def test_many_small_views_are_queries_of_few_large_ones() -> None:
    large, small = TextCrop(0.6, 0.9), TextCrop(0.2, 0.3)
    found = Views(documents(WORDS), views=[ViewEntry(large, 2), ViewEntry(small, 6, "query")])
    batch = found.batch(np.arange(4))
    weight, _ = relation(batch.pairs)
    assert batch.pairs.shape == (8 * 4, 2 * 4)
    assert weight.sum(1).tolist() == [1] * 8 + [2] * 24  # a large view has the other one, a small view has both
    assert len({view.stream for view in found.augmentations.values()}) == 8
    for row in found.describe(np.arange(12)):
        lengths = {name: len(str(text).split()) for name, text in row.items() if name != "row"}
        assert {name for name, length in lengths.items() if length >= 18} == {"view", "view 2"}
        assert len({row[name] for name in found.query_views}) > 3  # each is a draw of its own


def test_views_of_a_cloze_may_stand_beside_others() -> None:
    found = Views(
        documents(["One is. Two is. Three is."] * 3),
        views=[ViewEntry(TextCloze(0.0)), ViewEntry(TextNoise(), 1, "key")],
    )
    assert (found.query_views, found.key_views) == (["query"], ["key", "key 2"])
    streams = {name: view.stream for name, view in found.augmentations.items()}
    assert streams["query"] == streams["key"] != streams["key 2"]


class Shift:
    """An augmentation of arrays alike: each is moved by a number of its own."""

    def __call__(self, cells: Any, draws: Draws) -> Any:
        assert isinstance(cells, torch.Tensor)
        return cells + draws.uniform(1).reshape(-1, *[1] * (cells.ndim - 1))


def pictures(n: int = 8, **more: Any) -> Rows:
    cells = list(np.random.default_rng(0).normal(size=(n, 4, 3)).astype(np.float32))
    return Rows(recording=[*cells[:-1], cells[0]], **more)


def test_cells_that_are_no_text_have_views_and_find_themselves() -> None:
    found = Views(pictures(), views=[ViewEntry(side="query"), ViewEntry(Shift(), side="key")])
    assert len(found) == 8
    task = found.task("heldout")
    assert len(task.queries) == len(task.documents) == 7  # the last one is a copy of the first
    queries, cells = task.queries.read(0, 7), task.documents.read(0, 7)
    assert [type(cell) for cell in (*queries, *cells)] == [np.ndarray] * 14
    assert cells[3] is found.documents.cells.read(3, 4)[0]
    moved = [query - cell for query, cell in zip(queries, cells, strict=True)]
    assert all(move.min() > 0 and move.max() - move.min() < 1e-6 for move in moved)
    np.testing.assert_array_equal(task.queries.read(5, 6)[0], queries[5])  # however it is read
    assert len(np.unique(content_ids(task.queries))) == 7
    assert found.describe(np.array([1]))[0] == {"row": 2, "query": "recording of 4 x 3", "key": "recording of 4 x 3"}


def test_cells_that_are_no_text_need_an_augmentation_or_labels_to_be_judged() -> None:
    plain = Views(pictures())
    with pytest.raises(InputError, match="without an augmentation a cell that is no text finds itself"):
        plain.task("heldout")
    with pytest.raises(InputError, match="or a column of labels"):
        plain.tasks("heldout")
    labelled = Views(pictures(label=[1, 2, None, 10, 10, float("nan"), 2, 2]))
    (labels,) = labelled.tasks("heldout")
    assert isinstance(labels, Labels)
    assert labels.classes == ["1", "2", "10"]
    assert labels.labels.tolist() == labels.train_labels.tolist() == [0, 1, 2, 2, 1, 1]
    assert len(labels.cells) == len(labels.train) == 6
    assert labels.notes["without a label"] == labels.notes["train without a label"] == 2
    np.testing.assert_array_equal(labels.cells.read(4, 5)[0], labelled.documents.cells.read(6, 7)[0])
    assert labels.clusters[0] == labels.clusters[5]  # copies of one recording
    both = Views(pictures(kind=["b", "a", *"abbaab"]), views=[ViewEntry(Shift(), 2)], label="kind").tasks("heldout")
    assert [type(task) for task in both] == [Retrieval, Labels]
    with pytest.raises(InputError, match="no row of the training rows has a label in column 'label'"):
        Views(pictures(label=[None] * 8)).tasks("heldout")


def test_labels_of_texts_are_those_of_their_rows() -> None:
    rows = [{"text": text, "class": "even" if i % 2 == 0 else "odd"} for i, text in enumerate(WORDS)]
    found = Views(Table(rows, heldout=4, heldout_by=["text"]), chunk=15)
    retrieval, labels = tasks_of(found, "heldout")
    assert isinstance(retrieval, Retrieval)
    assert isinstance(labels, Labels)
    assert labels.classes == ["even", "odd"]
    for cells, places in ((labels.cells, labels.labels), (labels.train, labels.train_labels)):
        for cell, place in zip(cells.read(0, len(cells)), places.tolist(), strict=True):
            assert int(cell.split("w")[0][1:]) % 2 == place
    assert (len(labels.train), len(labels.cells)) == (16, 8)  # two passages of each text
    assert labels.notes["split"]["heldout"] == 4


def test_copies_of_a_document_count_once() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(3, 4, dtype=torch.float64), dim=1)
    found = Views(documents(["a", "b", "c", "b"]))
    once, twice = found.batch(np.array([0, 1, 2])).pairs, found.batch(np.array([0, 1, 2, 3])).pairs
    loss, again = InfoNCE(symmetric=False), torch.tensor([0, 1, 2, 1])
    one = loss(vectors[:1], vectors, replace(once, query_group=once.query_group[:1], query_item=once.query_item[:1]))
    two = loss(
        vectors[:1], vectors[again], replace(twice, query_group=twice.query_group[:1], query_item=twice.query_item[:1])
    )
    torch.testing.assert_close(two, one)


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(1, 12), st.data())
def test_passages_are_the_documents_in_parts(lengths: list[int], size: int, data: st.DataObject) -> None:
    texts = [" \n" + "  ".join(f"t{t}w{i}" for i in range(n)) for t, n in enumerate(lengths)]
    found = Passages(ListColumn("text", texts), size)
    cells = found.read(0, len(found))
    for t, text in enumerate(texts):
        passages = [cell for cell, document in zip(cells, found.document, strict=True) if document == t]
        assert " ".join(passages).split() == text.split()
        counts = [len(cell.split()) for cell in passages]
        assert all(count == size for count in counts[:-1])
        assert len(passages) == 1 or size / 2 <= counts[-1] < 1.5 * size
    start = data.draw(st.integers(0, len(found)))
    assert found.read(start, len(found)) == cells[start:]
    assert found.read(start, start) == []


def test_passages_of_one_document_are_ignored() -> None:
    found = Views(documents([WORDS[0], WORDS[1]]), chunk=10)
    assert len(found) == 6
    weight, compared = relation(found.batch(np.arange(6)).pairs)
    same = torch.arange(6)[:, None] // 3 == torch.arange(6) // 3
    assert torch.equal(weight > 0, torch.eye(6, dtype=torch.bool))
    assert torch.equal(compared, torch.eye(6, dtype=torch.bool) | ~same)
    assert found.batch(np.array([0, 3])).pairs.known is None
    assert found.describe(np.array([4]))[0]["row"] == 2


def test_two_crops_are_independent_draws_and_a_cloze_is_one_draw() -> None:
    crop = TextCrop()
    two = Views(documents(WORDS), views=[ViewEntry(crop, side="query"), ViewEntry(crop, side="key")])
    assert two.augmentations["query"].stream != two.augmentations["key"].stream
    assert [described["query"] == described["key"] for described in two.describe(np.arange(12))].count(True) < 3
    cloze = Views(documents(["One is. Two is. Three is."] * 3), views=[ViewEntry(TextCloze(keep=0.0))])
    for described in cloze.describe(np.arange(3)):
        assert described["query"] not in described["key"]
    half = Views(documents(WORDS), views=[ViewEntry(side="query"), ViewEntry(TextNoise(delete=0.5), side="key")])
    assert list(half.augmentations) == ["key"]
    assert half.describe(np.array([2]))[0]["query"] == WORDS[2]


def test_the_task_is_to_find_the_document_and_is_always_the_same() -> None:
    table = Table([{"text": text} for text in [*WORDS, WORDS[3]]], heldout=4)
    views = Views(table, views=[ViewEntry(TextCrop(), times=2)])
    task = views.task("heldout")
    queries, texts = (column.read(0, len(column)) for column in (task.queries, task.documents))
    assert len(queries) == len(set(table.split("heldout").column("text").read(0, 9)))
    assert len(texts) == len(WORDS)
    texts = [texts[row] for i in range(len(queries)) for row in task.relevance[i]]
    for query, rest in zip(queries, texts, strict=True):  # the document is the text without the crop
        (whole,) = (text for text in WORDS if query in text)
        assert query not in rest
        assert sorted(f"{query} {rest}".split()) == sorted(whole.split())
    again = Views(table, views=[ViewEntry(TextCrop(), times=2)]).task("heldout")
    assert again.queries.read(0, 9) == queries
    assert task.notes["split"]["heldout"] == len(table.split("heldout"))
    plain = Views(table).task("heldout")  # without an augmentation the query is a crop, too
    assert plain.queries.read(0, 9) == queries
    chunked = Views(table, chunk=10).task("heldout")
    assert len(chunked.queries) == 3 * len(texts)
    assert chunked.clusters.tolist() == [i for c in dict.fromkeys(chunked.clusters.tolist()) for i in [c] * 3]


def test_the_task_of_a_cloze_is_to_find_the_rest() -> None:
    texts = [f"Sentence {i}. It says {i} and more. The end of {i}." for i in range(6)]
    task = Views(documents(texts), views=[ViewEntry(TextCloze(keep=0.0))]).task("heldout")
    for query, rest in zip(task.queries.read(0, 6), task.documents.read(0, 6), strict=True):
        assert query not in rest
        assert any(query in text and sorted(f"{query} {rest}".split()) == sorted(text.split()) for text in texts)


def test_a_query_that_is_most_of_the_text_or_no_part_of_it_leaves_the_document_whole() -> None:
    short = Views(documents(["a line of eight words and two more"]), views=[ViewEntry(TextCrop(), 2)]).task("heldout")
    assert short.documents.read(0, 1) == ["a line of eight words and two more"]
    noisy = Views(documents(WORDS), views=[ViewEntry(TextNoise(delete=0.3), 2)]).task("heldout")
    assert noisy.documents.read(0, 12) == WORDS
    assert noisy.queries.read(0, 12) != WORDS


def test_settings_of_augmentations_are_part_of_the_fingerprint() -> None:
    kinds: list[dict[str, Any]] = [
        *({}, {"views": [ViewEntry(times=2)]}, {"views": [ViewEntry(times=3)]}, {"views": [ViewEntry(TextCrop(), 2)]}),
        *(
            {"views": [ViewEntry(TextCrop(), 1, "query"), ViewEntry(None, 1, "key")]},
            {"views": [ViewEntry(TextCrop(longest=0.4), 2)]},
        ),
        *({"views": [ViewEntry(TextCloze())]}, {"views": [ViewEntry(TextCloze(keep=0.2))]}, {"chunk": 10}),
    ]
    assert len({Views(documents(WORDS), **kind).fingerprint for kind in kinds}) == len(kinds)
    assert Views(documents(WORDS)).fingerprint != Views(documents(WORDS[:5])).fingerprint


@pytest.mark.parametrize(
    ("data", "more", "message"),
    [
        (Rows(a=["x"], b=["y"]), {}, "which column holds the documents"),
        (Rows(text=["x"]), {"column": "txet"}, "no column 'txet'; did you mean 'text'"),
        (Rows(text=["x"]), {"chunk": -1}, r"^positives\.chunk is a number of words"),
        (Rows(text=["x"]), {"views": [ViewEntry(TextCloze(), 2)]}, r"views\.0: text_cloze makes two views"),
        (
            Rows(text=["x"]),
            {"views": [ViewEntry(), ViewEntry(TextCloze(), 1, "query")]},
            r"views\.1: .*leave out times and side",
        ),
        (Rows(text=["x"]), {"views": []}, "each query view needs another view as its key, there are .* side none"),
        (Rows(text=["x"]), {"views": [ViewEntry()]}, "of side both; give times: 2"),
        (Rows(text=["x"]), {"views": [ViewEntry(side="key"), ViewEntry(side="key")]}, "of side key, key"),
        (Rows(text=["x"]), {"views": [ViewEntry(side="query")]}, "of side query; give"),
        (
            Rows(text=["x"]),
            {"views": [ViewEntry(times=0)]},
            r"views\.0\.times is a number of views, at least 1; it is 0",
        ),
        (Rows(text=["x"]), {"views": [ViewEntry(side="left")]}, r"views\.0\.side must be both, query or key"),  # type: ignore[arg-type]
        (Rows(text=["x"]), {"views": {"name": "text_crop"}}, r"views: \{'name': 'text_crop'\} is no list"),
        (
            Table([{"text": "x", "size": 3}]),
            {"column": "size"},
            "column 'size': holds '3', and the column's type is int64",
        ),
        (Rows(text=["x"], b=["y"]), {"label": "lable"}, r"positives\.label: no column 'lable'"),
        (Rows(image=[np.zeros((2, 2, 3)), None]), {}, r"column 'image', row 2: is empty"),
        (Rows(array=[np.zeros(4)]), {"chunk": 5}, "column 'array' holds cells of kind vector; only texts are cut"),
        (Rows(text=[]), {}, r"^positives \(views\): the data has no rows"),
        (Table([{"text": "x"}, {"text": " "}]), {}, "row 2"),
        (Rows(text=["x", " "]), {}, r"column 'text', row 2: is empty"),
        (Rows(text=["x", " "]), {"chunk": 3}, r"column 'text', row 2: is empty"),
        (Rows(text=[None, "x"]), {}, r"column 'text', row 1: is empty"),
        (Rows(array=[np.zeros(4), np.zeros((0, 4))]), {}, r"column 'array', row 2: is empty"),
    ],
)
def test_invalid_settings_are_refused(data: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Views(data, **more)


def test_the_only_column_needs_no_name() -> None:
    assert len(Views(Rows(whatever=["x", "y"]))) == 2
    numbers = Views(Table([{"series": [0.5, i]} for i in range(3)]), views=[ViewEntry(times=2)])
    assert numbers.documents.cells.read(1, 2) == [[0.5, 1.0]]
    lists = Table([{"body": ["one", "two"]}, {"body": ["three"]}])
    assert [described["row"] for described in Views(lists).describe(np.arange(3))] == [1, 1, 2]


RECIPE: dict[str, Any] = {
    "data": {"name": "table", "path": [{"text": text} for text in WORDS]},
    "positives": {
        "name": "views",
        "views": [{"name": "text_crop", "fewest": "4", "times": "2"}, {"name": "text_noise", "side": "query"}, {}],
    },
    "encoder": {"name": "static", "dim": 8, "vocabulary": 300},
    "loss": {"name": "infonce"},
}


def test_a_recipe_names_augmentations_and_is_resolved_with_all_settings() -> None:
    resolved = config.resolved(RECIPE)["positives"]
    crop = {"name": "text_crop", "shortest": 0.1, "longest": 0.5, "fewest": 4, "most": 0, "unit": "words"}
    noise = {"name": "text_noise", "delete": 0.1, "swap": 0.1}
    assert resolved["views"] == [
        {**crop, "times": 2, "side": "both"},
        {**noise, "times": 1, "side": "query"},
        {"times": 1, "side": "both"},
    ]
    assert config.resolved({**RECIPE, "positives": resolved})["positives"] == resolved
    assert yaml.safe_load(config.dumped({"positives": resolved}, {}))["positives"] == resolved
    built: Any = config.build(RECIPE).positives
    assert built.query_views == ["view", "view 2", "query", "view 3"]
    assert built.key_views == ["view", "view 2", "view 3"]
    parts = {name: view.augmentation for name, view in built.augmentations.items()}
    assert (parts["view"].fewest, parts["view 2"].fewest, parts["query"].swap) == (4, 4, 0.1)
    assert "view 3" not in parts
    assert registry.settings_of(built)["views"] == resolved["views"]
    default = registry.build("positives", {"name": "views"}, data=documents(WORDS))
    assert registry.settings_of(default)["views"] == [{"times": 1, "side": "query"}, {"times": 1, "side": "key"}]


def test_a_recipe_without_views_is_resolved_with_the_two_of_simcse() -> None:
    resolved = config.resolved({**RECIPE, "positives": {"name": "views"}})["positives"]
    assert resolved["views"] == [{"times": 1, "side": "query"}, {"times": 1, "side": "key"}]
    for name, own in (("simcse", {}), ("simcse_scratch", {"name": "text_noise", "delete": 0.5, "swap": 0})):
        recipe = config.load(name, ["positives.views.0.times=3", "data.path=x.jsonl"])
        assert config.resolved(recipe)["positives"]["views"][0] == {**own, "times": 3, "side": "query"}
        with pytest.raises(
            InputError, match=r"leads nowhere.*it has entries 0 to 1, e\.g\. positives\.views\.0\.name=\.\.\."
        ):
            config.load(name, ["positives.views.2.times=3"])


def test_a_part_in_a_list_may_be_built_already_and_in_python_a_spec_is_enough() -> None:
    crop = TextCrop(fewest=3)
    ways: list[Any] = [
        [{"augmentation": crop, "times": 2}],
        [ViewEntry(crop, 2)],
        [{"name": "text_crop", "fewest": 3, "times": 2}],
        [{"name": "text_crop", "fewest": 3, "side": "both"}, ViewEntry(crop)],
        [crop, crop],
        [crop, {"augmentation": crop}],
    ]
    one, two, three, *others = (Views(documents(WORDS), views=way) for way in ways)
    assert one.fingerprint == two.fingerprint == three.fingerprint
    assert {other.fingerprint for other in others} == {others[0].fingerprint} != {one.fingerprint}
    assert all(one.views.keys() == other.views.keys() for other in others)
    assert others[1].augmentations["view 2"].augmentation is crop


def test_views_made_by_hand_have_the_settings_of_built_ones() -> None:
    data, own = documents(WORDS), [ViewEntry(TextCrop(fewest=3), 2)]
    spec = {"name": "views", "views": [{"name": "text_crop", "fewest": 3, "times": 2}], "chunk": 5}
    found = registry.settings_of(Views(data, views=own, chunk=5))
    crop = {"name": "text_crop", "shortest": 0.1, "longest": 0.5, "fewest": 3, "most": 0, "unit": "words"}
    assert found == {"name": "views", "chunk": 5, "views": [{**crop, "times": 2, "side": "both"}]}
    assert found == registry.settings_of(registry.build("positives", spec, data=data))


@pytest.mark.parametrize("given", ["text_crop", TextCrop])
def test_a_view_that_is_no_part_is_told_how_to_write_one(given: Any) -> None:
    entries: list[Any] = [given, {"augmentation": given}] if given is TextCrop else [given]
    for entry in entries:
        message = r"positives\.views\.1: .* is no part; write .* in Python the part itself, \{\"augmentation\": part\}"
        with pytest.raises(InputError, match=message):
            Views(documents(WORDS), views=[TextCrop(), entry])
    with pytest.raises(InputError, match=r"^positives\.views\.0 builtins:object lacks `__call__\(cells, draws\)`"):
        Views(documents(WORDS), views=[object()])  # type: ignore[list-item]


class _Counted(ListColumn):
    """A column that knows its ids, and counts the cells that are read."""

    cells_read = 0

    def read(self, start: int, stop: int) -> list[Any]:
        found = super().read(start, stop)
        self.cells_read += len(found)
        return found


def test_selected_cells_take_their_ids_from_the_column_they_are_of() -> None:
    column = _Counted("array", [np.full(3, i % 4, np.float32) for i in range(8)])
    whole = content_ids(column)
    column.cells_read = 0
    selected = SelectedCells("some", column, np.array([6, 1, 2]))
    assert content_ids(selected).tolist() == whole[[6, 1, 2]].tolist()
    assert content_ids(selected)[0] == content_ids(selected)[2]  # equal cells
    assert column.cells_read == 0
    assert [cell[0] for cell in selected.read(0, 3)] == [2, 1, 2]


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ({"name": "text_corp"}, "no part is called 'text_corp'; did you mean 'text_crop'"),
        ({"name": "text_crop", "longst": 1}, r"views\.1: no setting is called 'longst'; did you mean 'longest'"),
        ({"name": "text_crop", "tmies": 1}, r"views\.1: no setting is called 'tmies'; did you mean 'times'"),
        ({"name": "text_crop", "longest": "far"}, r"positives\.views\.1\.longest: 'far' does not fit float"),
        ({"name": "text_crop", "times": "far"}, r"positives\.views\.1\.times: 'far' does not fit int"),
        ({"name": "text_crop", "side": "left"}, r"positives\.views\.1\.side: 'left' does not fit Literal"),
        ({"longest": 0.5}, r"views\.1: no setting is called 'longest'; known: name, side, times"),
        ({"nam": "text_crop"}, "no setting is called 'nam'; did you mean 'name'"),
        ({"augmentation": "text_crop"}, "no setting is called 'augmentation'"),
        ("text_crop", r"positives\.views\.1: 'text_crop' is no part; write \{name"),
    ],
)
def test_an_error_in_an_augmentation_names_its_place(view: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        config.resolved({**RECIPE, "positives": {"name": "views", "views": [{}, view]}})


@pytest.mark.parametrize("views", ["text_crop", {"0": {"times": 3}}, 3])
def test_what_is_no_list_of_views_is_refused(views: Any) -> None:
    with pytest.raises(InputError, match=r"positives\.views: .* is no list; write positives\.views: \[\{name"):
        config.resolved({**RECIPE, "positives": {"name": "views", "views": views}})
