"""Pairs and texts for the transformer's contests: docstrings and code of the packages on this machine."""

from __future__ import annotations

import numpy as np

from nearfar import config


def pairs(size: int, seed: int = 0) -> list[dict[str, str]]:
    """Return so many docstrings and their source, {"query", "key"}, drawn from the demo's harvest."""
    positives = config.build(config.load("python-packages", [])).positives
    drawn = np.random.default_rng(seed).choice(len(positives), size, replace=False)
    return [{"query": row["query"], "key": row["key"]} for row in positives.describe(drawn)]


def mixed(size: int, seed: int = 1) -> list[str]:
    """Return so many texts of all lengths: docstrings and source in turn."""
    both = pairs(-(-size // 2), seed)
    return [text for row in both for text in (row["query"], row["key"])][:size]


def distinct(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return the rows whose query and key are of no earlier row: the peer's loss takes copies for negatives."""
    seen: set[str] = set()
    kept = []
    for row in rows:
        if not seen & set(row.values()):
            kept.append(row)
            seen |= set(row.values())
    return kept
