"""The mask: which entries of a tile are no candidates, from ids and short lists."""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.losses._plan import Plan
from nearfar.losses._relations import Entries


class Mask:
    """Blots out of each tile what is no candidate."""

    def __init__(self, plan: Plan) -> None:
        relations, pairs = plan.relations, plan.relations.pairs
        (i, j), (near_i, near_j) = relations.ignored, relations.near
        self.blotted = _Tiled((torch.cat([i, near_i]), torch.cat([j, near_j])), plan) if len(i) + len(near_i) else None
        self.scopes = None if pairs.query_scope is None else (pairs.query_scope, pairs.key_scope)
        self.items = (pairs.query_item, pairs.key_item) if relations.items else None
        self.groups = (pairs.query_group, pairs.key_group) if relations.by_class and plan.side != "both" else None
        self.near = plan.side == "near"
        self.picked = _Tiled(_above(relations.near, plan), plan) if plan.pick else None

    def fill(self, tile: Tensor, rows: slice, columns: slice, value: float) -> None:
        """Write `value` where a tile's entries are no candidates."""
        blots = []
        if self.scopes is not None and self.scopes[1] is not None:
            blots.append(self.scopes[0][rows][:, None] != self.scopes[1][columns])
        if self.items is not None:
            blots.append(self.items[0][rows][:, None] == self.items[1][columns])
        if self.groups is not None:
            same = self.groups[0][rows][:, None] == self.groups[1][columns]
            blots.append(~same if self.near else same)
        for blot in blots:
            tile.masked_fill_(blot, value)
        if self.blotted is not None:
            i, j, _ = self.blotted.inside(rows, columns)
            if len(i):
                tile[i, j] = value


def _above(near: Entries, plan: Plan) -> Entries:
    """Mirror what lies below the diagonal of a symmetric matrix, whose lower tiles are not visited."""
    return (torch.minimum(*near), torch.maximum(*near)) if plan.itself else near


class _Tiled:
    """Entries of a matrix, sorted by tile, so that a tile finds its own."""

    def __init__(self, entries: Entries, plan: Plan) -> None:
        self.tile = plan.tile
        n, m = plan.relations.pairs.shape
        high, self.wide = -(-n // plan.tile), -(-m // plan.tile)  # tiles in a column, in a row of tiles
        self.rows, self.columns = entries
        self.order: Tensor | None = None  # of the entries as they were given; None: as they are
        self.edges = [0, len(self.rows)]
        if high * self.wide > 1:
            tile = entries[0] // plan.tile * self.wide + entries[1] // plan.tile
            tile, self.order = torch.sort(tile, stable=True)
            self.rows, self.columns = entries[0][self.order], entries[1][self.order]
            edges = torch.arange(high * self.wide + 1, device=tile.device)
            self.edges = torch.searchsorted(tile, edges).tolist()

    def inside(self, rows: slice, columns: slice) -> tuple[Tensor, Tensor, Tensor | slice]:
        """Return a tile's entries, counted from its corner, and where they stood in the list as it was given."""
        tile = rows.start // self.tile * self.wide + columns.start // self.tile
        part = slice(self.edges[tile], self.edges[tile + 1])
        if self.order is None:
            return self.rows, self.columns, part
        return self.rows[part] - rows.start, self.columns[part] - columns.start, self.order[part]
