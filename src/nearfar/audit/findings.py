"""What a check returns: findings for people, a profile for programs and charts, rows that cleaning may leave out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Level = Literal["problem", "notice", "fine"]
Kind = Literal["exact duplicate", "near duplicate", "empty", "leak", "near leak", "probably wrong"]
MOST = 5  # examples a finding shows
LONGEST = 300  # characters of a text that an example shows


@dataclass(frozen=True)
class Finding:
    """One thing that was found: what it is in a sentence, how many of how many, examples, and what to do about it."""

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
    like: int | None = None  # the row that it repeats: where that one goes for another reason, this one stays


@dataclass
class Found:
    """What one check has to say."""

    findings: list[Finding] = field(default_factory=list)
    profile: dict[str, Any] = field(default_factory=dict)
    drops: list[Drop] = field(default_factory=list)


def fine(check: str, what: str) -> Finding:
    """Return the good news of a check, in one line."""
    return Finding(check, "fine", what)


def share(count: int, of: int) -> str:
    """Return a share in per cent, with the digits that keep a small one from looking like none."""
    value = 100 * count / max(1, of)
    return f"{value:.1f} %" if value >= 1 or not count else f"{value:.2g} %"


def times(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun: "1 row", "1,204 rows"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
