"""A store that keeps nothing, for where few rows are asked for."""

from __future__ import annotations

from dataclasses import dataclass

from nearfar.column import Column, Ids, take
from nearfar.contracts import Encoder, Inputs, Positives, Side, Store
from nearfar.prompts import prompted, side_of


@dataclass(frozen=True)
class Direct:
    """A column whose rows are made into inputs when they are asked for."""

    side: Side
    column: Column

    def __getitem__(self, rows: Ids) -> Inputs:
        return self.side.inputs(take(self.column, rows))


def direct(encoder: Encoder, positives: Positives) -> dict[str, Store]:
    """Return such a store of every view, with prompts."""
    views = positives.views
    return {v: Direct(side_of(encoder, positives, v), prompted(encoder, positives, v)) for v in views}
