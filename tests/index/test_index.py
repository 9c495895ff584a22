"""nf.Index keeps its promises on every backend, and refuses by name what would break them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nearfar as nf
from nearfar.errors import ChangedMeanwhileError, InputError
from nearfar.index.filters import Compare
from nearfar.index.folder import IndexFolder
from nearfar.index.index import Index
from nearfar.index.rows import Row
from nearfar.index.store import RowStore
from tests.index.backends import SETTINGS
from tests.index.word_model import WordModel

TEXTS = {
    "fox": "a red fox runs",
    "goose": "a grey goose flies",
    "hen": "a red hen sits",
    "pig": "the pig eats and eats",
}
Make = Callable[..., Index]


@pytest.fixture(params=SETTINGS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Return what makes an index of one of the backends, or opens it again."""
    made: list[Index] = []

    def make_or_open(model: Any = None, **more: Any) -> Index:
        folder = tmp_path / "rows.index"
        if more or not folder.exists():
            settings = {**SETTINGS[request.param](tmp_path), **more}
            made.append(Index.create(folder, WordModel() if model is None else model, **settings))
        else:
            made.append(Index.open(folder, WordModel() if model is None else model))
        return made[-1]

    yield make_or_open
    for index in made:
        index.close()


@pytest.fixture
def animals(make: Make) -> Index:
    """Return an index of four texts and a picture."""
    return filled(make())


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Index]:
    """Return the same, of the usual backend, for what does not depend on it."""
    with Index.create(tmp_path / "plain.index", WordModel()) as index:
        yield filled(index)


def filled(index: Index) -> Index:
    legs = {"fox": 4, "goose": 2, "hen": 2, "pig": 4}
    index.add([{"id": name, "text": text, "legs": legs[name]} for name, text in TEXTS.items()])
    index.add([{"id": "photo", "image": np.zeros((4, 4, 3), np.uint8), "wild": True}])
    return index


def state(index: Index) -> Any:
    return index.count(), index.ids(), index.get(index.ids()), index.description.digest, index.verify()["problems"]


@pytest.mark.parametrize("fusion", [None, "rrf"])
def test_hybrid_is_the_default_for_texts_and_explains_itself(animals: Index, fusion: Any) -> None:
    given = {} if fusion is None else {"fusion": fusion}
    hits = animals.search("red hen", k=10, explain=True, **given)
    assert hits[0].id == "hen"
    assert {hit.id for hit in hits} == {*TEXTS, "photo"}
    vectors = [hit.id for hit in animals.search("red hen", mode="vectors")]
    words = [hit.id for hit in animals.search("red hen", mode="words")]
    assert words == ["hen", "fox"]
    for rank, hit in enumerate(hits, 1):
        by_vectors, by_words, fused = (hit.explain[leg] for leg in ("vectors", "words", "fused"))
        assert by_vectors["rank"] == vectors.index(hit.id) + 1
        assert (by_words is None) == (hit.id not in words)
        if fusion == "rrf":
            parts = [1 / (60 + leg["rank"]) if leg else 0.0 for leg in (by_vectors, by_words)]
        else:  # 0.6 and 0.4 of the share of the best score
            most = [hits[0].explain[leg]["score"] for leg in ("vectors", "words")]
            parts = [
                0.6 * (by_vectors["score"] + 1) / (most[0] + 1),
                by_words["score"] * 0.4 / most[1] if by_words else 0,
            ]
        assert fused["by"] == (fusion or {"vectors": 0.6, "words": 0.4})
        assert [fused["parts"]["vectors"], fused["parts"]["words"]] == pytest.approx(parts, rel=1e-6)
        assert fused["score"] == pytest.approx(sum(parts), rel=1e-6)
        assert (hit.score, rank) == (fused["score"], fused["rank"])
        if by_words is not None:
            assert sum(by_words["terms"].values()) == pytest.approx(by_words["score"], rel=1e-5)
    assert set(hits[0].explain["words"]["terms"]) == {"red", "hen"}
    assert animals.search("red hen", k=1)[0].explain is None


