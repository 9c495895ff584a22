"""Two views of one document are a positive pair; copies are one document, and passages of one are ignored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar import config
from nearfar.augmentations.text_cloze import TextCloze
from nearfar.augmentations.text_crop import TextCrop
from nearfar.augmentations.text_noise import TextNoise
from nearfar.column import ListColumn
from nearfar.data.table import Table
from nearfar.errors import InputError
from nearfar.losses.infonce import InfoNCE
from nearfar.positives.relations.documents import Passages
from nearfar.positives.views import Views
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
    two = Views(documents(WORDS), query=crop, key=crop)
    assert two.augmentations["query"].stream != two.augmentations["key"].stream
    assert [described["query"] == described["key"] for described in two.describe(np.arange(12))].count(True) < 3
    cloze = Views(documents(["One is. Two is. Three is."] * 3), query=TextCloze(keep=0.0))
    for described in cloze.describe(np.arange(3)):
        assert described["query"] not in described["key"]
    half = Views(documents(WORDS), key=TextNoise(delete=0.5))
    assert list(half.augmentations) == ["key"]
    assert half.describe(np.array([2]))[0]["query"] == WORDS[2]


def test_the_task_is_to_find_the_document_and_is_always_the_same() -> None:
    table = Table([{"text": text} for text in [*WORDS, WORDS[3]]], heldout=4)
    views = Views(table, query=TextCrop(), key=TextCrop())
    task = views.task("heldout")
    queries, texts = (column.read(0, len(column)) for column in (task.queries, task.documents))
    assert len(texts) == len(set(table.split("heldout").column("text").read(0, 9)))
    for query, rest in zip(queries, texts, strict=True):  # the document is the text without the crop
        (whole,) = (text for text in WORDS if query in text)
        assert query not in rest
        assert sorted(f"{query} {rest}".split()) == sorted(whole.split())
    assert task.relevance == {i: {i: 1} for i in range(len(texts))}
    again = Views(table, query=TextCrop(), key=TextCrop()).task("heldout")
    assert again.queries.read(0, 9) == queries
    assert task.notes["split"]["heldout"] == len(table.split("heldout"))
    plain = Views(table).task("heldout")  # without an augmentation the query is a crop, too
    assert plain.queries.read(0, 9) == queries
    chunked = Views(table, chunk=10).task("heldout")
    assert len(chunked.documents) == 3 * len(texts)
    assert chunked.clusters.tolist() == [i for c in dict.fromkeys(chunked.clusters.tolist()) for i in [c] * 3]


def test_the_task_of_a_cloze_is_to_find_the_rest() -> None:
    texts = [f"Sentence {i}. It says {i} and more. The end of {i}." for i in range(6)]
    task = Views(documents(texts), query=TextCloze(keep=0.0)).task("heldout")
    for query, rest in zip(task.queries.read(0, 6), task.documents.read(0, 6), strict=True):
        assert query not in rest
        assert any(query in text and sorted(f"{query} {rest}".split()) == sorted(text.split()) for text in texts)


def test_a_query_that_is_most_of_the_text_or_no_part_of_it_leaves_the_document_whole() -> None:
    short = Views(documents(["a line of eight words and two more"]), query=TextCrop()).task("heldout")
    assert short.documents.read(0, 1) == ["a line of eight words and two more"]
    noisy = Views(documents(WORDS), query=TextNoise(delete=0.3)).task("heldout")
    assert noisy.documents.read(0, 12) == WORDS
    assert noisy.queries.read(0, 12) != WORDS


def test_settings_of_augmentations_are_part_of_the_fingerprint() -> None:
    kinds: list[dict[str, Any]] = [
        *({}, {"query": TextCrop()}, {"key": TextCrop()}, {"query": TextCrop(longest=0.4)}, {"query": TextNoise()}),
        *({"query": TextCloze()}, {"query": TextCloze(keep=0.2)}, {"chunk": 10}),
    ]
    assert len({Views(documents(WORDS), **kind).fingerprint for kind in kinds}) == len(kinds)
    assert Views(documents(WORDS)).fingerprint != Views(documents(WORDS[:5])).fingerprint


@pytest.mark.parametrize(
    ("data", "more", "message"),
    [
        (Rows(a=["x"], b=["y"]), {}, "which column holds the documents"),
        (Rows(text=["x"]), {"column": "txet"}, "no column 'txet'; did you mean 'text'"),
        (Rows(text=["x"]), {"chunk": -1}, "chunk is a number of words"),
        (Rows(text=["x"]), {"query": TextCloze(), "key": TextCrop()}, "query text_cloze makes the key, too"),
        (Rows(text=[]), {}, "the data has no rows"),
        (Table([{"text": "x"}, {"text": " "}]), {}, "row 2"),
    ],
)
def test_invalid_settings_are_refused(data: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Views(data, **more)


def test_the_only_column_needs_no_name() -> None:
    assert len(Views(Rows(whatever=["x", "y"]))) == 2
    lists = Table([{"body": ["one", "two"]}, {"body": ["three"]}])
    assert [described["row"] for described in Views(lists).describe(np.arange(3))] == [1, 1, 2]


RECIPE: dict[str, Any] = {
    "data": {"name": "table", "path": [{"text": text} for text in WORDS]},
    "positives": {"name": "views", "query": {"name": "text_crop", "fewest": "4"}, "key": {"name": "text_noise"}},
    "encoder": {"name": "static", "dim": 8, "vocabulary": 300},
    "loss": {"name": "infonce"},
}


def test_a_recipe_names_augmentations_and_is_resolved_with_all_settings() -> None:
    resolved = config.resolved(RECIPE)["positives"]
    assert resolved["query"] == {
        "name": "text_crop",
        "shortest": 0.1,
        "longest": 0.5,
        "fewest": 4,
        "most": 0,
        "unit": "words",
    }
    assert resolved["key"] == {"name": "text_noise", "delete": 0.1, "swap": 0.1}
    assert config.resolved({**RECIPE, "positives": resolved})["positives"] == resolved
    built: Any = config.build(RECIPE).positives
    assert (built.augmentations["query"].augmentation.fewest, built.augmentations["key"].augmentation.swap) == (4, 0.1)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"name": "text_corp"}, "no part is called 'text_corp'; did you mean 'text_crop'"),
        ({"name": "text_crop", "longst": 1}, "positives.query: no setting is called 'longst'; did you mean 'longest'"),
        ({"name": "text_crop", "longest": "far"}, "positives.query.longest: 'far' does not fit float"),
        ({"longest": 0.5}, "positives.query: which part"),
        ("text_crop", r"positives.query: 'text_crop' is no part; write positives.query: \{name"),
    ],
)
def test_an_error_in_an_augmentation_names_its_place(query: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        config.resolved({**RECIPE, "positives": {"name": "views", "query": query}})
