"""The audit of a data set before training: it runs all checks and returns what is wrong and what is fine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nearfar.audit import boilerplate, diversity, duplicates, leaks, lengths, unrelated
from nearfar.audit.findings import CheckResult, Drop, Finding
from nearfar.audit.material import Material, distinct, read_material
from nearfar.audit.vectors import CHARACTERS, DOCUMENTS, ModelVectors, Space, WordVectors
from nearfar.data.table import Table

if TYPE_CHECKING:
    from nearfar.model import Model


_ORDER = {"problem": 0, "notice": 1, "fine": 2}  # of findings


def audit(
    data: str | Path | Table,
    *,
    column: str | None = None,
    query: str | None = None,
    key: str | None = None,
    label: str | None = None,
    model: Model | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Audit:
    """Check a data set for duplicates, leaks, empty, cut or repeated texts and wrong pairs, and measure its diversity.

    Args:
        data: a table of pairs, of graded pairs or of texts, or its path; or a BEIR folder. Leaks need several splits
            (a folder with train.jsonl and test.jsonl, or a column `split`).
        column: audit this column alone, as texts.
        query, key: the columns of pairs, where they do not have usual names.
        label: the column of classes.
        model: the model whose vectors compare texts; without it, vectors of words (tf-idf) do.
        seed: seed of samples (languages, diversity, more than 50,000 pairs); duplicates and leaks are counted over all
            rows.
        progress: called with the name of each stage as it starts.

    Errors: `InputError`: those of the data; a column that is missing.

    Example:
        >>> import nearfar as nf
        >>> from nearfar.audit.audit import audit
        >>> result = audit(nf.data.Table([{"text": "the same"}, {"text": "the same"}, {"text": "another"}]))
        >>> result.findings[0].count
        1

    When not to use it: on more text than fits into memory; audit a sample of its rows.
    """
    seconds: dict[str, float] = {}
    results: list[CheckResult] = []
    began = time.perf_counter()
    progress("reading")
    material = read_material(data, column=column, query=query, key=key, label=label)
    seconds["reading"] = time.perf_counter() - began
    for name, check in _checks(material, model, seed):
        progress(name)
        began = time.perf_counter()
        results.append(check())
        seconds[name] = time.perf_counter() - began
    findings = ordered(f for result in results for f in result.findings)
    profile: dict[str, Any] = {}
    for result in results:
        profile |= result.profile
    columns = {part.name: part.role for part in material.parts}
    drops = [drop for result in results for drop in result.drops]
    return Audit(
        material.name, material.kind, material.main, material.splits, dict(columns), findings, profile, drops, seconds
    )


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings, the worst first."""
    return sorted(findings, key=lambda finding: _ORDER[finding.level])


@dataclass(frozen=True)
class Audit:
    """The result of an audit.

    data: the name of the data. kind: "pairs", "graded pairs", "texts", "BEIR folder", "pictures". main: the split that
    is trained on. splits: rows by split. columns: each column's role. findings: the worst first. profile: measurements
    by check. drops: training rows that cleaning may leave out. seconds: duration by stage. sheet, pictures: of the
    pictures that examples show, the layout of their sprite, and its file's bytes, which are no part of the JSON.
    """

    data: str
    kind: str
    main: str
    splits: dict[str, int]
    columns: dict[str, str]
    findings: list[Finding]
    profile: dict[str, Any]
    drops: list[Drop]
    seconds: dict[str, float]
    sheet: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)

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
            **({"sheet": self.sheet} if self.sheet else {}),
        }


def _checks(material: Material, model: Model | None, seed: int) -> Iterator[tuple[str, Callable[[], CheckResult]]]:
    """Yield the stages of an audit: a name, and the check to run."""
    yield "leaks", lambda: leaks.leaks(material)
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
    spaces: list[Space] = []  # the stage "vectors" fills it
    yield "vectors", lambda: _make_space(material, model, seed, spaces)
    if spaces:
        yield "diversity", lambda: diversity.diversity(material, spaces[0], seed)
    yield "unrelated pairs", lambda: unrelated.unrelated(material, None if model is None else spaces[0], seed)


def _make_space(material: Material, model: Model | None, seed: int, spaces: list[Space]) -> CheckResult:
    """Append the model's vectors, or word vectors fitted on whole rows, to `spaces`; nothing below ten rows."""
    if model is not None:
        spaces.append(ModelVectors(model, str(model.folder or "the model")))
        return CheckResult()
    occurrences = distinct(list(material.merged_splits.values()))
    chosen = np.sort(np.random.default_rng(seed).permutation(len(occurrences))[:DOCUMENTS])
    texts = [part.texts[row][:CHARACTERS] for part, row in (occurrences[i] for i in chosen.tolist())]
    if len(texts) >= 10:
        spaces.append(WordVectors(texts, seed=seed))
    return CheckResult()
