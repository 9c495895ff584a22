"""Prompts and sides of views: which side of an encoder reads a view, and the text in front of each of its cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nearfar import registry
from nearfar.abilities import TwoSided, prompts_of, reads, side
from nearfar.column import Column, Ids, cell_ids, column_kind, kind_of
from nearfar.contracts import Encoder, Positives, Side
from nearfar.errors import InputError, nearest

ROLES = ("query", "key")


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


def checked_prompts(prompts: Mapping[str, str]) -> dict[str, str]:
    """Return prompts by role. Errors: `InputError` for an unknown role, and a prompt that is no text."""
    for role, text in prompts.items():
        if role not in ROLES:
            raise InputError(f"prompts: no role {role!r}; {nearest(str(role), ROLES)}")
        if not isinstance(text, str) or not _is_encodable(text):
            raise InputError(f"prompts: {role} must be a text without lone surrogates, it is {text!r}")
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
            raise InputError(f"embed: row {row} is {kind} ({str(cell)[:40]!r}), {name} reads {kinds_read(side)}")
        if isinstance(cell, str) and not cell.strip():
            raise InputError(f"embed: text {row} is empty; leave it out, an empty text has no vector")
        if isinstance(cell, str) and not _is_encodable(cell):
            raise InputError(f"embed: text {row} holds a lone surrogate, which is no text; decode it again")
    return with_prompt(prompt, cells) if prompt else list(cells)


def _is_encodable(text: str) -> bool:
    """Return whether a text can be written as UTF-8, which lone surrogates cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def prompt(encoder: Encoder, positives: Positives, view: str) -> str:
    """Return the encoder's prompt for a view's texts, by their role.

    Errors: `InputError` for a view that is both query and key, where the two prompts differ.
    """
    by_role = prompts_of(encoder)
    prompts = {by_role.get(role, "") for role in _roles(positives, view)}
    if len(prompts) > 1:
        raise InputError(f"encoder.prompts: view {view!r} is both query and key, so both need the same prompt")
    return prompts.pop() if prompts else ""


def prompted(encoder: Encoder, positives: Positives, view: str) -> Column:
    """Return a view's column with the encoder's prompt in front of each text."""
    column, text = positives.views[view], prompt(encoder, positives, view)
    return Prompted(column, text) if text and column_kind(column) in (None, "text") else column


def side_of(encoder: Encoder, positives: Positives, view: str) -> Side:
    """Return the reader of a view's cells: the encoder, or one side of an encoder with two.

    Errors: `InputError` for a view that is both query and key, where the encoder has two sides.
    """
    roles = _roles(positives, view)
    if len(roles) > 1 and isinstance(encoder, TwoSided):
        raise InputError(
            f"encoder: view {view!r} is both query and key, and this encoder has a tower for each; take one encoder "
            "for both, or positives whose queries and keys are different views"
        )
    return side(encoder, roles[0] if roles else None)


def prepare_sides(encoder: Encoder, positives: Positives) -> None:
    """Let an encoder learn from the data: from all views, or each of its two sides from the views that it reads.

    Errors: `InputError` naming a view of a kind that its side does not read; those of `side_of`, and of `prepare`.
    """
    refuse_kinds(encoder, positives)
    if not isinstance(encoder, TwoSided):
        encoder.prepare(list(positives.views.values()))
        return
    for role in ROLES:
        own = [view for view in positives.views if _role(positives, view) == role]
        encoder.side(role).prepare([positives.views[view] for view in own])


def refuse_kinds(encoder: Encoder, positives: Positives) -> None:
    """Refuse positives with a view of a kind that its side of the encoder does not read. Errors: `InputError`."""
    for view, column in positives.views.items():
        name = side_name(encoder, _role(positives, view))
        refuse_kind(side_of(encoder, positives, view), name, column, f"view {view!r}")


def refuse_kind(side: Any, name: str, column: Column, where: str) -> None:
    """Refuse a column of a kind that a side does not read.

    name: the side's, as `side_name` gives it. where: what the column is, such as "view 'query'".

    Errors: `InputError` naming the column, its kind, the side and what it reads.
    """
    known, kind = reads(side), column_kind(column)
    if known and kind is not None and kind not in known:
        raise InputError(
            f"{where} (column {column.name!r}) is {kind}, and {name} reads {kinds_read(side)}; name another column, "
            f"or take an encoder of {kind}"
        )


def kinds_read(side: Any) -> str:
    """Return the kinds that a side reads, for people: "text", "image or array"."""
    known = reads(side)
    return " or ".join(("array",) if "array" in known else known)


def side_name(encoder: Encoder, role: str) -> str:
    """Return what errors call the side of a role: "encoder.query (static)", or the encoder that reads both."""
    if isinstance(encoder, TwoSided):
        return f"encoder.{role}"
    return f"encoder ({registry.name_of(type(encoder))})"


def _role(positives: Positives, view: str) -> str:
    """Return the role whose side reads a view: that of keys, for a view that is in no pair."""
    return next(iter(_roles(positives, view)), "key")


def _roles(positives: Positives, view: str) -> list[str]:
    """Return a view's roles: "query", "key", or both."""
    views_of = {"query": positives.query_views, "key": positives.key_views}
    return [role for role, views in views_of.items() if view in views]
