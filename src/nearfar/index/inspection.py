"""What an index is, and whether it still is what was written."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from nearfar.errors import listed
from nearfar.index.digest import total
from nearfar.index.folder import Generation, IndexFolder
from nearfar.index.store import RowStore, indexed_rows

_AT_ONCE = 4096  # rows that are read at a time


def info(folder: IndexFolder, number: int, generation: Generation, store: RowStore) -> dict[str, Any]:
    """Return what an index is."""
    others = sorted(set(folder.contents().generations) - {number})
    size = sum(path.stat().st_size for path in folder.path.rglob("*") if path.is_file())
    totals = store.totals()
    small = store.thumbnails.totals()
    of_rows = {"texts": totals.texts, "thumbnails": small.count, "thumbnail_bytes": small.bytes}
    return {**asdict(generation), "generation": number, "others": others, **of_rows, "bytes": size}


def check(store: RowStore) -> dict[str, Any]:
    """Return whether the counts of the parts agree, without reading every row."""
    totals, rows = store.totals(), store.backend.count()
    problems = []
    if totals.rows != rows:
        problems.append(f"the backend has {rows:,} rows, words.db {totals.rows:,}; run nearfar index verify")
    return {"rows": rows, "texts": totals.texts, "digest": totals.digest, "problems": problems}


def verify(store: RowStore) -> dict[str, Any]:
    """Return whether every row, its vector and its words are those that were written."""
    known, problems = store.words.postings.hashes(), list[str]()
    left, hashes, changed, doubled = dict(known), list[bytes](), list[str](), list[str]()
    for rows in store.backend.scan(_AT_ONCE):
        for row in indexed_rows(rows):
            hashes.append(row.hash)
            if known.get(row.id) != row.hash:
                changed.append(row.id)
            elif row.id not in left:
                doubled.append(row.id)
            left.pop(row.id, None)
        if not np.isfinite(rows.vectors).all():
            problems.append("a vector is not finite")
    for names, what in (
        (changed, "are not as they were written"),
        (list(left), "are gone"),
        (doubled, "are there twice"),
    ):
        if names:
            problems.append(f"{len(names):,} rows {what}: {listed(sorted(names)[:10])}")
    digest, stored = total("0", hashes, []), store.totals()
    if digest != stored.digest:
        problems.append(f"the rows' digest is {digest}, that of what was written {stored.digest}")
    if strays := set(store.thumbnails.ids()) - known.keys():
        problems.append(f"{len(strays):,} thumbnails are of rows that are gone: {listed(sorted(strays)[:10])}")
    if (wrong := store.words.postings.disagreement()) is not None:
        problems.append(wrong)
    return {"rows": len(hashes), "digest": digest, "problems": problems + check(store)["problems"]}
