"""Smaller vectors: the numbers of sentence-transformers, and errors that say what is missing."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sentence_transformers.util.quantization import quantize_embeddings

from nearfar.column import ListColumn
from nearfar.encoders.static import Static
from nearfar.errors import InputError
from nearfar.model import Model
from nearfar.vectors.quantize import PRECISIONS, Ranges, quantize, shorten

pytestmark = pytest.mark.filterwarnings("ignore:calibration on")

TEXTS = ["pull near", "push far away", "near is not far", "a red fox", "the grey goose", "foxes eat geese"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEARFAR_CACHE", str(tmp_path_factory.mktemp("cache")))
        encoder = Static(dim=20, vocabulary=300)
        encoder.prepare([ListColumn("text", TEXTS)])
        return Model(encoder)


def drawn(n: int, d: int) -> st.SearchStrategy[Any]:
    return arrays(np.float32, (n, d), elements=st.floats(-1, 1, width=32))


@settings(deadline=None)
@given(st.data(), st.integers(1, 20), st.sampled_from(PRECISIONS))
def test_it_gives_the_numbers_of_sentence_transformers(data: st.DataObject, d: int, precision: Any) -> None:
    vectors = data.draw(drawn(data.draw(st.integers(0, 6)), d))
    known = data.draw(drawn(data.draw(st.integers(2, 6)), d))
    with np.errstate(over="ignore"):  # of the peer, where a coordinate hardly changes
        expected: Any = quantize_embeddings(vectors, precision, ranges=np.stack([known.min(0), known.max(0)]))
    found = quantize(vectors, precision, Ranges.of(known))
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def test_ranges_come_back_from_the_disk(tmp_path: Path) -> None:
    ranges = Ranges.of(np.random.default_rng(0).normal(size=(9, 4)))
    ranges.save(tmp_path / "r.npy")
    again = Ranges.load(tmp_path / "r.npy")
    np.testing.assert_array_equal([again.low, again.high], [ranges.low, ranges.high])


@pytest.mark.parametrize("content", [b"", b"no array", None])
def test_a_file_that_holds_no_ranges_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "r.npy"
    if content is None:
        np.save(path, np.array([[1.0, 1], [0, 0]]))  # the high ends are below the low ones
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"r\.npy"):
        Ranges.load(path)
    with pytest.raises(InputError, match="not readable as ranges"):
        Ranges.load(tmp_path / "nothing.npy")


def test_a_model_gives_the_first_coordinates_on_the_sphere(model: Model) -> None:
    whole, short = model.embed(TEXTS), model.embed(TEXTS, dim=5, batch_size=2)
    np.testing.assert_allclose(short, whole[:, :5] / np.linalg.norm(whole[:, :5], axis=1, keepdims=True), rtol=1e-6)
    assert short.dtype == np.float32
    np.testing.assert_array_equal(model.embed(TEXTS, dim=20), whole)
    theirs: Any = quantize_embeddings(short, "ubinary")
    np.testing.assert_array_equal(model.embed(TEXTS, dim=5, precision="ubinary"), theirs)


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_a_model_calibrates_by_texts_vectors_or_ranges(model: Model, precision: Any) -> None:
    short = model.embed(TEXTS, dim=8)
    expected = quantize_embeddings(short[:2], precision, ranges=np.stack([short.min(0), short.max(0)]))
    for calibration in (TEXTS, short, Ranges.of(short)):
        found = model.embed(TEXTS[:2], dim=8, precision=precision, calibration=calibration)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"dim": 21}, "dim 21 is not of this model's vectors, which have 20"),
        ({"dim": 0}, "dim 0 is not"),
        ({"precision": "int4"}, "precision 'int4': known are float32, int8"),
        ({"precision": "int8"}, "precision int8 needs the range of each coordinate: give calibration, some hundred"),
        ({"precision": "int8", "calibration": TEXTS[:1]}, "calibration: two finite float vectors"),
        ({"precision": "uint8", "dim": 8, "calibration": np.ones((3, 20))}, "ranges of 20 dimensions for vectors of 8"),
    ],
)
def test_what_cannot_be_is_refused_even_for_no_texts(model: Model, more: dict[str, Any], words: str) -> None:
    for cells in (TEXTS, []):
        with pytest.raises(InputError, match=words):
            model.embed(cells, **more)


def test_a_row_of_which_nothing_is_left_is_named() -> None:
    with pytest.raises(InputError, match="dim=1: nothing is left of row 12"):
        shorten(np.array([[1, 0], [0, 1]], np.float32), 1, first=10)


@pytest.mark.parametrize(("n", "share"), [(2, "100%"), (50, "4%"), (99, "2%")])
def test_a_calibration_on_few_vectors_is_warned_of_with_the_share_at_the_ends(n: int, share: str) -> None:
    vectors = np.random.default_rng(0).normal(size=(n, 64)).astype(np.float32)
    with pytest.warns(
        UserWarning, match=f"calibration on {n} vectors: {share} of their values are the lowest or highest"
    ):
        Ranges.of(vectors)


def test_a_calibration_on_a_hundred_vectors_is_not_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Ranges.of(np.random.default_rng(0).normal(size=(100, 64)))


def test_a_header_that_claims_ten_billion_rows_is_refused_before_they_are_held(tmp_path: Path) -> None:
    for shape in ((2, 10_000_000_000), (10_000_000_000, 2)):
        with (tmp_path / "r.npy").open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
            file.write(b"x" * 64)
        with pytest.raises(InputError, match=r"r.npy: not readable as ranges"):
            Ranges.load(tmp_path / "r.npy")