def test_weights_fuse_the_scores_of_both(plain: Index) -> None:
    query = "red hen"
    cosines = {hit.id: hit.score for hit in plain.search(query, mode="vectors")}
    words = {hit.id: hit.score for hit in plain.search(query, mode="words")}
    for weight in (0.0, 0.3, 1.0):
        expected = {
            name: weight * (cosines[name] + 1) / (max(cosines.values()) + 1)
            + (1 - weight) * words.get(name, 0) / max(words.values())
            for name in cosines
        }
        hits = plain.search(query, fusion={"vectors": weight * 5, "words": (1 - weight) * 5})
        assert {hit.id: hit.score for hit in hits} == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("fusion", ["sum", {"vectors": 1}, {"vectors": -1, "words": 2}, {"vectors": 0, "words": 0}, 3])
def test_other_fusions_are_refused(plain: Index, fusion: Any) -> None:
    with pytest.raises(InputError, match="fusion: write 'rrf', or weights"):
        plain.search("fox", fusion=fusion)


@pytest.mark.parametrize(
    "where", [None, "legs = 2", "legs > 2 or wild = true", "legs is missing", "legs = 99", Compare("legs", "<", 3)]
)
@pytest.mark.parametrize("mode", ["vectors", "hybrid"])
def test_never_fewer_hits_than_rows_that_match(animals: Index, where: Any, mode: Any) -> None:
    matching = animals.count(where)
    for k in range(1, 8):
        hits = animals.search("the red fox", k=k, where=where, mode=mode)
        assert len(hits) == min(k, matching)
        assert len({hit.id for hit in hits}) == len(hits)
        assert {hit.id for hit in hits} <= set(animals.ids(where))


def test_queries_of_every_kind(animals: Index) -> None:
    vector = WordModel().embed(["red hen"])[0]
    alone = animals.search(vector, k=2)
    assert alone == animals.search("red hen", k=2, mode="vectors") == animals.search(vector.tolist(), k=2)
    assert animals.search(7 * vector, k=2)[0].score == pytest.approx(alone[0].score, abs=1e-6)
    assert animals.search(np.stack([vector, vector])) == [animals.search(vector)] * 2
    assert animals.search(np.zeros((9, 9, 3), np.uint8), k=1)[0].id == "photo"
    assert [hits[0].id for hits in animals.search(["red hen", vector, np.zeros((9, 9, 3), np.uint8)], k=1)] == [
        "hen",
        "hen",
        "photo",
    ]
    assert animals.search([]) == []


def test_more_like_these(animals: Index) -> None:
    hits = animals.search(like="fox", k=10)
    assert {hit.id for hit in hits} == {"goose", "hen", "pig", "photo"}
    near = animals.vectors([hit.id for hit in hits]) @ animals.vectors(["fox"])[0]
    assert near.tolist() == sorted(near, reverse=True) == pytest.approx([hit.score for hit in hits], abs=1e-3)
    assert [hit.id for hit in animals.search(like=["fox", "hen"], where="legs = 2")] == ["goose"]
    mean = animals.vectors(["fox", "hen"]).mean(0)
    assert [hit.id for hit in animals.search(mean) if hit.id not in ("fox", "hen")] == [
        h.id for h in animals.search(like=["hen", "fox"])
    ]
    with pytest.raises(InputError, match="no row has the id 'wolf'"):
        animals.search(like=["fox", "wolf"])
    with pytest.raises(InputError, match="one of the two"):
        animals.search("fox", like=["fox"])
    animals.add([{"id": 7, "text": "a red fox"}])
    number: Any = 7  # as `add` takes it
    assert animals.search(like=number) == animals.search(like=[number]) == animals.search(like="7") != []
    wrongs: Any = (5.5, [None], True, [b"fox"])
    for wrong in wrongs:
        with pytest.raises(InputError, match="like= 1: has no id"):
            animals.search(like=wrong)


