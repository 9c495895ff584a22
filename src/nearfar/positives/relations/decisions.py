"""People's decisions about pairs: mined negatives that are positives after all, and pairs that are to be ignored."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from nearfar.column import Aliases, Ids, content_id, equal_pairs
from nearfar.errors import InputError, nearest

ACTIONS = ("keep", "drop", "positive")
PairIds = tuple[int, int]  # the content ids of a query and a text


@dataclass(frozen=True)
class Decisions:
    """Pairs of content ids, (e,) of queries and (e,) of texts: `dropped` pairs are ignored, `positive` are positives.

    A file of decisions is JSON Lines: {"query": text, "negative": text, "action": "keep", "drop" or "positive"}. Other
    keys are allowed, "keep" changes nothing, and the last line about a pair holds. A pair that the data lists may be
    dropped, too: `negative` is then its key.
    """

    dropped: tuple[Ids, Ids]
    positive: tuple[Ids, Ids]

    @classmethod
    def none(cls) -> Self:
        """Return no decisions."""
        return cls._of({})

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a file. Errors: `InputError` that names the line: no JSON, a missing text, an unknown action."""
        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path}: no such file of decisions; nearfar serve --review writes one, or a page of mine")
        return cls._of({pair: action for _, pair, action in lines_of(path)})

    def drops(self, queries: Ids, keys: Ids) -> npt.NDArray[np.bool_]:
        """Return which pairs of content ids (n,) and (n,) are dropped, (n,)."""
        dropped = np.zeros(len(queries), np.bool_)
        row, decision = equal_pairs(queries, self.dropped[0])
        dropped[row[keys[row] == self.dropped[1][decision]]] = True
        return dropped

    def with_aliases(self, aliases: Aliases) -> Self:
        """Return the decisions about what the contents count as."""
        pairs = [(aliases(queries), aliases(texts)) for queries, texts in (self.dropped, self.positive)]
        return replace(self, dropped=pairs[0], positive=pairs[1])

    @classmethod
    def _of(cls, actions: dict[PairIds, str]) -> Self:
        pairs = {
            action: np.array([pair for pair, taken in actions.items() if taken == action], np.int64).reshape(-1, 2)
            for action in ACTIONS
        }
        drop, positive = pairs["drop"], pairs["positive"]
        return cls((drop[:, 0], drop[:, 1]), (positive[:, 0], positive[:, 1]))


def lines_of(path: Path) -> list[tuple[str, PairIds, str]]:
    """Return the lines of a file of decisions, each with its pair and action. Errors: those of `Decisions.read`."""
    found = []
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
            if line.strip():
                query, negative, action = _parsed(line, f"{path}: line {number}")
                found.append((line, pair_ids(query, negative), action))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    return found


def pair_ids(query: str, negative: str) -> PairIds:
    """Return the content ids by which a decision knows its pair."""
    return content_id(query), content_id(negative)


def _parsed(line: str, where: str) -> tuple[str, str, str]:
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON ({error}); each line is one object") from error
    if not isinstance(row, dict):
        raise InputError(f"{where}: not an object; write query, negative and action")
    for name in ("query", "negative", "action"):
        if not isinstance(row.get(name), str):
            raise InputError(f"{where}: {name!r} must be a text; write query, negative and action")
    if row["action"] not in ACTIONS:
        raise InputError(f"{where}: no action {row['action'][:60]!r}; {nearest(row['action'], ACTIONS)}")
    return row["query"], row["negative"], row["action"]
