"""Sides: which part of an encoder reads a view of some positives, and whether it reads cells of that kind."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nearfar import registry
from nearfar.abilities import ARRAYS, TwoSided, augmented_views, reads, side
from nearfar.column import Column, column_kind
from nearfar.contracts import Encoder, Positives, Role, Side
from nearfar.errors import InputError

ROLES: tuple[Role, Role] = ("query", "key")


def refuse_role(role: Any) -> None:
    """Refuse what is neither a role nor None. Errors: `InputError`."""
    if role is not None and role not in ROLES:
        raise InputError(f"embed: no role {role!r}; known: query, key, or None for no prompt")


def roles_of(positives: Positives, view: str) -> list[Role]:
    """Return a view's roles: "query", "key", or both; a view that is in no pair has none."""
    views_of: dict[Role, list[str]] = {"query": positives.query_views, "key": positives.key_views}
    return [role for role, views in views_of.items() if view in views]


def side_of(encoder: Encoder, positives: Positives, view: str) -> Side:
    """Return the reader of a view's cells: the encoder, or one side of an encoder with two.

    Errors: `InputError` for a view that is both query and key, where the encoder has two sides.
    """
    roles = roles_of(positives, view)
    if len(roles) > 1 and isinstance(encoder, TwoSided):
        raise InputError(
            f"encoder: view {view!r} is both query and key, and this encoder has a tower for each; take one encoder "
            "for both, or positives whose queries and keys are different views"
        )
    return side(encoder, roles[0] if roles else None)


def prepare_sides(encoder: Encoder, positives: Positives) -> None:
    """Let an encoder learn from the data: from all views, or each of its two sides from the views that it reads.

    A column of arrays is given once, however many views are of it. A column of texts is given once for each view: how
    much of it a vocabulary is trained on, and the initial weights of `static`, depend on that.

    Errors: `InputError` naming a view of a kind that its side does not read; those of `side_of`, and of `prepare`.
    """
    refuse_kinds(encoder, positives)
    if not isinstance(encoder, TwoSided):
        encoder.prepare(_once(positives.views.values()))
        return
    for role in ROLES:
        own = [view for view in positives.views if role_of_view(positives, view) == role]
        encoder.side(role).prepare(_once(positives.views[view] for view in own))


def _once(columns: Iterable[Column]) -> list[Column]:
    """Return columns in order, those of arrays once."""
    found: list[Column] = []
    for column in columns:
        if column_kind(column) not in ARRAYS or not any(column is other for other in found):
            found.append(column)
    return found


def refuse_kinds(encoder: Encoder, positives: Positives) -> None:
    """Refuse positives with a view of a kind that its side of the encoder, or its augmentation, does not read.

    Errors: `InputError` naming the view, its column and kind, the side or the augmentation and what it reads; those of
    `side_of`.
    """
    augmented = augmented_views(positives)
    for view, column in positives.views.items():
        reader = side_of(encoder, positives, view)
        known, kind = reads(reader), column_kind(column)
        change = augmented[view].augmentation if view in augmented else None
        if kind is not None and reads(change) and kind not in reads(change):
            raise InputError(
                f"view {view!r} (column {column.name!r}) is {kind}, and augmentations.{registry.name_of(type(change))} "
                f"changes {kinds_read(change)}; take another augmentation, or leave it out"
            )
        if known and kind is not None and kind not in known:
            name = side_name(encoder, role_of_view(positives, view))
            raise InputError(
                f"view {view!r} (column {column.name!r}) is {kind}, and {name} reads {kinds_read(reader)}; name "
                f"another column, or take an encoder of {kind}"
            )


def kinds_read(side: Any) -> str:
    """Return the kinds that a side reads, for people: "text", "image or array"."""
    known = reads(side)
    return " or ".join(("array",) if "array" in known else known)


def side_name(encoder: Encoder, role: str) -> str:
    """Return what errors call the side of a role: "encoder.query", or "encoder (static)", which reads both."""
    if isinstance(encoder, TwoSided):
        return f"encoder.{role}"
    return f"encoder ({registry.name_of(type(encoder))})"


def role_reading(encoder: Encoder, kind: str | None, usual: Role | None = None) -> Role | None:
    """Return the role whose side reads cells of a kind: the usual one, unless the other side alone reads them.

    A model of pictures and texts is asked in both directions: what is looked for with may be of its query side or of
    its key side. kind: in the words of `column.kind_of`; None, where it is not known, and an encoder with one side for
    both, have the usual role.
    """
    if kind is None or not isinstance(encoder, TwoSided) or _reads(encoder, usual or "key", kind):
        return usual
    other: Role = "key" if usual == "query" else "query"
    return other if _reads(encoder, other, kind) else usual


def kinds_of_sides(encoder: Encoder) -> list[str]:
    """Return the kinds of cells that an encoder's sides read, each once; [] where one of them does not say."""
    known = [reads(side(encoder, role)) for role in ROLES]
    return list(dict.fromkeys(kind for kinds in known for kind in kinds)) if all(known) else []


def text_role(encoder: Encoder) -> Role | None:
    """Return the role of the side that reads texts: query where it does, else key; None where neither reads text."""
    return next((role for role in ROLES if _reads(encoder, role, "text")), None)


def _reads(encoder: Encoder, role: str, kind: str) -> bool:
    known = reads(side(encoder, role))
    return not known or kind in known


def role_of_view(positives: Positives, view: str) -> Role:
    """Return the role whose side reads a view: that of keys, for a view that is in no pair."""
    return next(iter(roles_of(positives, view)), "key")