GOOD = {"id": "x", "text": "a"}
BAD_ROWS: list[tuple[list[Any], str]] = [
    ([{"id": "x", "text": "a"}, {"id": "", "text": "b"}], "row 2: has no id"),
    ([{"text": "a"}], "row 1: has no id"),
    ([{"id": "x", "text": "a"}, {"id": "y", "text": "b"}, {"id": "x", "text": "c"}], "rows 1 and 3 have one id ('x')"),
    ([{"id": "1", "text": "a"}, {"id": 1, "text": "c"}], "rows 1 and 2 have one id ('1')"),
    ([{"id": "i" * 2001, "text": "a"}], "has 2,001 bytes"),
    ([{"id": "x"}], "row 1 (id 'x'): has neither text nor image"),
    ([{"id": "x", "text": "a\0b"}], "row 1 (id 'x'): the text: holds the character 0"),
    ([{"id": "x", "text": "a \ud800"}], "surrogate"),
    ([{"id": "x", "image": "fox.png"}], "not pixels"),
    ([GOOD | {"legs": "four"}], "row 1 (id 'x'): legs holds values of kind integer, and 'four' is none"),
    ([GOOD | {"legs": 2.5}], "legs holds values of kind integer, and 2.5 is none"),
    ([GOOD | {"legs": True}], "True is none"),
    ([GOOD | {"legs": 2**63}], "beyond 64 bits"),
    ([GOOD | {"price": 1.5}, GOOD | {"id": "y", "price": float("nan")}], "row 2 (id 'y'): price is nan"),
    ([GOOD | {"seen": [1]}], "seen is list"),
    ([GOOD | {"Legs": 2}], "legs and Legs differ by case alone"),
    ([GOOD | {"vector": 2}], "vector is no field"),
    ([GOOD | {"_slot": 2}], "no field can be called '_slot'"),
    ([GOOD | {"n" * 64: 2}], "is longer than 63 bytes"),
    (["a text"], "row 1 is no mapping"),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "words"), BAD_ROWS)
