"""Cells that hold nothing are not embedded: their vectors are zero, or they are an error that names the row."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nearfar.column import ListColumn
from nearfar.errors import InputError, NoVectorError
from nearfar.vectors import embed
from nearfar.vectors.embed import embed_column


class _Lengths:
    """A model that reads what has a length, and keeps what it was given."""

    def __init__(self) -> None:
        self.given: list[Any] = []

    def embed(self, cells: list[Any], /, role: str | None = None) -> npt.NDArray[np.float32]:
        self.given += cells
        return np.array([[len(cell), 1.0] for cell in cells], np.float32)


@pytest.mark.parametrize("nothing", [None, "", " \n", np.zeros((0, 3))])
def test_what_holds_nothing_has_no_vector(nothing: Any) -> None:
    column, model = ListColumn("some", ["ab", nothing, "c", "ab"]), _Lengths()
    assert embed_column(model, column, None, empty=True).tolist() == [[2, 1], [0, 0], [1, 1], [2, 1]]
    assert model.given == ["ab", "c"]
    with pytest.raises(InputError, match=r"column 'some', row 2: is empty"):
        embed_column(_Lengths(), column, None, empty=False)


def test_a_cell_without_a_vector_is_named_by_its_row_in_the_column(monkeypatch: pytest.MonkeyPatch) -> None:
    class Picky(_Lengths):
        def embed(self, cells: list[Any], /, role: str | None = None) -> npt.NDArray[np.float32]:
            if "bad" in cells:
                raise NoVectorError(cells.index("bad"), "has no vector (text)")
            return super().embed(cells, role)

    monkeypatch.setattr(embed, "SLICE", 4)
    cells = ["ab", "ab", "", "c", "ab", "", "ab", "bad"]  # copies and empty ones are not embedded
    with pytest.raises(NoVectorError, match=r"^column 'some': row 8 has no vector \(text\)$") as error:
        embed_column(Picky(), ListColumn("some", cells), None, empty=True)
    assert error.value.row == 7
