"""Texts without pairs as a task for a language model: which of them are judged, and in which ones floors count."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nearfar.abilities import PredictsTokens, max_length_of
from nearfar.column_names import COLUMN_PAIRS, DOCUMENT_COLUMNS
from nearfar.errors import InputError, listed
from nearfar.tasks import Task

if TYPE_CHECKING:
    from nearfar.data.table import Table
    from nearfar.model import Model

COUNTED_IN = "floors count in"  # the name of the note that says which texts these are
SETTINGS = {"column", "chunk"}  # of `positives.Unpaired`
MOST_JUDGED, SHARE = 1_000, 0.5  # documents that are held out where no split is there to judge by
WORDS = 0.6  # of a passage for each token that a model reads: English words of some 8,000 tokens have 1.3 to 1.6


def are_texts_alone(table: Table, positives: Mapping[str, Any], model: Model) -> bool:
    """Return whether a table has a column of texts and no pairs, and a model predicts tokens: these are asked for then.

    positives: settings that are given; those of pairs ask for pairs.
    """
    columns = set(table.columns)
    if set(positives) - SETTINGS or any(set(pair) <= columns for pair in COLUMN_PAIRS):
        return False
    has_texts = "column" in positives or len(columns) == 1 or bool(columns.intersection(DOCUMENT_COLUMNS))
    return has_texts and _is_language_model(model)


def _is_language_model(model: Model) -> bool:
    """Return whether a model predicts tokens: one of vectors, whose folder has no head that was trained, does not."""
    encoder = model.encoder
    if not isinstance(encoder, PredictsTokens):
        return False
    try:
        head = encoder.language_head(encoder.known_tokens().kind)
    except InputError:
        return False
    return model.folder is None or bool(head.trained)


def language_task(
    table: Table,
    hold_out: Callable[[float], Table],
    split: str | None,
    positives: Mapping[str, Any],
    model: Model,
) -> tuple[Task, str | None]:
    """Return texts as a task of tokens, and its split where the data have several.

    Floors count in the training rows. Where the data name no split to judge by, about 1,000 documents are judged, of
    fewer than 2,000 about half, drawn by their content, and floors count in the others: never in a text that is judged.
    Long texts are cut into passages, of as many words as in the model's own recipe, or as it can read.

    hold_out: returns the table with a share of its rows as the split "heldout".

    Errors: `InputError` for the split that floors count in; those of the data and of `positives.Unpaired`.
    """
    from nearfar.positives.unpaired import Unpaired
    from nearfar.registry import coerced_settings

    others = [name for name in table.splits if not _same(table, name)]
    if split is not None and _same(table, split):  # a split that is not there is an error of the table's
        by = f"judge by {listed(others)}" if others else "leave --split out, or hold texts out: data.heldout=0.2"
        raise InputError(f"floors count in split {split!r}, so that no model can be judged on it, too; {by}")
    if others:
        judged = split or next((name for name in ("test", "heldout", "validation") if name in others), others[0])
        where = f"the training rows of these data, {len(table):,}"
    else:
        share = min(SHARE, MOST_JUDGED / max(len(table), 1))
        table, judged = hold_out(share), "heldout"
        where = (
            f"{len(table):,} rows of these data; the other {len(table.split(judged)):,}, drawn by content, are judged"
        )
    chunk = {} if "chunk" in positives else {"chunk": _passage(model)}
    settings = coerced_settings(Unpaired, {**chunk, **positives}, "positives", but=("data",))
    found = Unpaired(table, **settings)
    task = found.task(judged)
    notes = {**task.notes, COUNTED_IN: where, "passages": f"of {found.chunk} words" if found.chunk else "whole texts"}
    return replace(task, notes=notes), judged if others else None


def _same(table: Table, split: str) -> bool:
    """Return whether a split is the training rows."""
    return table.split(split).fingerprint == table.fingerprint


def _passage(model: Model) -> int:
    """Return the words of a passage: those of the recipe that trained a model, or as many as it is sure to read."""
    recipe = model.notes.get("recipe")
    given = recipe.get("positives") if isinstance(recipe, Mapping) else None
    chunk = given.get("chunk") if isinstance(given, Mapping) else None
    if isinstance(chunk, int) and chunk >= 0:
        return chunk
    longest = max_length_of(model.encoder)
    return max(1, round(WORDS * longest)) if longest else 0