def test_bad_rows_are_refused_by_name_and_nothing_is_written(plain: Index, rows: list[Any], words: str) -> None:
    before = state(plain)
    with pytest.raises(InputError, match=r"^add: ") as error:
        plain.add(rows)
    assert words in str(error.value)
    assert state(plain) == before


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        ([[1.0] * 16, [0.0] * 16], "the vector of row 2 (id 'b') is zero"),
        ([[1.0] * 16, [float("nan")] + [1.0] * 15], "the vector of row 2 (id 'b') is not finite"),
        ([[float("inf")] + [1.0] * 15, [1.0] * 16], "the vector of row 1 (id 'a') is not finite"),
        ([[1.0] * 8, [1.0] * 8], "this index has vectors of 16 dimensions"),
        ([[1.0] * 16, [1.0] * 15], "vectors of mixed lengths (15, 16)"),
        ([[1.0] * 16], "there are 2 rows"),
        ([["a"] * 16] * 2, "must be numbers"),
        ([1.0, 2.0], "must be numbers (n, 16)"),
    ],
)
def test_bad_vectors_are_refused_by_row(plain: Index, vectors: Any, words: str) -> None:
    before = state(plain)
    with pytest.raises(InputError) as error:
        plain.add(["a", "b"], vectors=vectors)
    assert words in str(error.value)
    if isinstance(vectors[0], list) and isinstance(vectors[0][0], float) and len(vectors) == 2:
        with pytest.raises(InputError, match=r"query|search|vectors"):
            plain.search([np.array(v) if len({len(v) for v in vectors}) == 1 else v for v in vectors])
    assert state(plain) == before


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"query": "  "}, "the query is empty"),
        ({"query": ["fox", ""]}, "query 2: the query is empty"),
        ({"query": "fox", "k": 0}, "k must be a whole number"),
        ({"query": "fox", "mode": "vector"}, "did you mean 'vectors'"),
        ({"query": [1.0] * 16, "mode": "hybrid"}, "mode hybrid reads texts"),
        ({"query": "fox", "where": "leg = 2"}, "did you mean 'legs'"),
        ({"query": "fox", "where": "legs = 'two'"}, "'two' is none"),
        ({"query": "fox", "where": Compare("legs", "=", "two")}, "'two' is none"),
        ({}, "one of the two"),
    ],
)
def test_what_cannot_be_searched_is_refused(plain: Index, asked: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as error:
        plain.search(**asked)
    assert words in str(error.value)


def test_another_model_is_refused_by_name(make: Make, animals: Index) -> None:
    for other, words in ((WordModel(8), "8 dimensions"), (WordModel(16, "other"), "fingerprint other-16")):
        with pytest.raises(InputError, match="this index is of a model, fingerprint words-16, 16 dimensions") as error:
            make(other)
        assert words in str(error.value)
    with pytest.raises(InputError, match="has no embed"):
        make(object())
    with pytest.raises(InputError, match="an index is there already"):
        make(dim=16)


def test_without_a_model_vectors_and_words_are_searched(make: Make, animals: Index) -> None:
    bare = Index.open(animals.folder)
    vector = WordModel().embed(["red hen"])[0]
    assert bare.search(vector) == animals.search(vector)
    assert bare.search("red hen", mode="words") == animals.search("red hen", mode="words")
    for ask in (lambda: bare.search("red hen"), lambda: bare.add([{"id": "x", "text": "y"}])):
        with pytest.raises(InputError, match="opened without a model"):
            ask()
    bare.close()


def test_rows_that_are_added_again_replace_those_before(animals: Index) -> None:
    assert animals.add([{"id": "fox", "text": "an owl hoots"}]) == 1
    assert animals.count() == 5
    assert animals.get("fox") == Row("fox", "an owl hoots", {})
    assert "fox" not in [hit.id for hit in animals.search("red", mode="words")]
    assert animals.search("owl", k=1)[0].id == "fox"
    assert animals.delete(["fox", "nobody", "fox"]) == 1
    assert animals.delete(where="legs = 2") == 2
    assert animals.ids() == ["photo", "pig"]
    assert animals.search("goose", mode="words") == []
    with pytest.raises(InputError, match="ids or a filter"):
        animals.delete()
    assert animals.verify()["problems"] == []


def test_others_have_their_turn_while_all_rows_are_read(animals: Index) -> None:
    """A thread that searches does not wait for the end of the reading, nor for one that was given up."""
    parts = animals.rows(size=2)
    first, given_up = next(parts), animals.rows(size=1)
    next(given_up)
    found: list[str] = []
    other = threading.Thread(target=lambda: found.extend(hit.id for hit in animals.search("a fox", k=1)), daemon=True)
    other.start()
    other.join(30)
    assert found == ["fox"]
    ids = [*first.ids, *(name for rows in parts for name in rows.ids)]
    assert sorted(ids) == sorted([*TEXTS, "photo"])


def test_rows_are_not_read_on_where_others_took_their_place(plain: Index) -> None:
    copied = plain.rows(size=2)
    next(copied)
    with Index.open(plain.folder) as other:
        other.delete(["goose"])
        other.optimise()
    with pytest.raises(ChangedMeanwhileError, match="copied into new files while they were read; read them again"):
        next(copied)
    parts = plain.rows(size=2)
    next(parts)
    with Index.beside(plain.folder, WordModel()) as beside:
        beside.add([{"id": "cat", "text": "a cat"}])
    Index.swap(plain.folder)
    with pytest.raises(ChangedMeanwhileError, match="another generation took its place"):
        next(parts)


def test_equal_texts_are_two_rows(animals: Index) -> None:
    animals.add([{"id": "twin", "text": TEXTS["fox"]}])
    assert [hit.id for hit in animals.search(TEXTS["fox"], k=2)] == ["fox", "twin"]
    animals.delete(["fox"])
    assert [hit.id for hit in animals.search("fox", mode="words")] == ["twin"]


def test_the_digest_is_of_the_rows_not_of_their_history(make: Make, animals: Index) -> None:
    before = animals.description.digest
    animals.add([{"id": "x", "text": "y", "legs": 1}, {"id": "pig", "text": "other"}])
    assert animals.description.digest != before
    animals.delete(["x"])
    animals.add([{"id": "pig", "text": TEXTS["pig"], "legs": 4}])
    animals.optimise()
    assert animals.description.digest == make().description.digest == before
    assert animals.check()["problems"] == animals.verify()["problems"] == []


def test_a_reader_opened_before_sees_new_rows_and_fields(make: Make, animals: Index) -> None:
    reader = make()
    assert reader.count() == 5
    animals.add([{"id": "owl", "text": "an owl hoots", "nocturnal": True}])
    assert reader.count("nocturnal = true") == 1
    hit = reader.search("owl", k=1)[0]
    assert (hit.id, hit.fields) == ("owl", {"nocturnal": True})
    animals.delete(["owl"])
    assert reader.search("owl", mode="words") == []
    with pytest.raises(InputError, match="nocturnal holds values of kind boolean"):
        reader.add([{"id": "bat", "text": "a bat", "nocturnal": "yes"}])


def test_a_language_is_told_anew_until_there_are_texts_enough(make: Make) -> None:
    index = make()
    rows = [
        {"id": f"{n}", "text": f"The foxes are running over the hill to number {n}, and we have seen them."}
        for n in range(250)
    ]
    few = [
        {"id": "x", "text": "Der Hund schläft nicht im Garten, und die Katze sieht ihn an, aber sie ist auf dem Dach."}
    ]
    index.add([*few, {"id": "y", "text": "Wir haben das Buch auf den Tisch gelegt, aber es ist nicht mehr da."}])
    assert vars(index.description)["language"] == "german"
    index.add(rows[:150])
    assert vars(index.description)["language"] == "english"
    assert len(index.search("fox", k=300, mode="words")) == 150
    index.add(rows[150:])
    assert index.description.language == "english"
    assert len(index.search("fox", k=300, mode="words")) == 250
    assert index.verify()["problems"] == []


def test_damage_is_found(animals: Index) -> None:
    with animals._opened.writing() as (_, store):
        [row] = store.backend.get(["fox"])
        assert row is not None
        rows = next(iter(store.backend.scan()))
        here = rows.ids.index("fox")
        fields = {name: [values[here]] for name, values in rows.fields.items()}
        store.backend.upsert(
            replace(rows, ids=["fox"], vectors=-rows.vectors[here : here + 1], texts=[row.text], fields=fields)
        )
    assert animals.check()["problems"] == []
    [first, second] = animals.verify()["problems"]
    assert "1 rows are not as they were written: fox" in first
    assert "digest" in second


def test_a_generation_of_another_model_takes_its_place(make: Make, animals: Index) -> None:
    folder = animals.folder
    with pytest.raises(InputError, match="no other generation"):
        Index.swap(folder)
    other = WordModel(8, "other")
    with Index.beside(folder, WordModel(4)) as begun:
        begun.add([{"id": "x", "text": "y"}])
    with Index.beside(folder, other) as beside:
        with pytest.raises(InputError, match="has no rows yet"):
            Index.swap(folder)
        beside.add([{"id": name, "text": text} for name, text in TEXTS.items()])
    assert animals.count() == 5
    with Index.beside(folder, other, new=False) as again:
        assert again.count() == 4
    Index.swap(folder)
    with pytest.raises(InputError, match="another model"):
        animals.search("fox")
    with make(other) as now:
        assert now.count() == 4
        assert now.search("red fox", k=1)[0].id == "fox"
        assert now.info()["generation"] == 2
        assert now.info()["others"] == [1]
        assert IndexFolder(folder).place(1).exists()
    with Index.beside(folder, WordModel()) as third:
        third.add([{"id": "x", "text": "y"}])
    Index.swap(folder, drop_old=True)
    assert not IndexFolder(folder).place(1).exists()
    assert not IndexFolder(folder).place(2).exists()
    assert animals.search("y", k=1)[0].id == "x"  # the model that it was opened with is the right one again


def test_what_a_killed_writer_left_is_followed_up(make: Make, animals: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    for name in ("upsert", "delete"):
        monkeypatch.setattr(RowStore, "_follow", dies)
        with pytest.raises(KeyboardInterrupt):
            if name == "upsert":
                animals.add([{"id": "owl", "text": "an owl hoots"}, {"id": "fox", "text": "a brown fox"}])
            else:
                animals.delete(["owl", "pig"])
        monkeypatch.undo()
        reader = make()
        assert [hit.id for hit in reader.search("pig", mode="words")] == (["pig"] if name == "upsert" else [])
        reader.add([{"id": f"next {name}", "text": "z"}])
        assert reader.verify()["problems"] == []
        assert [hit.id for hit in reader.search("owl", mode="words")] == (["owl"] if name == "upsert" else [])
    assert animals.get("fox") == Row("fox", "a brown fox", {})


def test_a_damaged_or_missing_folder_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no index there"):
        Index.open(tmp_path / "nothing")
    folder = tmp_path / "i"
    Index.create(folder, None, dim=3).close()
    path = folder / "index.json"
    sound = json.loads(path.read_text())
    generation = json.dumps(sound["generations"]["1"])
    for text, words in (
        ("{", "is damaged"),
        ("[]", "of format None"),
        (json.dumps({**sound, "format": 1}), "of format 1"),
        (json.dumps({**sound, "current": 7}), "generation 7 is missing"),
        (json.dumps({**sound, "generations": {"1": {"dim": 3}}}), "backend, dim or fields"),
        ("[" * 100_000, "is damaged"),
        *(
            (f'{{"format": 2, "current": {wrong}, "generations": {{"1": {generation}}}}}', "is damaged: generation")
            for wrong in ("[]", "true", "1.0", "null")
        ),
        *(
            (json.dumps({**sound, "generations": {"1": {**sound["generations"]["1"], name: wrong}}}), "is damaged")
            for name, wrong in (
                *((name, 5) for name in ("model", "fingerprint", "digest", "language", "built_from", "fields")),
                *(("rows", "x"), ("fields", {"year": []})),
            )
        ),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=words):
            Index.open(folder)
    path.write_text(json.dumps(sound))
    (folder / "generations" / "000001" / "words.db").unlink()
    with pytest.raises(InputError, match=r"words.db: is missing"):
        Index.open(folder)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dim": 3, "backend": "exat"}, "did you mean 'exact'"),
        ({"dim": 3, "precision": "int4"}, "precision 'int4'"),
        ({"dim": 3, "fields": {"year": "int"}}, "of no kind that there is"),
        ({"dim": 3, "fields": {"id": "text"}}, "id is no field"),
        ({"dim": 3, "language": "klingon"}, "no language is called"),
        ({"dim": 3, "settings": {"frist_dim": 2}}, "exact: has no setting 'frist_dim'"),
        ({"dim": 3, "settings": {"first_dim": 3}}, "first_dim 3: a whole number from 1 to 2"),
        ({"dim": 3, "settings": {"first_dim": True}}, "first_dim True"),
        ({"dim": 3, "settings": {"first_dim": 2, "oversample": 0}}, "oversample 0: a whole number"),
        ({"dim": 3, "settings": {"oversample": 4}}, "oversample: is of first_dim and of the precision bits"),
        ({"dim": 3, "backend": "pgvector", "settings": {"port": 0}}, "port"),
        ({"dim": 3, "backend": "pgvector", "settings": {"host": "/nowhere", "port": 1}}, "cannot be reached|psycopg"),
        ({"dim": 3, "backend": "lance", "precision": "bits"}, "precision|lancedb"),
        ({"dim": 0}, "at least 1"),
        ({}, "give dim"),
    ],
)
def test_wrong_settings_leave_no_index(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Index.create(tmp_path / "i", None, **settings)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match=words):
        Index.create(tmp_path / "new" / "newer" / "i", None, **settings)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "i").mkdir()
    with pytest.raises(InputError, match=words):
        Index.create(tmp_path / "i", None, **settings)
    assert list((tmp_path / "i").iterdir()) == []
    Index.create(tmp_path / "i", None, dim=3).close()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=f"{words}|an index is there"):
        Index.create(tmp_path / "i", None, **settings)
    assert sorted(tmp_path.rglob("*")) == before


