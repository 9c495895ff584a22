"""A model to serve that is read in no time: `WordModel` behind the seam that the queue has, with faults on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.abilities import NamedPrompts
from nearfar.errors import InputError
from tests.index.word_model import WordModel

LONGEST = 24  # tokens that it reads
PROMPTS = {"query": "ask: ", "key": ""}


@dataclass(frozen=True)
class WordInputs:
    """Texts, or arrays, as they are."""

    cells: list[Any]

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, rows: slice) -> WordInputs:
        return WordInputs(self.cells[rows])

    def join(self, others: Sequence[WordInputs]) -> WordInputs:
        return WordInputs([*self.cells, *(cell for other in others for cell in other.cells)])

    def costs(self) -> npt.NDArray[np.int64]:
        return np.array([min(words(cell), LONGEST) for cell in self.cells], np.int64)


def words(cell: Any) -> int:
    return len(cell.split()) if isinstance(cell, str) else 1


class WordEncoder:
    """What a server asks of an encoder."""

    max_length: int | None = LONGEST
    reads: tuple[str, ...] = ()  # does not say

    def tokenise(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        lengths = np.array([min(words(text), LONGEST) for text in texts], np.int64)
        return np.zeros(int(lengths.sum()), np.int32), lengths

    def truncated(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        return np.array([words(text) > LONGEST for text in texts], bool)


class ServableWords:
    """Vectors of words; a text that holds "poison" raises, "nan" has no finite vector, "zero" has none."""

    def __init__(self, dim: int = 16, notes: dict[str, Any] | None = None) -> None:
        self.of, self.encoder = WordModel(dim), WordEncoder()
        self.dim, self.fingerprint = dim, self.of.fingerprint
        self.folder: Path | None = None
        self.notes, self.named_prompts, self.bf16 = notes or {}, NamedPrompts(), False
        self.batches: list[list[Any]] = []

    def prompt(self, role: str | None) -> str:
        return PROMPTS.get(role or "", "")

    def inputs(self, cells: Sequence[Any], role: str | None = None) -> WordInputs:
        if any(isinstance(cell, str) and not cell.strip() for cell in cells):
            raise InputError("embed: a text is empty")
        return WordInputs([self.prompt(role) + cell if isinstance(cell, str) else cell for cell in cells])

    def encoded(self, inputs: WordInputs) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        self.batches.append(inputs.cells)
        said = [cell if isinstance(cell, str) else "" for cell in inputs.cells]
        if any("poison" in text for text in said):
            raise RuntimeError("this text breaks the model")
        vectors, norms = self.of.embed(inputs.cells), np.ones(len(inputs), np.float32)
        for row, text in enumerate(said):
            if "nan" in text:
                vectors[row] = np.nan
            if "zero" in text:
                vectors[row], norms[row] = 0, 0
        return vectors, norms

    def embed(self, cells: Sequence[Any], role: str | None = None) -> npt.NDArray[np.float32]:
        return self.encoded(self.inputs(cells, role))[0]
