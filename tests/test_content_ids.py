"""Content ids: equal for equal contents, for each kind of cell; and columns that know their ids are never read."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

import nearfar as nf
from nearfar.column import Column, Ids, ListColumn, column_kind, content_id, content_ids
from nearfar.data.table import Table
from nearfar.errors import InputError
from nearfar.losses.infonce import InfoNCE
from nearfar.positives.columns import Columns
from tests.training.floats import FEATURES, Floats, Perceptron
from tests.training.runs import Rows

PLAIN = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(width=16) | st.text("ab", max_size=2)
NESTED = st.recursive(PLAIN | st.binary(max_size=2), lambda inner: st.lists(inner, max_size=3), max_leaves=6)
DTYPES = st.sampled_from(["u1", "i2", "i8", "f2", "f4", "f8", "?"])
ARRAYS = DTYPES.flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_side=3)))
DRAWN = st.tuples(st.sampled_from(["L", "P", "RGB", "CMYK"]), st.sampled_from([(2, 3), (3, 2)]), st.integers(0, 2))
TENSORS = [torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.uint8, torch.int64, torch.bool]


class Unread:
    """A column that knows its ids and its kind, and whose cells cannot be read."""

    def __init__(self, name: str, known: Any, kind: str = "vector") -> None:
        self.name, self.known, self.kind = name, known, kind

    def __len__(self) -> int:
        return len(self.known)

    def read(self, start: int, stop: int) -> list[Any]:
        raise AssertionError(f"{self.name}: a cell is read")

    def ids(self) -> Ids:
        return np.array(self.known)


def written(cell: Any) -> str:
    """Return a cell as Python writes it, which tells 1, 1.0, True and "1" apart."""
    return repr(cell)


@settings(deadline=None, max_examples=300)
@given(NESTED, NESTED)
def test_plain_cells_and_lists_have_the_same_id_only_where_they_are_the_same(one: Any, other: Any) -> None:
    assert (content_id(one) == content_id(other)) == (written(one) == written(other))


def test_values_that_look_alike_are_told_apart() -> None:
    cells = [
        *(1, 1.0, True, "1", b"1", None, "None", "True", "1.0", Decimal(1), [1], ["1"], [[1]], [], "", b"", "[]", {}),
        *(["ab", "c"], ["a", "bc"], ["abc"], ["a", ["b", "c"]], {"a": 1}, {"a": "1"}, {"b": 1}, [("a", 1)], "a"),
        *(
            date(2020, 1, 2),
            datetime(2020, 1, 2),
            datetime(2020, 1, 2, tzinfo=UTC),
            "2020-01-02",
            time(2),
            timedelta(2),
        ),
        *(np.array([1]), np.array(1), np.array("1"), np.array(["a"]), np.datetime64("2020-01-02"), float("nan"), 0.0),
    ]
    assert len({content_id(cell) for cell in cells}) == len(cells)


def test_the_same_content_has_the_same_id_however_it_is_held() -> None:
    assert content_id(("a", 1)) == content_id(["a", 1])
    assert content_id({"a": 1, "b": [2]}) == content_id({"b": [2], "a": 1})
    assert content_id(np.float64(0.5)) == content_id(0.5)
    assert content_id(np.int32(7)) == content_id(7) and content_id(np.bool_(True)) == content_id(True)
    assert content_id(np.str_("near")) == content_id("near")
    assert content_id(bytearray(b"near")) == content_id(b"near") == content_id(memoryview(b"near"))
    assert content_id(float("nan")) == content_id(-float("nan"))


@settings(deadline=None, max_examples=200)
@given(ARRAYS, ARRAYS)
def test_two_different_arrays_never_share_an_id(one: Any, other: Any) -> None:
    same = one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    assert (content_id(one) == content_id(other)) == same
    assert content_id(one) == content_id(np.array(one, one.dtype.newbyteorder(">"), order="F"))
    assert content_id(one) == content_id(torch.from_numpy(one.copy()))


def test_large_arrays_that_print_alike_are_told_apart() -> None:
    for other in (torch.zeros(64, 64), np.zeros((64, 64), np.float32)):
        changed: Any = other.clone() if isinstance(other, torch.Tensor) else other.copy()
        changed[32, 32] = 1
        assert str(changed) == str(other) and content_id(changed) != content_id(other)


@settings(deadline=None)
@given(st.sampled_from(TENSORS), st.sampled_from(TENSORS), st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_two_different_tensors_never_share_an_id(kind: Any, other: Any, values: list[int]) -> None:
    tensor = torch.tensor(values).reshape(2, 3).to(kind)
    ids = {
        content_id(tensor),
        content_id(tensor.flatten()),
        content_id(tensor.reshape(3, 2)),
        content_id(~(tensor > 0)),
    }
    assert len(ids) == 4
    assert (content_id(tensor) == content_id(torch.tensor(values).reshape(2, 3).to(other))) == (kind == other)
    wide = torch.stack([tensor, tensor], 2)[..., 0]  # not contiguous
    assert content_id(wide) == content_id(tensor) == content_id(torch.nn.Parameter(tensor, requires_grad=False))


def picture(mode: str, size: tuple[int, int] = (2, 3), value: int = 0) -> Image.Image:
    return Image.frombytes(mode, size, bytes([value] * len(Image.new(mode, size).tobytes())))


@settings(deadline=None)
@given(DRAWN, DRAWN)
def test_two_different_pictures_never_share_an_id(one: Any, other: Any) -> None:
    assert (content_id(picture(*one)) == content_id(picture(*other))) == (one == other)


def test_a_picture_is_its_pixels_and_its_palette() -> None:
    red, blue = picture("P"), picture("P")
    red.putpalette([255, 0, 0])
    blue.putpalette([0, 0, 255])
    assert content_id(red) != content_id(blue)
    file = io.BytesIO()
    picture("RGB", value=7).save(file, "png")
    assert content_id(Image.open(file)) == content_id(picture("RGB", value=7))  # read lazily, of another class


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (object(), "a cell of type object"),
        ({1, 2}, "a cell of type set"),
        (Path("a.png"), "a cell of type PosixPath"),
        ({1: "a"}, "a cell of type dict"),
        (["a", {"b": object()}], "a cell of type object"),
        (np.array([object()]), "a ndarray of type object"),
        (np.ma.masked_array([1, 2], [True, False]), "a MaskedArray of type int64"),
        (np.zeros(2, "i4,f4"), "a ndarray of type"),
        (torch.zeros(2, 2).to_sparse(), "a tensor that is sparse"),
        (torch.zeros(2, device="meta"), "a tensor that is .* without memory"),
    ],
)
def test_a_cell_of_an_unknown_type_is_refused_by_row(cell: Any, said: str) -> None:
    with pytest.raises(InputError, match=f"{said}.* has no identity; give text"):
        content_id(cell)
    with pytest.raises(InputError, match=rf"column 'things', row 10002: {said}.* or a column with ids\(\)"):
        content_ids(ListColumn("things", [*(["a"] * 10_001), cell]))


def test_a_column_that_knows_its_ids_is_never_read() -> None:
    known = np.array([3, 1, 3], np.int64)
    assert content_ids(Unread("photo", known)).tolist() == [3, 1, 3]
    assert column_kind(Unread("photo", known, "image")) == "image"


@pytest.mark.parametrize("known", [np.zeros(3, np.int32), np.zeros((3, 1), np.int64), np.zeros(2, np.int64)])
def test_ids_of_a_wrong_form_are_refused(known: Any) -> None:
    column = Unread("photo", known)
    column.__class__ = type("Three", (Unread,), {"__len__": lambda _: 3})
    with pytest.raises(InputError, match=r"column 'photo': ids\(\) must return an array of 3 int64"):
        content_ids(column)


def test_a_columns_own_attribute_called_ids_is_something_else() -> None:
    column: Any = ListColumn("text", ["a"])
    column.ids = ["d7"]
    assert content_ids(column).tolist() == [content_id("a")]


@pytest.mark.parametrize(
    "cells", [[1, 2, 2], [1.5, None, 2.0], [True, False, None], [[1, 2], [], [1]], [{"a": 1}, {"a": 2}, None]]
)
def test_every_column_of_a_table_has_the_ids_of_its_cells(cells: list[Any]) -> None:
    column = Table([{"cell": cell} for cell in cells]).column("cell")
    assert content_ids(column).tolist() == [content_id(cell) for cell in column.read(0, 3)]
    assert content_ids(column) is content_ids(column)


class Known(Perceptron):
    """An encoder whose store has the inputs of every column by its ids, and reads none of its cells."""

    reads: tuple[str, ...] = ("vector",)

    def store(self, column: Column) -> Any:
        table = torch.from_numpy(np.random.default_rng(0).normal(size=(99, FEATURES)))

        class Store:
            def __getitem__(self, rows: Ids) -> Floats:
                return Floats(table[content_ids(column)[rows]])

        return Store()


def test_training_reads_no_cell_for_the_identity_of_a_column_that_knows_it(tmp_path: Path) -> None:
    class Stored(Rows):
        def column(self, name: str) -> Column:
            return Unread(name, np.array(self.cells[name], np.int64))

    positives = Columns(Stored(query=list(range(16)), key=list(range(40, 48)) * 2), query="query", key="key")
    pairs = positives.batch(np.arange(16)).pairs
    assert pairs.key_group.tolist() == list(range(40, 48)) * 2
    run = nf.fit(Known(), positives, InfoNCE(), out=tmp_path / "run", batch_size=8, steps=2, device="cpu", quiet=True)
    assert run.metrics == {} and (tmp_path / "run" / "model" / "nearfar.json").is_file()


def test_what_has_no_plain_contents_is_refused_and_large_numbers_are_not() -> None:
    inside: list[object] = []
    inside.append(inside)
    for cell in (np.longdouble(1), np.ones(2, np.longdouble), inside):
        with pytest.raises(InputError, match=r"column 'x', row 1: .* has no identity"):
            content_ids(ListColumn("x", [cell]))
    assert content_id(10**5000) != content_id(10**5000 + 1)
    assert content_id(5) == content_id(np.int64(5)) != content_id(5.0)