def test_making_that_fails_late_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IndexFolder, "write", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space"):
        Index.create(tmp_path / "i", None, dim=3)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    with Index.create(tmp_path / "i", None, dim=3) as index:
        before = sorted(path for path in tmp_path.rglob("*") if "rows" not in path.name)
        monkeypatch.setattr(RowStore, "create", lambda *_: (_ for _ in ()).throw(InputError("no")))
        with pytest.raises(InputError, match="no"):
            Index.beside(index.folder, None, dim=4)
        assert sorted(path for path in tmp_path.rglob("*") if "rows" not in path.name) == before


def test_who_waits_for_a_lock_that_is_deleted_makes_a_new_one(tmp_path: Path) -> None:
    folder, entered, order = IndexFolder(tmp_path / "i"), threading.Event(), list[str]()

    def waits() -> None:
        with folder.lock():
            order.append("second")
            assert (tmp_path / "i" / "lock").exists()

    thread = threading.Thread(target=waits)
    with pytest.raises(KeyError), folder.making():
        thread.start()
        entered.wait(0.1)  # it is waiting by now, or will come later: both end alike
        order.append("first")
        raise KeyError
    thread.join(timeout=30)
    assert order == ["first", "second"]


def test_a_closed_index_says_so(plain: Index) -> None:
    plain.close()
    with pytest.raises(InputError, match="is closed"):
        plain.count()


def test_the_public_names() -> None:
    assert nf.Index is Index
    assert nf.Hit.__module__ == "nearfar.index.hybrid"
