"""Prompts and sides: what stands in front of a text, and which side reads it, while training as when it is used."""

from __future__ import annotations

from typing import Any

from nearfar.column import Column
from nearfar.contracts import Encoder, Positives, Side, side
from nearfar.errors import InputError


class Prompted:
    """A column of text with a prompt in front of each cell."""

    def __init__(self, column: Column, prompt: str) -> None:
        self.column, self.prompt, self.name = column, prompt, column.name

    def __len__(self) -> int:
        return len(self.column)

    def read(self, start: int, stop: int) -> list[Any]:
        """Return the cells of rows `start` to `stop`."""
        return [self.prompt + cell for cell in self.column.read(start, stop)]


def prompt(encoder: Encoder, positives: Positives, view: str) -> str:
    """Return what an encoder wants in front of a view's texts, by whether they ask or answer.

    Errors: `InputError` for a view that does both, where the two prompts differ.
    """
    prompts: dict[str, str] = getattr(encoder, "prompts", {})
    found = {prompts.get(role, "") for role in _roles(positives, view)}
    if len(found) > 1:
        raise InputError(f"encoder.prompts: view {view!r} is query and key at once, so both need the same prompt")
    return found.pop() if found else ""


def prompted(encoder: Encoder, positives: Positives, view: str) -> Column:
    """Return a view's column as the encoder is to read it."""
    column, before = positives.views[view], prompt(encoder, positives, view)
    return Prompted(column, before) if before else column


def side_of(encoder: Encoder, positives: Positives, view: str) -> Side:
    """Return what reads a view's cells: the encoder, or its side where it has two.

    Errors: `InputError` for a view that is of both sides, where the encoder has two.
    """
    roles = _roles(positives, view)
    if len(roles) > 1 and hasattr(encoder, "side"):
        raise InputError(
            f"encoder: view {view!r} is query and key at once, and this encoder has a tower for each; take one encoder "
            "for both, or positives whose queries and keys are different views"
        )
    return side(encoder, roles[0] if roles else None)


def _roles(positives: Positives, view: str) -> list[str]:
    """Return whether a view asks or answers, or both."""
    sides = {"query": positives.query_views, "key": positives.key_views}
    return [role for role, views in sides.items() if view in views]
