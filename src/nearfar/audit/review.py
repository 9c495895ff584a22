"""An audit's findings about pairs as a queue that people decide on: each stays, or is never trained on."""

from __future__ import annotations

from pathlib import Path

from nearfar.audit.audit import Audit
from nearfar.audit.findings import Kind
from nearfar.audit.material import Material, TextPart, read_material
from nearfar.column import is_empty
from nearfar.data.table import Table
from nearfar.errors import InputError
from nearfar.mining.suspects import Suspect

# What makes a pair a suspect, the first ones first. An exact copy is none: a decision is about contents, so to drop
# a copy drops the pair; `positives.columns` takes copies for one pair anyway.
REASONS: dict[Kind, str] = {
    "probably wrong": "It looks unrelated",
    "near leak": "Nearly a leak",
    "leak": "A leak: training has what is judged",
    "near duplicate": "Nearly a copy of an earlier pair",
}


def refuse_other_kinds(audit: Audit) -> None:
    """Refuse data whose rows are no pairs of a query and a key. Errors: `InputError`."""
    if audit.kind != "pairs":
        raise InputError(
            f"--review: people decide about pairs of a query and a key, and {audit.data} is read as {audit.kind}; "
            "leave it out, or name the columns: --query, --key"
        )


def listed_suspects(
    source: str | Path | Table, audit: Audit, *, query: str | None = None, key: str | None = None
) -> list[Suspect]:
    """Return the pairs of training that an audit found wrong, each once, by its worst reason.

    source, query, key: as they were audited. A row of lists gives each of its pairs.

    Errors: those of `refuse_other_kinds`, and of the data.
    """
    refuse_other_kinds(audit)
    material = read_material(source, query=query, key=key)
    found: dict[tuple[str, str], Suspect] = {}
    for what, reason in REASONS.items():
        for drop in (drop for drop in audit.drops if drop.what == what):
            for pair in _pairs(material, drop.row):
                like = [] if drop.like is None else _pairs(material, drop.like)[:1]
                beside = "\n".join(text for other in like for text in other)
                found.setdefault(pair, Suspect(pair[0], beside, pair[1], {}, f"{reason}: {drop.why}.", listed=True))
    return list(found.values())


def _pairs(material: Material, row: int) -> list[tuple[str, str]]:
    """Return the pairs of a row of training, without those of an empty text, or of one text twice."""
    query, key = (next(part for part in material.of(material.main) if part.role == role) for role in ("query", "key"))
    return [(q, k) for q in _texts(query, row) for k in _texts(key, row) if q != k]


def _texts(part: TextPart, row: int) -> list[str]:
    return [text for text in part.texts[part.offsets[row] : part.offsets[row + 1]] if not is_empty(text)]
