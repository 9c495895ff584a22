"""The material of an audit: every text of a data set, by split, column and row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from nearfar.column import Column, Ids, ListColumn, chunks, content_ids
from nearfar.mining.checks.found import LONGEST

Role = Literal["query", "key", "negative", "text", "document"]
NOUNS: dict[str, tuple[str, str]] = {role: (role, f"{role}s") for role in ("key", "negative", "text", "document")}
NOUNS["query"] = ("query", "queries")
ASKING: tuple[Role, ...] = ("query", "text")


@dataclass(frozen=True)
class Part:
    """The texts of one column in one split: `texts[offsets[i]:offsets[i + 1]]` are those of row i; blank ones stay."""

    split: str
    role: Role
    name: str
    texts: list[str]  # (v,)
    offsets: Ids  # (n + 1,)
    asks: bool = False  # one of its texts that training has seen gives a test row away

    @cached_property
    def ids(self) -> Ids:
        """The content identities of the texts, (v,)."""
        return content_ids(ListColumn(self.name, self.texts))

    @cached_property
    def rows(self) -> Ids:
        """The row of each text, (v,)."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    @cached_property
    def written(self) -> Ids:
        """The places of the texts that are not blank, (w,)."""
        return np.array([i for i, text in enumerate(self.texts) if text.strip()], np.int64)

    def example(self, place: int, **more: Any) -> dict[str, Any]:
        """Return a text for people, with its split, row (from 1) and column."""
        text = self.texts[place]
        cut = text[:LONGEST] + (" \u2026" if len(text) > LONGEST else "")
        return {"split": self.split, "row": int(self.rows[place]) + 1, "column": self.name, "text": cut, **more}


@dataclass(frozen=True)
class Material:
    """All parts of a data set. `main` is the split that is trained on, or, of a BEIR folder, the corpus."""

    name: str
    kind: Literal["pairs", "graded pairs", "texts", "BEIR folder"]
    main: str
    parts: list[Part]
    labels: dict[str, list[Any]] = field(default_factory=dict)  # by split, a cell a row
    label: str | None = None
    judged: list[tuple[int, int]] = field(default_factory=list)  # of a BEIR folder: (query, document) that are near

    @cached_property
    def splits(self) -> dict[str, int]:
        """The rows of each split, the main one first."""
        sizes = {part.split: len(part.offsets) - 1 for part in self.parts}
        return {self.main: sizes[self.main], **sizes}

    def of(self, split: str) -> list[Part]:
        """Return the parts of a split."""
        return [part for part in self.parts if part.split == split]

    @cached_property
    def roles(self) -> dict[Role, list[Part]]:
        """The parts of each role, in the order of the splits."""
        found: dict[Role, list[Part]] = {}
        for split in self.splits:
            for part in self.of(split):
                found.setdefault(part.role, []).append(part)
        return found

    @cached_property
    def joined(self) -> dict[str, Part]:
        """Each split's rows as one text each, which tells rows apart: all its texts, one below the other."""
        return {split: _joined(self.of(split)) for split in self.splits}

    @cached_property
    def pairs(self) -> list[tuple[Part, int, Part, int]]:
        """The positives of the main split: the place of a query in its part and of a key in its own."""
        if self.kind == "BEIR folder" and self.judged:
            documents, queries = self.roles["document"][0], self.roles["query"][0]
            return [(queries, query, documents, document) for query, document in self.judged]
        if self.kind != "pairs":
            return []
        query, key = (next(part for part in self.of(self.main) if part.role == role) for role in ("query", "key"))
        return [
            (query, q, key, k)
            for row in range(self.splits[self.main])
            for q in range(query.offsets[row], query.offsets[row + 1])
            for k in range(key.offsets[row], key.offsets[row + 1])
        ]


def part(split: str, role: Role, column: Column, *, lists: bool = False, asks: bool | None = None) -> Part:
    """Return a column of texts, or of lists of texts, in memory; a null is a blank text, or an empty list."""
    texts: list[str] = []
    lengths: list[int] = []
    for cells in chunks(column):
        for cell in cells:
            several: Sequence[Any] = (cell or []) if lists else [cell]
            texts.extend("" if text is None else str(text) for text in several)
            lengths.append(len(several))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Part(split, role, column.name, texts, offsets, role in ASKING if asks is None else asks)


def distinct(parts: Sequence[Part], keep: Callable[[Part], bool] = lambda _: True) -> list[tuple[Part, int]]:
    """Return the first place of each distinct text of some parts, blank ones left out."""
    first: dict[int, tuple[Part, int]] = {}
    for found in filter(keep, parts):
        for place in found.written.tolist():
            first.setdefault(int(found.ids[place]), (found, place))
    return list(first.values())


def _joined(parts: list[Part]) -> Part:
    if len(parts) == 1 and len(parts[0].texts) == len(parts[0].offsets) - 1:
        return parts[0]
    n = len(parts[0].offsets) - 1
    texts = ["\n".join(t for p in parts for t in p.texts[p.offsets[i] : p.offsets[i + 1]]) for i in range(n)]
    name = " and ".join(p.name for p in parts)
    return Part(parts[0].split, parts[0].role, name, texts, np.arange(n + 1))
