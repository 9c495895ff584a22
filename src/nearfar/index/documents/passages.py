"""Passages: a text is cut where its structure allows it, into parts that the model reads whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

from nearfar.abilities import HasMaxLength, Tokenises, tower_of
from nearfar.errors import InputError
from nearfar.index.content_ids import ContentIds
from nearfar.index.documents.document import FileDocument
from nearfar.index.rows import Value
from nearfar.model import Model
from nearfar.sides import role_reading
from nearfar.text.spans import Span, words

TOKENS = 256  # of a passage, at most, where the model reads as many
LEAST = 8  # tokens that a passage must be able to have
LONGEST_TOKEN = 16  # characters of a passage for each of its tokens, at most; a word of a thousand letters is one token
_BLOCK = 1 << 16  # characters that are cut at a time: the library recurses for each kind of gap in a text


@dataclass(frozen=True)
class Passage:
    """A part of a document that becomes a row: `cell` is what is embedded, a text or a picture.

    fields: `file`, and `line`, `page` and those of a table's row, where there are any.
    """

    id: str
    cell: Any
    fields: dict[str, Value]

    @property
    def text(self) -> str | None:
        """The text; None of a picture."""
        return self.cell if isinstance(self.cell, str) else None


class PassageCutter:
    """Cuts texts into passages of at most `size` tokens, as `count` counts them.

    count: a text's tokens with all that the model adds; more than `size` may be any larger number. added: how many that
    are at most.
    """

    def __init__(self, count: Callable[[str], int], size: int, added: int = 0) -> None:
        self.count, self.size, self._added = count, size, added

    @classmethod
    def of(cls, model: Model, tokens: int = TOKENS) -> Self:
        """Return the cutter for a model's keys: passages of `tokens` tokens, or as many as it reads behind its prompt.

        Errors: `InputError` for a size that no passage can have.
        """
        if tokens < LEAST:
            raise InputError(f"passages of {tokens} tokens: give at least {LEAST}")
        role = role_reading(model.encoder, "text", "key")
        encoder = tower_of(model.encoder, role)
        prompt = model.prompt(role)
        if not isinstance(encoder, Tokenises):
            return cls(lambda text: len(words(text)), tokens)
        tokenise = encoder.tokenise

        def count(text: str) -> int:
            return int(tokenise([prompt + text])[1][0])

        added = count("a") - 1  # by the prompt, and of special tokens
        size = tokens + max(added, 0)
        if isinstance(encoder, HasMaxLength) and encoder.max_length is not None:
            size = min(size, encoder.max_length - 1)  # a text of that length may have been truncated to it
        if size - added < LEAST:
            raise InputError(
                f"the model's prompt ({prompt[:40]!r}) takes {added} of the {size + 1} tokens that it reads, and "
                "leaves none for a passage; give another model"
            )
        return cls(count, size, max(added, 0))

    def spans(self, text: str) -> list[Span]:
        """Return the passages as (start, end) in the text, in order; they cover all that is no white space."""
        from semchunk import chunk

        found = []
        for first, last in _blocks(text):
            block = text[first:last]
            parts = (
                [(0, len(block))]
                if self._fits(block)
                else chunk(block, self.size, self._tokens, memoize=False, offsets=True)[1]
            )
            for start, end in parts:
                part = block[start:end]
                start += len(part) - len(part.lstrip())
                end -= len(part) - len(part.rstrip())
                if start < end:
                    found.append((first + start, first + end))
        return found

    def _fits(self, text: str) -> bool:
        """Return whether a text is one passage; a token has a letter of ASCII at least, or is the mark of a word."""
        short = text.isascii() and len(text) + self._added < self.size
        return short or self._tokens(text) <= self.size

    def _tokens(self, text: str) -> int:
        least = len(text) // LONGEST_TOKEN
        return least if least > self.size else max(least, self.count(text))


def _blocks(text: str) -> Iterator[Span]:
    """Yield the spans of parts of a long text, which end at an empty line, a line or a word."""
    start = 0
    while len(text) - start > _BLOCK:
        least, most = start + _BLOCK // 2, start + _BLOCK
        ends = (text.rfind(gap, least, most) for gap in ("\n\n", "\n", " "))
        end = next((found + 1 for found in ends if found > 0), most)
        yield start, end
        start = end
    yield start, len(text)


def passages_of(document: FileDocument, ids: ContentIds, name: str, cutter: PassageCutter) -> Iterator[Passage]:
    """Yield the passages of a document. name: of its file."""
    fields: dict[str, Value] = {**document.fields, "file": name}
    if document.page is not None:
        fields["page"] = document.page
    if not isinstance(document.cell, str):
        yield Passage(ids.next(document.cell), document.cell, fields)
        return
    for start, end in cutter.spans(document.cell):
        text, line = document.cell[start:end], document.line(start)
        yield Passage(ids.next(text), text, fields if line is None else {**fields, "line": line})
