"""Texts that an encoder cannot tell apart: their contents differ, their tokens do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from unicodedata import category, normalize

import numpy as np
import numpy.typing as npt

from nearfar.abilities import Tokenises, with_aliases
from nearfar.column import Aliases, Column, Ids, chunks, column_kind, content_ids, take
from nearfar.contracts import Encoder, Positives
from nearfar.sides import side_of
from nearfar.text.prompts import prompt, with_prompt

Tokenise = Callable[[Sequence[str]], tuple[npt.NDArray[np.int32], Ids]]
PromptedTokenizer = tuple[Tokenise, str]  # what cuts texts into tokens, and the prompt in front of them
_UNLETTERED = bytes(code for code in range(128) if chr(code).isspace() or not chr(code).isprintable()) + b"_"
_UNLETTERED_CATEGORIES = ("Mn", "Cc", "Cf", "Zs", "Zl", "Zp")


def as_read(encoder: Encoder, positives: Positives) -> Positives:
    """Return positives in which texts that a prepared encoder reads alike are one content.

    "RESET" and "Reset" have one vector under a tokenizer that lowers case: with one as a positive and the other as a
    negative, the loss would ask for both. Positives that take no aliases (`abilities.TakesAliases`), and those whose
    encoder reads no tokens, are returned as they are.
    """
    return with_aliases(positives, aliases_of(encoder, positives))


def aliases_of(encoder: Encoder, positives: Positives) -> Aliases:
    """Return the contents of positives that a prepared encoder reads alike, by `read_alike`."""
    columns: dict[int, Column] = {}
    readers: dict[PromptedTokenizer, None] = {}  # each once: a tokenizer that two sides share is one
    for view, column in positives.views.items():
        side = side_of(encoder, positives, view)
        if isinstance(side, Tokenises) and column_kind(column) == "text":
            text = prompt(encoder, positives, view)
            columns[id(column)] = column
            readers[side.tokenise, text] = None
    return read_alike(list(columns.values()), list(readers))


def read_alike(columns: Sequence[Column], readers: Sequence[PromptedTokenizer]) -> Aliases:
    """Return the contents of columns of text that are the same tokens to every reader; the least id stands for all.

    Only texts that differ in nothing but case, accents, compatibility forms, white space, underscores and control
    characters are tokenised and compared. Others that read alike are not found: those that differ beyond a maximum
    length, or in characters that the tokenizer does not know.
    """
    if not columns or not readers:
        return Aliases.none()
    ids = np.concatenate([content_ids(column) for column in columns])  # (n,)
    forms = np.concatenate([_loose_forms(column) for column in columns])  # (n,)
    ids, first = np.unique(ids, return_index=True)  # each content once
    _, inverse, count = np.unique(forms[first], return_inverse=True, return_counts=True)
    chosen = (count[inverse] > 1) & (forms[first] != 0)
    ends = np.cumsum([len(column) for column in columns])
    by_tokens: dict[bytes, list[int]] = {}
    for column, end in zip(columns, ends.tolist()):
        of_column = np.flatnonzero(chosen & (first < end) & (first >= end - len(column)))
        texts = take(column, first[of_column] - (end - len(column)))
        for content, tokens in zip(ids[of_column].tolist(), _tokens(texts, readers), strict=True):
            by_tokens.setdefault(tokens, []).append(content)
    alike = [sorted(contents) for contents in by_tokens.values() if len(contents) > 1]
    return Aliases.of({content: contents[0] for contents in alike for content in contents[1:]})


def _tokens(texts: list[str], readers: Sequence[PromptedTokenizer]) -> list[bytes]:
    """Return the tokens of each text, those of all readers one after the other."""
    read = [b""] * len(texts)
    for tokenise, text in readers if texts else ():
        ids, lengths = tokenise(with_prompt(text, texts))
        ends = np.cumsum(lengths).tolist()
        parts = zip(ends, lengths.tolist(), strict=True)
        read = [before + b"%d:" % n + ids[end - n : end].tobytes() for before, (end, n) in zip(read, parts)]
    return read


def _loose_forms(column: Column) -> Ids:
    """Return a hash of each text (n,) without case, accents and white space; 0 for a cell of which nothing is left."""
    cells = (cell for block in chunks(column) for cell in block)
    return np.fromiter((hash(_loose_form(cell)) for cell in cells), np.int64, len(column))


def _loose_form(cell: Any) -> bytes:
    if not isinstance(cell, str):
        return b""
    if cell.isascii():
        return cell.encode().lower().translate(None, _UNLETTERED)
    return normalize("NFKD", cell).casefold().translate(_LETTERS).encode("utf-8", "surrogatepass")


class _Letters(dict[int, int | None]):
    """A table for `str.translate` that drops accents, white space, underscores and control characters."""

    def __missing__(self, code: int) -> int | None:
        drops = code == ord("_") or category(chr(code)) in _UNLETTERED_CATEGORIES
        self[code] = None if drops else code
        return self[code]


_LETTERS = _Letters()
