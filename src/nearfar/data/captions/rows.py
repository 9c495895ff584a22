"""Captions and the names of their pictures, as a source has them, before any picture is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from nearfar.column import Ids, is_empty
from nearfar.data.tables.cells import LONGEST_CELL
from nearfar.errors import InputError


@dataclass(frozen=True)
class CaptionRows:
    """Captions (n,) of all splits, in the order of their source.

    texts (n,): the captions. names (p,): the distinct pictures that they are of, as the source names them; picture
    (n,): the place in `names` of each caption's. splits: the rows of each split. locate: the place in the source of a
    row, for errors. uncaptioned: pictures that the source names without a caption. notes: what to tell of the source.
    """

    where: str
    texts: list[str]
    names: list[str]
    picture: Ids
    splits: dict[str, Ids]
    locate: Callable[[int], str]
    uncaptioned: int = 0
    notes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, where: str, rows: Iterable[tuple[str, str, str]], locate: Callable[[int], str], **more: Any) -> Self:
        """Return rows from a split, a picture's name and a caption each. more: `uncaptioned` and `notes`.

        Errors: `InputError` where there are none.
        """
        texts, names, splits = list[str](), dict[str, int](), dict[str, list[int]]()
        picture = []
        for row, (split, name, text) in enumerate(rows):
            texts.append(text)
            picture.append(names.setdefault(name, len(names)))
            splits.setdefault(split, []).append(row)
        if not texts:
            raise InputError(f"{where}: holds no picture with a caption; give some")
        by_split = {split: np.array(of_split, np.int64) for split, of_split in splits.items()}
        return cls(where, texts, list(names), np.array(picture, np.int64), by_split, locate, **more)

    def first_rows(self) -> Ids:
        """Return the first row (p,) of each picture."""
        first: Ids = np.unique(self.picture, return_index=True)[1].astype(np.int64)
        return first


def captions_of(value: Any, where: str) -> list[str]:
    """Return the captions of a picture from a value of JSON: a text, or a list of texts. where: its place, for errors.

    Errors: `InputError` for a value of another type, and for a text that is empty, too long or not Unicode.
    """
    texts = value if isinstance(value, list) else [value]
    for number, text in enumerate(texts, 1):
        which = f"caption {number}" if isinstance(value, list) else "the caption"
        if not isinstance(text, str):
            raise InputError(f"{where}: {which} is {text!r:.40} and no text; write a text, or a list of texts")
        if is_empty(text):
            raise InputError(f"{where}: {which} is empty; write some text, or remove it")
        if len(text.encode("utf-8", "surrogatepass")) > LONGEST_CELL:
            raise InputError(f"{where}: {which} has more than {LONGEST_CELL // 10**6} MB; shorten it")
        if not text.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise InputError(f"{where}: {which} is not Unicode (half of a surrogate pair); write it as UTF-8")
    return texts
