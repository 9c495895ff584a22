"""Prompts: the text in front of each text that an encoder reads, by role, and checks of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nearfar.abilities import prompts_of, reads
from nearfar.column import Column, Ids, cell_ids, column_kind, kind_of
from nearfar.contracts import Encoder, Positives
from nearfar.errors import InputError, NoVectorError, nearest
from nearfar.printable import is_encodable
from nearfar.sides import ROLES, kinds_read, roles_of


class Prompted:
    """A column with a prompt in front of each text; cells that are no text stay as they are."""

    def __init__(self, column: Column, prompt: str) -> None:
        self.column, self.prompt, self.name = column, prompt, column.name

    def __len__(self) -> int:
        return len(self.column)

    def read(self, start: int, stop: int) -> list[Any]:
        """Return the cells of rows `start` to `stop`."""
        return with_prompt(self.prompt, self.column.read(start, stop))

    def ids(self) -> Ids:
        """Return the content ids of the prompted cells."""
        return cell_ids(self)


def with_prompt(prompt: str, cells: Sequence[Any]) -> list[Any]:
    """Return cells with a prompt in front of each text."""
    return [prompt + cell if isinstance(cell, str) else cell for cell in cells]


def checked_prompts(prompts: Mapping[str, str], where: str = "prompts") -> dict[str, str]:
    """Return prompts by role. where: their place in a recipe, for errors.

    Errors: `InputError` for an unknown role, and a prompt that is no text.
    """
    for role, text in prompts.items():
        if role not in ROLES:
            raise InputError(f"{where}: no role {role!r}; {nearest(str(role), ROLES)}")
        if not isinstance(text, str) or not is_encodable(text):
            raise InputError(f"{where}.{role} must be a text without lone surrogates, it is {text!r}")
    return dict(prompts)


def checked_cells(side: Any, name: str, cells: Sequence[Any], prompt: str, first: int) -> list[Any]:
    """Return cells for a side to read, each text with the prompt in front.

    name: what errors call the side, such as "this model". first: added to the row numbers in errors.

    Errors: `InputError` naming the row of a cell of a kind that the side does not read, and of a text that is empty or
    cannot be written as UTF-8.
    """
    known = reads(side)
    for row, cell in enumerate(cells, first + 1):
        if known and (kind := kind_of(cell)) not in known:
            raise InputError(
                f"embed: row {row} is {kind} ({str(cell)[:40]!r}), {name} reads {kinds_read(side)}; "
                "give it that, or take another model"
            )
        if isinstance(cell, str) and not cell.strip():
            raise InputError(f"embed: text {row} is empty; leave it out, an empty text has no vector")
        if isinstance(cell, str) and not is_encodable(cell):
            raise InputError(f"embed: text {row} holds a lone surrogate, which is no text; decode it again")
    return with_prompt(prompt, cells) if prompt else list(cells)


def no_vector(row: int, cell: Any) -> NoVectorError:
    """Return the error for a cell whose vector is zero, as that of a text of unknown tokens is, or is not finite.

    row: from 0.
    """
    shown, what = kind_of(cell), "features of it are all zero, or no numbers"
    if isinstance(cell, str):
        shown, what = repr(cell[:40]), "encoder knows no token of it"
    return NoVectorError(row, f"has no vector ({shown}): the {what}; leave it out")


def prompt(encoder: Encoder, positives: Positives, view: str) -> str:
    """Return the encoder's prompt for a view's texts, by their role.

    Errors: `InputError` for a view that is both query and key, where the two prompts differ.
    """
    by_role = prompts_of(encoder)
    prompts = {by_role.get(role, "") for role in roles_of(positives, view)}
    if len(prompts) > 1:
        raise InputError(f"encoder.prompts: view {view!r} is both query and key, so both need the same prompt")
    return prompts.pop() if prompts else ""


def prompted(encoder: Encoder, positives: Positives, view: str) -> Column:
    """Return a view's column with the encoder's prompt in front of each text."""
    column, text = positives.views[view], prompt(encoder, positives, view)
    return Prompted(column, text) if text and column_kind(column) in (None, "text") else column
