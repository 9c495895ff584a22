"""Rows that are there twice, to the letter or nearly, and texts that come with several labels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from nearfar.audit.findings import MOST, Drop, Finding, Found, fine, share, times
from nearfar.audit.material import Material, TextPart, distinct
from nearfar.text.minhash import leaders, near_pairs


def exact(material: Material) -> Found:
    """Find rows whose texts all occur in an earlier row, in every split and across them."""
    first: dict[int, tuple[TextPart, int]] = {}
    repeats: list[tuple[TextPart, int, TextPart, int]] = []
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
    rows: list[tuple[TextPart, int, int, float]] = []
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
    seen: dict[int, dict[str, tuple[TextPart, int]]] = {}
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


def _groups(rows: list[tuple[TextPart, int, int, float]]) -> list[tuple[TextPart, int, int, float]]:
    """Return one of each group first, so that examples differ."""
    seen: set[tuple[str, int]] = set()
    once = []
    for one in rows:
        if (one[0].split, one[2]) not in seen:
            seen.add((one[0].split, one[2]))
            once.append(one)
    return once


def _pair(part: TextPart, row: int, other: int, value: float) -> dict[str, Any]:
    return part.example(row, like=_place(part, other), shared=round(value, 3), other=part.example(other)["text"])


def _place(part: TextPart, row: int) -> str:
    return f"{part.split} row {row + 1}"


@dataclass(frozen=True)
class _Leak:
    """A text of a test row, and where in training it was seen."""

    part: TextPart
    place: int
    seen: tuple[TextPart, int]
    alike: float  # 1 to the letter

    @property
    def row(self) -> tuple[str, int]:
        return self.part.split, int(self.part.rows[self.place])


def leaks(material: Material) -> Found:
    """Find rows of the other splits that share a text with training, to the letter or nearly.

    A query (or plain text) that training has seen is a leak. A key that both have is not: a corpus is often one for
    all splits; it is told as a notice.
    """
    if material.kind == "BEIR folder" or len(material.splits) == 1:
        return Found()
    train, others = material.of(material.main), [p for p in material.parts if p.split != material.main]
    known: dict[int, list[tuple[TextPart, int]]] = {}
    for part in train:
        for place in part.written.tolist():
            known.setdefault(int(part.ids[place]), []).append((part, place))
    equal = [
        _Leak(p, i, known[int(p.ids[i])][0], 1.0) for p in others for i in p.written.tolist() if int(p.ids[i]) in known
    ]
    asked = [leak for leak in equal if leak.part.asks]
    nearly = _near(train, others)
    found = Found(profile={"leaks": {"exact": len({k.row for k in asked}), "near": len({k.row for k in nearly})}})
    rows = sum(count for split, count in material.splits.items() if split != material.main)
    found.findings += [_exact(asked, rows), *_told_near(nearly, rows), *_shared_keys(equal, rows)]
    found.drops = _drops(known, asked, "leak") + _drops(known, nearly, "near leak")
    return found


def _near(train: list[TextPart], others: list[TextPart]) -> list[_Leak]:
    """Return leaks that are nearly, and not to the letter, a text of training."""
    ours = distinct(train)
    seen = {int(part.ids[place]) for part, place in ours}
    theirs = [(p, i) for p in others if p.asks for i in p.written.tolist() if int(p.ids[i]) not in seen]
    pairs, alike = near_pairs([part.texts[place] for part, place in [*ours, *theirs]])
    best: dict[int, tuple[float, int]] = {}
    for (i, j), value in zip(pairs.tolist(), alike.tolist()):
        if i < len(ours) <= j:
            best[j] = max(best.get(j, (0.0, 0)), (value, i))
    return [_Leak(*theirs[j - len(ours)], ours[i], value) for j, (value, i) in sorted(best.items())]


def _exact(asked: list[_Leak], rows: int) -> Finding:
    if not asked:
        return fine("leaks", f"No query or text of the {rows:,} other rows occurs in training.")
    where = Counter(split for split, _ in dict.fromkeys(leak.row for leak in asked))
    count = sum(where.values())
    contents = len({int(leak.part.ids[leak.place]) for leak in asked})
    return Finding(
        "leaks",
        "problem",
        f"{_outside(count, rows)} with a text that training has seen ({times(contents, 'distinct text')}): "
        f"{', '.join(f'{many:,} in {split}' for split, many in where.items())}.",
        count,
        rows,
        [_example(leak) for leak in asked[:MOST]],
        "Remove them from training, never from the test: --fix OUT does so.",
    )


def _told_near(nearly: list[_Leak], rows: int) -> list[Finding]:
    if not nearly:
        return [fine("near leaks", "No query or text of the other rows is nearly one of training.")]
    where = Counter(split for split, _ in dict.fromkeys(leak.row for leak in nearly))
    count = sum(where.values())
    return [
        Finding(
            "near leaks",
            "problem",
            f"{_outside(count, rows)} with nearly a text of training: "
            f"{', '.join(f'{many:,} in {split}' for split, many in where.items())}.",
            count,
            rows,
            [_example(leak) for leak in sorted(nearly, key=lambda leak: -len(leak.part.texts[leak.place]))[:MOST]],
            "Look at the examples; --fix OUT --fix-near removes their likes from training.",
        )
    ]


def _shared_keys(equal: list[_Leak], rows: int) -> list[Finding]:
    shared = {leak.row for leak in equal if leak.part.role == "key" and not leak.part.asks}
    if not shared:
        return []
    what = f"{_outside(len(shared), rows)} with a key that training has, too."
    fix = "Nothing where the corpus is one for all splits; where answers must be new, split by key."
    examples = [_example(leak) for leak in equal if leak.part.role == "key" and not leak.part.asks][:MOST]
    return [Finding("shared keys", "notice", what, len(shared), rows, examples, fix)]


def _drops(known: dict[int, list[tuple[TextPart, int]]], found: list[_Leak], what: str) -> list[Drop]:
    """Return the training rows that hold what a test row asks."""
    drops: dict[int, Drop] = {}
    for leak in found:
        split, row = leak.row
        part, place = leak.seen
        for holder, at in known[int(part.ids[place])]:
            why = f"{'nearly ' if what == 'near leak' else ''}a text of {split} row {row + 1}"
            drops.setdefault(
                int(holder.rows[at]),
                Drop(int(holder.rows[at]), "near leak" if what == "near leak" else "leak", why),
            )
    return list(drops.values())


def _outside(count: int, rows: int) -> str:
    return f"{times(count, 'row')} of {rows:,} outside training ({share(count, rows)})"


def _example(leak: _Leak) -> dict[str, object]:
    part, place = leak.seen
    told: dict[str, object] = {"like": f"{part.split} row {int(part.rows[place]) + 1}"}
    if leak.alike < 1:
        told |= {"shared": round(leak.alike, 3), "other": part.example(place)["text"]}
    return leak.part.example(leak.place, **told)
