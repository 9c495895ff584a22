"""Pictures and words in indexes: each cell goes to the side of the model that reads it, whichever asks or is found."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nearfar as nf
from nearfar.encoders.dual import Dual
from nearfar.errors import InputError, NoVectorError
from nearfar.index.documents.build import BuildSettings
from nearfar.index.documents.build_index import build_index
from nearfar.vectors.embed import embed_by_kind
from tests.encoders.known_vectors import BLUE, GREEN, RED, KnownTexts, MeanColours
from tests.pictures.samples import encoded

COLOURS = {"red": [1, 0.1, 0], "green": [0, 1, 0.1], "blue": [0.1, 0, 1]}
PICTURES = {"red": RED, "green": GREEN, "blue": BLUE}
ORDERS = ["pictures ask", "words ask"]


def model(order: str) -> nf.Model:
    """Return a model of both kinds; `order` says which of the two are its queries."""
    texts, pictures = KnownTexts(COLOURS), MeanColours()
    return nf.Model(Dual(pictures, texts) if order == "pictures ask" else Dual(texts, pictures))


@pytest.fixture(params=ORDERS)
def both(request: pytest.FixtureRequest) -> nf.Model:
    return model(request.param)


@settings(max_examples=30)
@given(
    order=st.sampled_from(ORDERS),
    role=st.sampled_from(["query", "key"]),
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 9),
)
def test_mixed_cells_have_the_vectors_that_each_has_alone(order: str, role: Any, seed: int, n: int) -> None:
    both, draw = model(order), random.Random(seed)
    cells = [draw.choice([*PICTURES, *PICTURES.values()]) for _ in range(n)]
    of_texts, of_pictures = ("key", "query") if order == "pictures ask" else ("query", "key")
    alone = [both.embed([one], role=of_texts if isinstance(one, str) else of_pictures)[0] for one in cells]
    found = embed_by_kind(both, cells, role)
    assert found.shape == (n, 3)
    np.testing.assert_array_equal(found, np.reshape(alone, (n, 3)))


def test_what_neither_side_reads_and_what_has_no_vector_is_named_by_its_row(both: nf.Model) -> None:
    with pytest.raises(InputError, match=r"row 2 is number .*this model reads .*text"):
        embed_by_kind(both, ["red", 7], "key")
    with pytest.raises(NoVectorError, match="row 3 "):
        embed_by_kind(both, ["red", RED, np.zeros_like(RED)], "query")


def test_an_index_of_pictures_is_searched_by_words_and_by_pictures(both: nf.Model, tmp_path: Path) -> None:
    with nf.Index.create(tmp_path / "i", both) as index:
        index.add([{"id": name, "image": picture} for name, picture in PICTURES.items()])
        found = index.search(["something blue", GREEN, "red"], k=1)
        assert [[hit.id for hit in hits] for hits in found] == [["blue"], ["green"], ["red"]]
    with nf.Index.create(tmp_path / "t", both) as index:
        index.add([{"id": name, "text": f"a {name} thing"} for name in PICTURES])
        assert [hit.text for hit in index.search(BLUE, k=1)] == ["a blue thing"]


def test_a_corpus_of_either_kind_is_searched_by_either(both: nf.Model) -> None:
    for corpus in (list(PICTURES), list(PICTURES.values())):
        hits = nf.search(both, corpus, ["something green", BLUE], k=1)
        assert [one[0]["id"] for one in hits] == [1, 2]


def folder_of_both(place: Path) -> Path:
    for name, picture in PICTURES.items():
        (place / "photos").mkdir(exist_ok=True)
        (place / "photos" / f"{name}.png").write_bytes(encoded(picture))
    (place / "photos" / "red.txt").write_text("something red")
    return place / "photos"


def test_a_folder_of_both_is_an_index_of_its_pictures(both: nf.Model, tmp_path: Path) -> None:
    pytest.importorskip("PIL", reason="the extra images is not installed")
    photos = folder_of_both(tmp_path)
    report, _ = build_index(tmp_path / "i", both, photos)
    assert (report.files, report.passed_over, report.problems) == ({"picture": 3}, {"texts beside pictures": 1}, [])
    with nf.Index.open(tmp_path / "i", both) as index:
        [hit] = index.search("something red", k=1)
        assert (hit.fields["file"], hit.text) == ("red.png", None)
    report, _ = build_index(tmp_path / "t", both, photos, BuildSettings(only="texts"))
    assert (report.files, report.passed_over) == ({"text": 1}, {"pictures beside texts": 3})
    report, _ = build_index(tmp_path / "t", both, photos)  # it stays what it is
    assert (report.files, report.unchanged) == ({"text": 1}, 4)


def test_texts_alone_become_rows_until_only_says_otherwise(both: nf.Model, tmp_path: Path) -> None:
    pytest.importorskip("PIL", reason="the extra images is not installed")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("something green")
    report, _ = build_index(tmp_path / "i", both, tmp_path / "texts")
    assert report.files == {"text": 1}
    (tmp_path / "texts" / "b.png").write_bytes(encoded(RED))
    report, _ = build_index(tmp_path / "i", both, tmp_path / "texts")
    assert report.files == {"text": 1}
    report, _ = build_index(tmp_path / "i", both, tmp_path / "texts", BuildSettings(only="pictures"))
    assert (report.files, report.deleted) == ({"picture": 1}, 1)


def test_a_model_of_one_kind_has_no_choice(tmp_path: Path) -> None:
    encoder = nf.encoders.Static(dim=8, vocabulary=300)
    encoder.prepare([nf.column.ListColumn("text", ["a red fox"])])
    (tmp_path / "a.txt").write_text("a red fox")
    settings = BuildSettings(only="pictures")
    with pytest.raises(InputError, match="only pictures: is for a model with a side for pictures"):
        build_index(tmp_path / "i", nf.Model(encoder), tmp_path / "a.txt", settings)
    assert not (tmp_path / "i").exists()
