"""Prompts and sides of views: the text in front of each cell, and the side of the encoder that reads the cells."""

from __future__ import annotations

from typing import Any

from nearfar.abilities import side
from nearfar.column import Column
from nearfar.contracts import Encoder, Positives, Side
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
    """Return the encoder's prompt for a view's texts, by their role.

    Errors: `InputError` for a view that is both query and key, where the two prompts differ.
    """
    by_role: dict[str, str] = getattr(encoder, "prompts", {})
    prompts = {by_role.get(role, "") for role in _roles(positives, view)}
    if len(prompts) > 1:
        raise InputError(f"encoder.prompts: view {view!r} is both query and key, so both need the same prompt")
    return prompts.pop() if prompts else ""


def prompted(encoder: Encoder, positives: Positives, view: str) -> Column:
    """Return a view's column with the encoder's prompt in front of each cell."""
    column, text = positives.views[view], prompt(encoder, positives, view)
    return Prompted(column, text) if text else column


def side_of(encoder: Encoder, positives: Positives, view: str) -> Side:
    """Return the reader of a view's cells: the encoder, or one side of an encoder with two towers.

    Errors: `InputError` for a view that is both query and key, where the encoder has two towers.
    """
    roles = _roles(positives, view)
    if len(roles) > 1 and hasattr(encoder, "side"):
        raise InputError(
            f"encoder: view {view!r} is both query and key, and this encoder has a tower for each; take one encoder "
            "for both, or positives whose queries and keys are different views"
        )
    return side(encoder, roles[0] if roles else None)


def _roles(positives: Positives, view: str) -> list[str]:
    """Return a view's roles: "query", "key", or both."""
    views_of = {"query": positives.query_views, "key": positives.key_views}
    return [role for role, views in views_of.items() if view in views]
