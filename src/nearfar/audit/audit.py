"""Audit: what is wrong with a data set before it is trained on, and what is fine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nearfar.audit import boilerplate, diversity, duplicates, lengths, unrelated
from nearfar.audit.findings import Drop, Finding, Found
from nearfar.audit.material import Material, distinct, read_material
from nearfar.audit.vectors import CHARACTERS, DOCUMENTS, ModelVectors, Space, WordVectors
from nearfar.data.table import Table

if TYPE_CHECKING:
    from nearfar.model import Model


_ORDER = {"problem": 0, "notice": 1, "fine": 2}


@dataclass(frozen=True)
class Audit:
    """What an audit found: findings, the worst first; the profile in numbers; training rows that cleaning may drop."""

    data: str
    kind: str
    main: str
    splits: dict[str, int]
    columns: dict[str, str]
    findings: list[Finding]
    profile: dict[str, Any]
    drops: list[Drop]
    seconds: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return the audit as plain values."""
        findings = [finding.to_json() for finding in self.findings if finding.level != "fine"]
        return {
            "data": self.data,
            "kind": self.kind,
            "splits": self.splits,
            "columns": self.columns,
            "findings": findings,
            "fine": [{"check": f.check, "what": f.what} for f in self.findings if f.level == "fine"],
            "profile": self.profile,
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
        }


def audit(
    data: str | Path | Table,
    *,
    column: str | None = None,
    query: str | None = None,
    key: str | None = None,
    label: str | None = None,
    model: Model | None = None,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> Audit:
    """Look at a data set: duplicates, leaks, empty, cut or repeated text, languages, lengths, diversity, odd pairs.

    Args:
        data: a table of pairs, of graded pairs or of texts, or its path; or a BEIR folder. Leaks need several splits
            (a folder with train.jsonl and test.jsonl).
        column: audit this column alone, as texts.
        query, key: the columns of pairs, where their names do not say so.
        label: the column of classes.
        model: whose vectors say what is near; without it, tf-idf of the words does.
        seed: of samples (languages, diversity, more than 50,000 pairs); counts of duplicates and leaks are of all rows.
        say: is told what is being looked at.

    Errors: `InputError`: those of the data; a column that is not there.

    Example:
        >>> import nearfar as nf
        >>> from nearfar.audit.audit import audit
        >>> found = audit(nf.data.Table([{"text": "the same"}, {"text": "the same"}, {"text": "another"}]))
        >>> found.findings[0].count
        1

    When not to use it: on more text than fits into memory; audit a sample of its rows.
    """
    seconds: dict[str, float] = {}
    found: list[Found] = []
    began = time.perf_counter()
    say("reading")
    material = read_material(data, column=column, query=query, key=key, label=label)
    seconds["reading"] = time.perf_counter() - began
    for name, check in _checks(material, model, seed):
        say(name)
        began = time.perf_counter()
        found.append(check())
        seconds[name] = time.perf_counter() - began
    findings = sorted((f for one in found for f in one.findings), key=lambda finding: _ORDER[finding.level])
    profile: dict[str, Any] = {}
    for one in found:
        profile |= one.profile
    columns = {part.name: part.role for part in material.parts}
    drops = [drop for one in found for drop in one.drops]
    return Audit(
        material.name, material.kind, material.main, material.splits, dict(columns), findings, profile, drops, seconds
    )


def _checks(material: Material, model: Model | None, seed: int) -> Iterator[tuple[str, Callable[[], Found]]]:
    yield "leaks", lambda: duplicates.leaks(material)
    yield "duplicates", lambda: duplicates.exact(material)
    yield "near duplicates", lambda: duplicates.near(material)
    yield "repeats", lambda: duplicates.repeats(material)
    yield "labels", lambda: duplicates.conflicts(material)
    yield "empty texts", lambda: lengths.empty(material)
    yield "truncated texts", lambda: lengths.truncated(material)
    yield "lengths", lambda: lengths.lengths(material)
    yield "boilerplate", lambda: boilerplate.boilerplate(material)
    yield "languages", lambda: diversity.languages(material, seed)
    yield "classes", lambda: diversity.classes(material)
    if model is not None:
        yield "tokens", lambda: lengths.tokens(material, model, seed)
    spaces: list[Space] = []
    yield "vectors", lambda: _space(material, model, seed, spaces)
    if spaces:
        yield "diversity", lambda: diversity.diversity(material, spaces[0], seed)
    yield "unrelated pairs", lambda: unrelated.unrelated(material, None if model is None else spaces[0], seed)


def _space(material: Material, model: Model | None, seed: int, into: list[Space]) -> Found:
    """Put the vectors to look with into a list: the model's, or those of the words of whole rows."""
    if model is not None:
        into.append(ModelVectors(model, str(model.folder or "the model")))
        return Found()
    parts = list(material.joined.values())
    places = distinct(parts)
    rows = np.sort(np.random.default_rng(seed).permutation(len(places))[:DOCUMENTS])
    texts = [places[i][0].texts[places[i][1]][:CHARACTERS] for i in rows.tolist()]
    if len(texts) >= 10:
        into.append(WordVectors(texts, seed=seed))
    return Found()
