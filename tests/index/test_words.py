"""Search by words agrees with `text.bm25.Bm25` over the texts that are there, whatever was written before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nearfar.index import postings
from nearfar.index.digest import row_hash
from nearfar.index.postings import IndexedRow
from nearfar.index.words import Words
from nearfar.text.bm25 import Bm25

WORDS = ["fox", "foxes", "goose", "the", "parseHTTP_header", "重置密码", "x", "fuchs", ""]
TEXTS = st.none() | st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)
IDS = st.sampled_from([f"{n}" for n in range(12)])
CALLS = st.lists(st.dictionaries(IDS, st.just("delete") | TEXTS, min_size=1, max_size=6), max_size=25)


def document(name: str, text: str | None) -> IndexedRow:
    return IndexedRow(name, text, row_hash(name, text, {}, np.zeros(1, np.float32)))


def replace(words: Words, rows: dict[str, str | None], gone: list[str] | None = None) -> None:
    ids = [*rows, *(gone or [])]
    words.postings.begin(ids)
    with words.postings.writing() as totals:
        words.replace(totals, ids, [document(name, text) for name, text in rows.items()])


def agree(words: Words, rows: dict[str, str | None], query: str, k: int, language: str | None = None) -> None:
    ids = sorted(name for name, text in rows.items() if text is not None)
    found = words.search(query, k)
    if not ids:
        assert found.ids == []
        return
    ranking = Bm25([str(rows[name]) for name in ids], language=language).rank([query], k)
    expected = [ids[row] for row in ranking.rows[0] if row >= 0]
    assert found.ids == expected
    assert np.allclose(found.scores, ranking.scores[0, : len(expected)], atol=1e-5)
    if expected:
        assert np.allclose(sum(found.terms.values()), found.scores, atol=1e-5)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
@given(calls=CALLS, query=st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join), k=st.integers(1, 9))
@pytest.mark.parametrize("block", [2, 4096])  # slots whose lengths lie together
def test_any_sequence_of_writes(
    tmp_path_factory: Any, block: int, calls: list[dict[str, str | None]], query: str, k: int
) -> None:
    path = tmp_path_factory.mktemp("words") / "words.db"
    patch = pytest.MonkeyPatch()
    patch.setattr(postings, "_BLOCK", block)
    words, rows = Words(path, create=True), dict[str, str | None]()
    reader = Words(path)
    for call in calls:
        written = {name: text for name, text in call.items() if text != "delete"}
        gone = [name for name, text in call.items() if text == "delete"]
        replace(words, written, gone)
        rows = {name: text for name, text in rows.items() if name not in gone} | written
        agree(reader, rows, query, k)
    with words.postings.reading() as totals:
        assert (totals.rows, totals.texts) == (len(rows), sum(text is not None for text in rows.values()))
    assert words.postings.pending() == []
    assert words.postings.hashes() == {name: document(name, text).hash for name, text in rows.items()}
    reader.close()
    words.close()
    patch.undo()


def test_the_digest_knows_no_order_and_forgets_what_is_gone(tmp_path: Path) -> None:
    digests = []
    for number, calls in enumerate([["a", "b", "c"], ["c", "b", "a"], ["c", "x", "a", "b"]]):
        words = Words(tmp_path / f"{number}.db", create=True)
        for name in calls:
            replace(words, {name: name * 2})
        replace(words, {}, ["x"])
        with words.postings.reading() as totals:
            digests.append(totals.digest)
        words.close()
    assert len(set(digests)) == 1
    assert digests[0] != "0" * 32


def test_many_small_writes_become_few_segments(tmp_path: Path) -> None:
    words, rows = Words(tmp_path / "words.db", create=True), dict[str, str | None]()
    rng = np.random.default_rng(0)
    for n in range(150):
        rows[f"{n:03}"] = " ".join(rng.choice(WORDS, 4))
        replace(words, {f"{n:03}": rows[f"{n:03}"]})
    [count] = words.postings._file.do("SELECT count(*) FROM segments").fetchone()
    assert count < 20
    for query in ("fox", "the goose fox", "fox fox"):
        agree(words, rows, query, 10)
    words.close()


def test_a_language_is_settled_and_stays(tmp_path: Path) -> None:
    words = Words(tmp_path / "words.db", create=True)
    rows: dict[str, str | None] = {f"{n}": f"the foxes and {n} geese" for n in range(5)}
    replace(words, rows)
    assert words.search("fox", 3).ids == []
    with words.postings.writing() as totals:
        words.settle(totals, "english", [[document(name, text) for name, text in rows.items()]])
    again = Words(tmp_path / "words.db")
    rows["9"] = "a fox"
    replace(again, {"9": "a fox"})
    assert again.search("fox", 1).ids == ["9"]
    agree(words, rows, "foxes", 6, "english")
    words.close()
    again.close()


def test_only_what_is_among_is_found(tmp_path: Path) -> None:
    words = Words(tmp_path / "words.db", create=True)
    replace(words, {f"{n}": f"fox {'goose ' * n}" for n in range(9)})
    assert words.search("goose", 9, ["3", "0", "nobody", "8"]).ids == ["8", "3"]
    assert words.search("goose", 1, []).ids == []
    words.close()


def test_long_counts_are_kept(tmp_path: Path) -> None:
    words = Words(tmp_path / "words.db", create=True)
    rows: dict[str, str | None] = {"a": "fox " * 300, "b": "fox goose", "c": "goose " * 70_000}
    replace(words, rows)
    agree(words, rows, "fox goose", 3)
    with pytest.raises(Exception, match="damaged"):
        (tmp_path / "none.db").write_bytes(b"no database, but as long as the header of one would be" * 100)
        Words(tmp_path / "none.db")
    words.close()
