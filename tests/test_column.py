from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from hashlib import blake2b
from itertools import repeat
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar import column
from nearfar.column import (
    INVISIBLE,
    ListColumn,
    chunks,
    content_id,
    content_ids,
    equal_pairs,
    exact_ids,
    is_empty,
    ranges,
    take,
    text_ids,
)
from nearfar.data.tables.cells import not_blank
from nearfar.storage.fingerprint import fingerprint

IDS = st.lists(st.integers(-3, 3), max_size=8).map(lambda ids: np.array(ids, np.int64))


class Counted(ListColumn):
    """Counts the cells that are read."""

    cost = 0

    def read(self, start: int, stop: int) -> list[Any]:
        self.cost += stop - start
        return super().read(start, stop)


@dataclass(eq=True)
class Plain:
    """A column of a class that cannot be hashed."""

    name: str
    cells: list[str]

    def __len__(self) -> int:
        return len(self.cells)

    def read(self, start: int, stop: int) -> list[str]:
        return self.cells[start:stop]


@dataclass(slots=True)
class Unwatched(Plain):
    """... nor be watched for its end."""


@pytest.mark.parametrize(
    ("cell", "empty"),
    [
        *zip([None, "", " \n\u3000", [], (), np.zeros(0), np.zeros((0, 3)), torch.zeros(2, 0)], repeat(True)),
        *zip(["a", " a ", 0, 0.0, False, [""], [0], np.zeros(1), np.zeros(()), np.float32(0)], repeat(False)),
    ],
)
def test_a_cell_is_empty_where_it_holds_nothing(cell: Any, empty: bool) -> None:
    assert is_empty(cell) is empty


@settings(deadline=None)
@given(st.lists(st.text()))
def test_ids_are_those_of_the_cells(cells: list[str]) -> None:
    found = content_ids(ListColumn("text", cells))
    assert found.dtype == np.int64
    assert found.tolist() == [content_id(cell) for cell in cells]


def test_an_id_means_the_same_in_every_run() -> None:
    assert content_id("near") == -211398600310908443
    assert content_id("\ud800") != content_id("?")  # a lone surrogate has an identity, too


@pytest.mark.parametrize("kind", [ListColumn, Plain])
def test_a_column_is_read_once(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    some = Counted("text", ["a", "b"]) if kind is ListColumn else Plain("text", ["a", "b"])
    first = content_ids(some)
    monkeypatch.setattr(column, "digest", lambda cell: pytest.fail("hashed again"))
    assert content_ids(some) is first
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1


def test_ids_go_with_their_column() -> None:
    before = len(column._IDS)
    some = ListColumn("text", ["a"])
    content_ids(some)
    assert len(column._IDS) == before + 1
    del some
    assert len(column._IDS) == before


def test_a_column_that_cannot_be_watched_is_read_again() -> None:
    some = Unwatched("text", ["a"])
    assert content_ids(some).tolist() == content_ids(some).tolist() == [content_id("a")]


def test_chunks_hold_everything_in_order() -> None:
    assert list(chunks(ListColumn("n", range(7)), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(chunks(ListColumn("n", []))) == []


class Pages:
    """A column of texts of a million letters, which notes how many are read at once."""

    name = "text"

    def __init__(self, n: int) -> None:
        self.n, self.most = n, 0

    def __len__(self) -> int:
        return self.n

    def read(self, start: int, stop: int) -> list[str]:
        self.most = max(self.most, stop - start)
        return [f"{row} ".ljust(1_000_000, "x") for row in range(start, stop)]


def test_of_long_texts_few_are_read_at_once() -> None:
    pages = Pages(60)
    assert [int(text.split()[0]) for block in chunks(pages) for text in block] == list(range(60))
    assert pages.most <= 10
    assert content_ids(pages).shape == (60,)
    assert pages.most <= 10


@settings(deadline=None)
@given(st.lists(st.integers(0, 199), max_size=30))
def test_some_rows_are_read_in_the_order_asked_for(rows: list[int]) -> None:
    some = Counted("n", range(200))
    assert take(some, np.array(rows, np.int64)) == rows
    assert some.cost <= 9 * len(set(rows))


def test_neighbours_are_read_together() -> None:
    some = Counted("n", range(10_000))
    reads: list[int] = []
    some.read = lambda start, stop: reads.append(start) or list(range(start, stop))  # type: ignore[method-assign,func-returns-value]
    assert take(some, np.arange(9_999, -1, -1)) == list(range(9_999, -1, -1))
    assert reads == [0]


@settings(deadline=None)
@given(IDS, IDS)
def test_meetings_are_all_pairs_of_equal_ids(left: Any, right: Any) -> None:
    i, j = equal_pairs(left, right)
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == [
        (a, b) for a in range(len(left)) for b in range(len(right)) if left[a] == right[b]
    ]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4)), max_size=8))
