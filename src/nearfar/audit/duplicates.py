"""Texts that occur more than once: copies and near copies of rows, leaks into other splits, texts with two labels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from nearfar.audit.findings import MOST_EXAMPLES, CheckResult, Drop, Finding, counted, fine, share
from nearfar.audit.material import Material, Occurrence, TextPart, distinct
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
            [p.example(row, like=_row_name(q.split, other)) for p, row, q, other in copies[:MOST_EXAMPLES]],
            "Leave out all but the first: --fix OUT does so in training. Else they weigh double, and in a test they "
            "count twice.",
        )
    )
    result.drops = [
        Drop(row, "exact duplicate", f"same as row {other + 1}", other)
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
        Drop(row, "near duplicate", f"{value:.2f} of it is shared with row {earlier + 1}", earlier)
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
    return part.example(row, like=_row_name(part.split, earlier), shared=round(value, 3), other=other)


def _row_name(split: str, row: int) -> str:
    return f"{split} row {row + 1}"


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


@dataclass(frozen=True)
class _Leak:
    """A text of another split, and its first occurrence in training."""

    part: TextPart
    position: int
    training: Occurrence
    similarity: float  # the Jaccard similarity; 1 for equal texts

    @property
    def row(self) -> tuple[str, int]:
        """The split and the row that leak."""
        return self.part.split, int(self.part.rows[self.position])


def leaks(material: Material) -> CheckResult:
    """Find rows of the other splits that share a text with training, exactly or nearly.

    A query (or plain text) that training has seen is a leak. A key in both is not, as one corpus often serves all
    splits; it is a notice.
    """
    if material.kind == "BEIR folder" or len(material.splits) == 1:
        return CheckResult()
    training, others = material.of(material.main), [p for p in material.parts if p.split != material.main]
    known: dict[int, list[Occurrence]] = {}  # the training texts by content id
    for part in training:
        for position in part.nonblank.tolist():
            known.setdefault(int(part.ids[position]), []).append((part, position))
    equal = [
        _Leak(part, i, known[int(part.ids[i])][0], 1.0)
        for part in others
        for i in part.nonblank.tolist()
        if int(part.ids[i]) in known
    ]
    exact_leaks = [leak for leak in equal if leak.part.can_leak]
    near_leaks = _near_leaks(training, others)
    counts = {"exact": len({leak.row for leak in exact_leaks}), "near": len({leak.row for leak in near_leaks})}
    rows = sum(count for split, count in material.splits.items() if split != material.main)
    return CheckResult(
        [_exact_finding(exact_leaks, rows), _near_finding(near_leaks, rows), *_shared_keys(equal, rows)],
        {"leaks": counts},
        _drops(known, exact_leaks, "leak") + _drops(known, near_leaks, "near leak"),
    )


def _near_leaks(training: list[TextPart], others: list[TextPart]) -> list[_Leak]:
    """Return the texts of other splits that are nearly, and not exactly, a text of training."""
    seen = distinct(training)
    seen_ids = {int(part.ids[position]) for part, position in seen}
    unseen = [(p, i) for p in others if p.can_leak for i in p.nonblank.tolist() if int(p.ids[i]) not in seen_ids]
    pairs, similarities = near_pairs([part.texts[position] for part, position in [*seen, *unseen]])
    best: dict[int, tuple[float, int]] = {}
    for (i, j), value in zip(pairs.tolist(), similarities.tolist()):
        if i < len(seen) <= j:
            best[j] = max(best.get(j, (0.0, 0)), (value, i))
    return [_Leak(*unseen[j - len(seen)], seen[i], value) for j, (value, i) in sorted(best.items())]


def _exact_finding(exact_leaks: list[_Leak], rows: int) -> Finding:
    if not exact_leaks:
        return fine("leaks", f"No query or text of the {rows:,} other rows occurs in training.")
    where = _leaking_rows(exact_leaks)
    count = sum(where.values())
    texts = len({int(leak.part.ids[leak.position]) for leak in exact_leaks})
    return Finding(
        "leaks",
        "problem",
        f"{_outside(count, rows)} with a text that training has seen ({counted(texts, 'distinct text')}): "
        f"{', '.join(f'{many:,} in {split}' for split, many in where.items())}.",
        count,
        rows,
        [_leak_example(leak) for leak in exact_leaks[:MOST_EXAMPLES]],
        "Remove them from training, never from the test: --fix OUT does so.",
    )


def _near_finding(near_leaks: list[_Leak], rows: int) -> Finding:
    if not near_leaks:
        return fine("near leaks", "No query or text of the other rows is nearly one of training.")
    where = _leaking_rows(near_leaks)
    count = sum(where.values())
    longest = sorted(near_leaks, key=lambda leak: -len(leak.part.texts[leak.position]))
    return Finding(
        "near leaks",
        "problem",
        f"{_outside(count, rows)} with nearly a text of training: "
        f"{', '.join(f'{many:,} in {split}' for split, many in where.items())}.",
        count,
        rows,
        [_leak_example(leak) for leak in longest[:MOST_EXAMPLES]],
        "Look at the examples; --fix OUT --fix-near removes their likes from training.",
    )


def _shared_keys(equal: list[_Leak], rows: int) -> list[Finding]:
    shared = [leak for leak in equal if leak.part.role == "key" and not leak.part.can_leak]
    if not shared:
        return []
    count = len({leak.row for leak in shared})
    what = f"{_outside(count, rows)} with a key that training has, too."
    fix = "Nothing where the corpus is one for all splits; where answers must be new, split by key."
    examples = [_leak_example(leak) for leak in shared[:MOST_EXAMPLES]]
    return [Finding("shared keys", "notice", what, count, rows, examples, fix)]


def _leaking_rows(leaked: list[_Leak]) -> Counter[str]:
    """Return the number of rows that leak, by split."""
    return Counter(split for split, _ in dict.fromkeys(leak.row for leak in leaked))


def _drops(known: dict[int, list[Occurrence]], leaked: list[_Leak], what: str) -> list[Drop]:
    """Return the training rows that hold a leaked text."""
    drops: dict[int, Drop] = {}
    for leak in leaked:
        split, row = leak.row
        part, position = leak.training
        for other, i in known[int(part.ids[position])]:
            why = f"{'nearly ' if what == 'near leak' else ''}a text of {_row_name(split, row)}"
            drops.setdefault(
                int(other.rows[i]), Drop(int(other.rows[i]), "near leak" if what == "near leak" else "leak", why)
            )
    return list(drops.values())


def _outside(count: int, rows: int) -> str:
    return f"{counted(count, 'row')} of {rows:,} outside training ({share(count, rows)})"


def _leak_example(leak: _Leak) -> dict[str, object]:
    part, position = leak.training
    more: dict[str, object] = {"like": _row_name(part.split, int(part.rows[position]))}
    if leak.similarity < 1:
        more |= {"shared": round(leak.similarity, 3), "other": part.example(position)["text"]}
    return leak.part.example(leak.position, **more)
