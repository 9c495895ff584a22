"""Rows of an index: ids, vectors, texts and typed fields, and what a search finds of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Value = str | int | float | bool | None
Kind = Literal["text", "integer", "number", "boolean"]  # of a field
Kinds = dict[str, Kind]
KINDS: dict[Kind, type] = {"text": str, "integer": int, "number": float, "boolean": bool}
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Rows:
    """n rows, checked: ids that differ, finite unit vectors, values of the fields' kinds.

    ids: not empty. vectors: (n, d). texts: None for what has none, a picture. fields: by name the value in each row,
    None where a row has none.
    """

    ids: Sequence[str]
    vectors: Vectors
    texts: Sequence[str | None]
    fields: Mapping[str, Sequence[Value]]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Row:
    """One row as it is stored, without its vector."""

    id: str
    text: str | None
    fields: dict[str, Value]


@dataclass(frozen=True)
class Nearest:
    """The rows nearest to one query, best first: ids, and inner products (k,) in float32; equal ones by id.

    There are k, or as many as match, where that is fewer.
    """

    ids: list[str]
    scores: npt.NDArray[np.float32]
