"""The queue of pairs that people decide on, and the file of decisions that grows with it."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from nearfar.errors import InputError
from nearfar.mining.review_file import read_suspects
from nearfar.mining.suspects import Suspect
from nearfar.positives.relations.decisions import PairIds, lines_of, pair_ids
from nearfar.storage.folders import write_text

ANY = "any"  # of the action that a caller has seen: whichever holds


class ReviewQueue:
    """Suspects in order, and people's actions about them in a file of decisions, which `Decisions` reads.

    The file is read anew for every answer and replaced as a whole, so that it is never half written, lines about other
    pairs stay, and two tabs see each other's decisions. One server at a time may have it (`storage.locks`).
    """

    def __init__(self, suspects: list[Suspect], place: Path) -> None:
        self.suspects, self.place = suspects, place
        self._pairs = [pair_ids(one.query, one.negative) for one in suspects]
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path, place: Path | None = None) -> Self:
        """Read a file of suspects. place: of the decisions; by default beside it, X.decisions.jsonl for X.jsonl.

        Errors: `InputError` for what is no such file, or holds nothing to review; for decisions that cannot be read.
        """
        suspects = read_suspects(path)
        if not suspects:
            raise InputError(f"{path}: holds no pair to review; leave --review out")
        found = cls(suspects, place or path.with_suffix(".decisions.jsonl"))
        found.actions()  # raises
        return found

    def __len__(self) -> int:
        return len(self.suspects)

    def actions(self) -> list[str | None]:
        """Return the action about each suspect, None where there is none. Errors: those of `Decisions.read`."""
        known = {pair: action for _, pair, action in self._lines()}
        return [known.get(pair) for pair in self._pairs]

    def decide(self, number: int, action: str, seen: str | None = ANY) -> bool:
        """Append a decision; the last line about a pair holds.

        seen: the action that the caller has seen, None where there was none. Where another one holds now, as of
        another tab, nothing is written.

        Returns whether it was written. Errors: those of `Decisions.read` and of writing.
        """
        one = self.suspects[number]
        row = {"query": one.query, "negative": one.negative, "positive": one.positive, "action": action}
        with self._lock:
            lines = self._lines()
            if is_seen := seen in (ANY, self._last(lines, number)[1]):
                self._write([*(line for line, _, _ in lines), json.dumps(row, ensure_ascii=False)])
        return is_seen

    def undo(self, number: int, seen: str | None = ANY) -> bool:
        """Take back the last decision about a suspect; the one before it holds again, if any. seen: as of `decide`."""
        with self._lock:
            lines = self._lines()
            last, action = self._last(lines, number)
            is_seen = seen in (ANY, action)
            if is_seen and last is not None:
                self._write([line for i, (line, _, _) in enumerate(lines) if i != last])
        return is_seen

    def _last(self, lines: Sequence[tuple[str, PairIds, str]], number: int) -> tuple[int | None, str | None]:
        """Return which line about a suspect holds, and its action."""
        for i in reversed(range(len(lines))):
            _, pair, action = lines[i]
            if pair == self._pairs[number]:
                return i, action
        return None, None

    def _lines(self) -> list[tuple[str, PairIds, str]]:
        return lines_of(self.place) if self.place.is_file() else []

    def _write(self, lines: list[str]) -> None:
        write_text(self.place, "".join(f"{line}\n" for line in lines))