def test_ranges_are_one_after_the_other(spans: list[tuple[int, int]]) -> None:
    start, count = np.array(spans, np.int64).reshape(-1, 2).T
    assert ranges(start, count).tolist() == [s + i for s, c in spans for i in range(c)]


def test_a_fingerprint_is_of_kind_shape_order_and_value() -> None:
    zeros = np.zeros((2, 3))
    parts: list[Any] = [
        zeros,
        zeros.T,
        zeros.astype(np.float32),
        zeros[:0],
        np.ones((2, 3)),
        [zeros],
        (zeros, 1),
        1,
        "1",
    ]
    assert len({fingerprint(part) for part in parts}) == len(parts)
    assert fingerprint("a", "b") != fingerprint("b", "a") != fingerprint("ab")
    assert fingerprint(["a"], "b") != fingerprint(["a", "b"])
    assert fingerprint(zeros.T) == fingerprint(np.ascontiguousarray(zeros.T))
    assert fingerprint(np.float64(0.5), np.int32(2)) == fingerprint(0.5, 2)
    assert fingerprint("\ud800") != fingerprint("?")


def test_texts_are_compared_in_normal_form_c() -> None:
    """However they are given: as cells, as UTF-8, in lists; what lies beside them keeps the id that it had."""
    nfc, nfd = "Café 한국어 Ω", unicodedata.normalize("NFD", "Café 한국어 Ω")
    assert nfc != nfd
    ids = content_ids(ListColumn("text", [nfc, nfd, "Cafe", "straße", None]))
    assert ids[0] == ids[1] != ids[2]
    assert ids[3] == content_id("straße") != content_id("STRASSE")
    assert text_ids([text.encode() for text in (nfc, nfd, "Cafe", "straße")]).tolist() == ids[:4].tolist()
    assert content_id([nfd, "a"]) == content_id([nfc, "a"]) and content_id({"text": nfd}) == content_id({"text": nfc})
    assert content_id(nfc) == int.from_bytes(blake2b(nfc.encode(), digest_size=8).digest(), "little", signed=True)
    assert content_id("\u0344") == content_id("\u0308\u0301")  # composed by no normal form, but equal in NFC


def test_exact_ids_tell_the_forms_of_a_text_apart() -> None:
    """A cache of tokens or vectors must not give one form what was made of the other."""
    nfc, nfd = "Café", unicodedata.normalize("NFD", "Café")
    both = ListColumn("text", [nfc, nfd, "plain"])
    exact = exact_ids(both)
    assert len(set(exact.tolist())) == 3
    assert exact[[0, 2]].tolist() == content_ids(both)[[0, 2]].tolist()
    composed = ListColumn("text", [nfc, "plain"])
    assert exact_ids(composed) is content_ids(composed)
    arrays = ListColumn("vector", [np.ones(2, np.float32)])
    assert exact_ids(arrays) is content_ids(arrays)


@pytest.mark.parametrize(
    "text", ["", " ", "\u200b", "\ufeff", "\u2060", "\xad", "\xa0", "\u200b \u200d\t", "\u3164", "\x1f\u2028"]
)
def test_a_text_without_a_visible_character_is_empty(text: str) -> None:
    assert is_empty(text)
    assert not is_empty(text + "a") and not is_empty("." + text) and not is_empty(f"{text}\u0600{text}")


def test_cells_of_tables_are_empty_as_cells_are() -> None:
    texts = [chr(code) for code in [*range(0xD800), *range(0xE000, 0x10FFFF, 7), 0x10FFFF, *range(0xE0000, 0xE0200)]]
    filled = not_blank(pa.array(texts))
    assert filled.tolist() == [not is_empty(text) for text in texts]
    assert {text for text in texts if is_empty(text)} == set(INVISIBLE) & set(texts)
