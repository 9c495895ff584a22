"""What a check of the audit returns: findings for people, a profile for programs and charts, rows to drop."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Level = Literal["problem", "notice", "fine"]
Kind = Literal["exact duplicate", "near duplicate", "empty", "leak", "near leak", "probably wrong"]
MOST_EXAMPLES = 5  # of a finding
LONGEST = 300  # characters of an example's text


@dataclass(frozen=True)
class Finding:
    """One result of a check: what it is in a sentence, how many of how many, examples, and what to do about it."""

    check: str
    level: Level
    what: str
    count: int = 0
    of: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)
    fix: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the finding as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Drop:
    """A training row (from 0) that cleaning may leave out, and why."""

    row: int
    what: Kind
    why: str
    like: int | None = None  # the row that it repeats: where that one is dropped for another reason, this one stays


@dataclass
class CheckResult:
    """All that one check returns."""

    findings: list[Finding] = field(default_factory=list)
    profile: dict[str, Any] = field(default_factory=dict)
    drops: list[Drop] = field(default_factory=list)


def fine(check: str, what: str) -> Finding:
    """Return the finding of a check that found nothing wrong, in one sentence."""
    return Finding(check, "fine", what)


def share(count: int, of: int) -> str:
    """Return a share in per cent, with enough digits that a small one does not read as zero."""
    value = 100 * count / max(1, of)
    return f"{value:.1f} %" if value >= 1 or not count else f"{value:.2g} %"


def counted(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun: "1 row", "1,204 rows"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
