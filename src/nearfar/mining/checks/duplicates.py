"""Rows that are there twice, to the letter or nearly, and texts that come with several labels."""

from __future__ import annotations

from collections import Counter
from typing import Any

from nearfar.mining.checks.found import MOST, Drop, Finding, Found, fine, share, times
from nearfar.mining.checks.material import Material, Part
from nearfar.mining.checks.near import leaders, near_pairs


def exact(material: Material) -> Found:
    """Find rows whose texts all occur in an earlier row, in every split and across them."""
    first: dict[int, tuple[Part, int]] = {}
    repeats: list[tuple[Part, int, Part, int]] = []
    for part in material.joined.values():
        for row in part.written.tolist():
            before = first.setdefault(int(part.ids[row]), (part, row))
            if before != (part, row):
                repeats.append((part, row, *before))
    total = sum(material.splits.values())
    found = Found(profile={"duplicates": {"exact": len(repeats), "of": total}})
    if not repeats:
        found.findings.append(fine("duplicates", f"No row occurs twice ({total:,} rows compared to the letter)."))
        return found
    where = Counter(p.split if p is b else f"{p.split} that are in {b.split}" for p, _, b, _ in repeats)
    told = ", ".join(f"{count:,} in {split}" for split, count in where.items())
    found.profile["duplicates"]["where"] = dict(where)
    found.findings.append(
        Finding(
            "duplicates",
            "problem",
            f"{times(len(repeats), 'copy', 'copies')} of earlier rows, to the letter, among {total:,} "
            f"({share(len(repeats), total)}): {told}.",
            len(repeats),
            total,
            [p.example(row, like=_place(b, other)) for p, row, b, other in repeats[:MOST]],
            "Leave out all but the first: --fix OUT does so in training. Else they weigh double, and in a test they "
            "count twice.",
        )
    )
    found.drops = [
        Drop(row, "exact duplicate", f"same as row {other + 1}", other)
        for p, row, b, other in repeats
        if p is b and p.split == material.main
    ]
    return found


def near(material: Material) -> Found:
    """Find rows that are nearly an earlier row of their split; those equal to the letter are not counted again."""
    found = Found()
    rows: list[tuple[Part, int, int, float]] = []
    for part in material.joined.values():
        kept: dict[int, int] = {}
        for row in part.written.tolist():
            kept.setdefault(int(part.ids[row]), row)
        places = sorted(kept.values())
        led = leaders(len(places), *near_pairs([part.texts[row] for row in places]))
        rows += [(part, places[j], places[i], value) for j, (i, value) in led.items()]
    total = sum(material.splits.values())
    found.profile = {"near duplicates": {"rows": len(rows), "groups": len({(p.split, i) for p, _, i, _ in rows})}}
    if not rows:
        found.findings.append(fine("near duplicates", "No row is nearly another one (0.8 of the runs of three words)."))
        return found
    where = Counter(part.split for part, *_ in rows)
    rows.sort(key=lambda one: (one[0].split != material.main, -one[3]))
    found.findings.append(
        Finding(
            "near duplicates",
            "notice",
            f"{times(len(rows), 'near copy', 'near copies')} of earlier rows among {total:,} "
            f"({share(len(rows), total)}): "
            f"{', '.join(f'{count:,} in {split}' for split, count in where.items())}. At least 0.8 of their runs of "
            "three words are shared.",
            len(rows),
            total,
            [_pair(*one) for one in _groups(rows)[:MOST]],
            "Look at the examples; --fix OUT --fix-near keeps the first of each in training.",
        )
    )
    found.drops = [
        Drop(row, "near duplicate", f"{value:.2f} of it is shared with row {i + 1}", i)
        for part, row, i, value in rows
        if part.split == material.main
    ]
    return found


def repeats(material: Material) -> Found:
    """Count distinct queries and keys of pairs: a query with several keys is no error, but good to know."""
    found = Found()
    sides = {r: p for r, p in material.roles.items() if material.kind == "pairs" and r in ("query", "key")}
    counts = {role: len({int(i) for p in parts for i in p.ids[p.written]}) for role, parts in sides.items()}
    found.profile = {"distinct": counts} if counts else {}
    total = sum(material.splits.values())
    if counts and min(counts.values()) < total:
        told = f"{times(counts['query'], 'distinct query', 'distinct queries')} and {counts['key']:,} distinct keys"
        found.findings.append(
            Finding(
                "repeats",
                "notice",
                f"{total:,} rows hold {told}.",
                total - min(counts.values()),
                total,
                fix="Nothing: positives.columns takes equal texts for one thing, and all answers of a query for near. "
                "Elsewhere a repeated key in a batch is a false negative.",
            )
        )
    return found


def conflicts(material: Material) -> Found:
    """Find texts that occur with several labels."""
    if material.label is None or material.kind != "texts":
        return Found()
    seen: dict[int, dict[str, tuple[Part, int]]] = {}
    for split, part in material.joined.items():
        for row in part.written.tolist():
            seen.setdefault(int(part.ids[row]), {}).setdefault(str(material.labels[split][row]), (part, row))
    torn = [labels for labels in seen.values() if len(labels) > 1]
    if not torn:
        return Found([fine("conflicting labels", "No text comes with two different labels.")])
    examples = [part.example(row, label=label) for labels in torn for label, (part, row) in labels.items()]
    what = f"{times(len(torn), 'text')} {'comes' if len(torn) == 1 else 'come'} with several labels."
    fix = "Decide which label holds; nothing is dropped for you."
    return Found([Finding("conflicting labels", "problem", what, len(torn), len(seen), examples[: 2 * MOST], fix)])


def _groups(rows: list[tuple[Part, int, int, float]]) -> list[tuple[Part, int, int, float]]:
    """Return one of each group first, so that examples differ."""
    seen: set[tuple[str, int]] = set()
    once = []
    for one in rows:
        if (one[0].split, one[2]) not in seen:
            seen.add((one[0].split, one[2]))
            once.append(one)
    return once


def _pair(part: Part, row: int, other: int, value: float) -> dict[str, Any]:
    return part.example(row, like=_place(part, other), shared=round(value, 3), other=part.example(other)["text"])


def _place(part: Part, row: int) -> str:
    return f"{part.split} row {row + 1}"
