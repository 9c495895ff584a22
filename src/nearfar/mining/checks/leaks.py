"""Rows of the other splits whose text was seen in training: what they measure is memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from nearfar.mining.checks.found import MOST, Drop, Finding, Found, fine, share, times
from nearfar.mining.checks.material import Material, Part, distinct
from nearfar.mining.checks.near import near_pairs


@dataclass(frozen=True)
class _Leak:
    """A text of a test row, and where in training it was seen."""

    part: Part
    place: int
    seen: tuple[Part, int]
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
    known: dict[int, list[tuple[Part, int]]] = {}
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


def _near(train: list[Part], others: list[Part]) -> list[_Leak]:
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


def _drops(known: dict[int, list[tuple[Part, int]]], found: list[_Leak], what: str) -> list[Drop]:
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
