"""Texts that occur more than once: copies and near copies of rows, repeated queries, texts with two labels."""

from __future__ import annotations

from collections import Counter
from typing import Any

from nearfar.audit.findings import MOST_EXAMPLES, CheckResult, Drop, Finding, counted, fine, share
from nearfar.audit.material import Material, Occurrence, TextPart
from nearfar.text.minhash import leaders, near_pairs


def exact(material: Material) -> CheckResult:
    """Find rows whose texts all occur in an earlier row, in every split and across them."""
    first: dict[int, Occurrence] = {}
    copies: list[tuple[TextPart, int, TextPart, int]] = []  # a row, and the first one with the same texts
    for part in material.merged_splits.values():
        for row in part.nonblank.tolist():
            earlier = first.setdefault(int(part.ids[row]), (part, row))
            if earlier != (part, row):
                copies.append((part, row, *earlier))
    total = sum(material.splits.values())
    result = CheckResult(profile={"duplicates": {"exact": len(copies), "of": total}})
    if not copies:
        result.findings.append(fine("duplicates", f"No row occurs twice ({total:,} rows compared)."))
        return result
    where = Counter(p.split if p is q else f"{p.split} that are in {q.split}" for p, _, q, _ in copies)
    counts = ", ".join(f"{count:,} in {split}" for split, count in where.items())
    result.profile["duplicates"]["where"] = dict(where)
    result.findings.append(
        Finding(
            "duplicates",
            "problem",
            f"{counted(len(copies), 'exact copy', 'exact copies')} of earlier rows among {total:,} "
            f"({share(len(copies), total)}): {counts}.",
            len(copies),
            total,
            [p.example(row, like=q.row_name(other)) for p, row, q, other in copies[:MOST_EXAMPLES]],
            "Leave out all but the first: --fix OUT does so in training. Else they weigh double, and in a test they "
            "count twice.",
        )
    )
    result.drops = [
        Drop(row, "exact duplicate", f"same as row {q.row_number(other)}", other)
        for p, row, q, other in copies
        if p is q and p.split == material.main
    ]
    return result


def near(material: Material) -> CheckResult:
    """Find rows that are nearly equal to an earlier row of their split; exact copies are not counted again."""
    result = CheckResult()
    copies: list[tuple[TextPart, int, int, float]] = []  # a row, the earlier one, their Jaccard similarity
    for part in material.merged_splits.values():
        first: dict[int, int] = {}
        for row in part.nonblank.tolist():
            first.setdefault(int(part.ids[row]), row)
        rows = sorted(first.values())
        leader = leaders(len(rows), *near_pairs([part.texts[row] for row in rows]))
        copies += [(part, rows[j], rows[i], value) for j, (i, value) in leader.items()]
    total = sum(material.splits.values())
    groups = len({(part.split, earlier) for part, _, earlier, _ in copies})
    result.profile = {"near duplicates": {"rows": len(copies), "groups": groups}}
    if not copies:
        text = "No row is nearly another one (0.8 of the runs of three words)."
        result.findings.append(fine("near duplicates", text))
        return result
    where = Counter(part.split for part, *_ in copies)
    copies.sort(key=lambda copy: (copy[0].split != material.main, -copy[3]))
    result.findings.append(
        Finding(
            "near duplicates",
            "notice",
            f"{counted(len(copies), 'near copy', 'near copies')} of earlier rows among {total:,} "
            f"({share(len(copies), total)}): "
            f"{', '.join(f'{count:,} in {split}' for split, count in where.items())}. At least 0.8 of their runs of "
            "three words are shared.",
            len(copies),
            total,
            [_near_example(*copy) for copy in _one_of_each_group(copies)[:MOST_EXAMPLES]],
            "Look at the examples; --fix OUT --fix-near keeps the first of each in training.",
        )
    )
    result.drops = [
        Drop(row, "near duplicate", f"{value:.2f} of it is shared with row {part.row_number(earlier)}", earlier)
        for part, row, earlier, value in copies
        if part.split == material.main
    ]
    return result


def _one_of_each_group(copies: list[tuple[TextPart, int, int, float]]) -> list[tuple[TextPart, int, int, float]]:
    """Return the first copy of each earlier row, so that examples differ."""
    seen: set[tuple[str, int]] = set()
    firsts = []
    for copy in copies:
        if (copy[0].split, copy[2]) not in seen:
            seen.add((copy[0].split, copy[2]))
            firsts.append(copy)
    return firsts


def _near_example(part: TextPart, row: int, earlier: int, value: float) -> dict[str, Any]:
    other = part.example(earlier)["text"]
    return part.example(row, like=part.row_name(earlier), shared=round(value, 3), other=other)


def repeats(material: Material) -> CheckResult:
    """Count the distinct queries and keys of pairs: a query with several keys is no error, but good to know."""
    result = CheckResult()
    sides = {r: p for r, p in material.roles.items() if material.kind == "pairs" and r in ("query", "key")}
    counts = {role: len({int(i) for p in parts for i in p.ids[p.nonblank]}) for role, parts in sides.items()}
    result.profile = {"distinct": counts} if counts else {}
    total = sum(material.splits.values())
    if counts and min(counts.values()) < total:
        queries = counted(counts["query"], "distinct query", "distinct queries")
        result.findings.append(
            Finding(
                "repeats",
                "notice",
                f"{total:,} rows hold {queries} and {counts['key']:,} distinct keys.",
                total - min(counts.values()),
                total,
                fix="Nothing: positives.columns takes equal texts for one item, and all keys of a query for positives. "
                "Elsewhere a repeated key in a batch is a false negative.",
            )
        )
    return result


def conflicts(material: Material) -> CheckResult:
    """Find texts that occur with several labels."""
    if material.label is None or material.kind != "texts":
        return CheckResult()
    labels_of: dict[int, dict[str, Occurrence]] = {}  # by content id
    for split, part in material.merged_splits.items():
        for row in part.nonblank.tolist():
            label = str(material.labels[split][row])
            labels_of.setdefault(int(part.ids[row]), {}).setdefault(label, (part, row))
    conflicting = [labels for labels in labels_of.values() if len(labels) > 1]
    if not conflicting:
        return CheckResult([fine("conflicting labels", "No text comes with two different labels.")])
    examples = [part.example(row, label=label) for labels in conflicting for label, (part, row) in labels.items()]
    count = len(conflicting)
    what = f"{counted(count, 'text')} {'comes' if count == 1 else 'come'} with several labels."
    fix = "Decide which label holds; nothing is dropped for you."
    shown = examples[: 2 * MOST_EXAMPLES]
    return CheckResult([Finding("conflicting labels", "problem", what, count, len(labels_of), shown, fix)])
