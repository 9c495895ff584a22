"""Leaks: rows of one split whose texts another split has, so that what is judged was trained on, or tuned on."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nearfar.audit.findings import MOST_EXAMPLES, CheckResult, Drop, Finding, Kind, counted, fine, share
from nearfar.audit.material import Material, Occurrence, TextPart
from nearfar.column import Ids
from nearfar.text.minhash import near_pairs


@dataclass(frozen=True)
class _Leak:
    """A text of a split, and its first occurrence in another one, which has it, too."""

    part: TextPart
    position: int
    source: Occurrence
    similarity: float  # the Jaccard similarity; 1 for equal texts

    @property
    def row(self) -> tuple[str, int]:
        """The split and the row that leak."""
        return self.part.split, int(self.part.rows[self.position])


Known = dict[int, list[Occurrence]]  # the texts of a split by their ids, case aside


def leaks(material: Material) -> CheckResult:
    """Find rows of a split that share a text with another one, exactly or nearly.

    Each split is compared with training, and the others with each other. Texts are equal in Unicode's normal form C,
    case and white space at the ends aside. A query (or plain text) that training has is a leak: what is measured on it
    is memory. So is one of the validation rows in the test rows, as the settings were chosen on it. A key in both is
    none, as one corpus often serves all splits; it is a notice, and so are texts that are nearly those of training.
    """
    if material.kind == "BEIR folder" or len(material.splits) == 1:
        return CheckResult()
    training, others = material.of(material.main), [p for p in material.parts if p.split != material.main]
    known = _known(training)
    found = list(_equal(known, [part for part in others if part.can_leak]))
    near = list(_near(known, others))
    rows = sum(count for split, count in material.splits.items() if split != material.main)
    repeated = _repeated_pairs(material)
    between = list(_between(material))
    pairs = [
        {"split": split, "of": source, "rows": len(leaking), "share": len(leaking) / material.splits[split]}
        | ({"with the same key": repeated[split]} if source == material.main and split in repeated else {})
        for split, source, leaking in _counts([*found, *between])
    ]
    return CheckResult(
        [
            _exact_finding(material, found, repeated, rows),
            *_between_finding(material, between),
            _near_finding(near, rows),
            *_shared_keys(training, others, rows),
        ],
        {"leaks": {"exact": len({one.row for one in found}), "near": len({one.row for one in near}), "splits": pairs}},
        _drops(known, found, "leak") + _drops(known, near, "near leak"),
    )


def _caseless(part: TextPart) -> Ids:
    return part.caseless_ids


def _known(parts: Sequence[TextPart], ids: Callable[[TextPart], Ids] = _caseless) -> Known:
    known: Known = {}
    for part in parts:
        for position in part.nonblank.tolist():
            known.setdefault(int(ids(part)[position]), []).append((part, position))
    return known


def _equal(known: Known, parts: Sequence[TextPart], ids: Callable[[TextPart], Ids] = _caseless) -> Iterator[_Leak]:
    """Yield the texts of some parts that are known."""
    for part in parts:
        for position in part.nonblank.tolist():
            if (same := known.get(int(ids(part)[position]))) is not None:
                yield _Leak(part, position, same[0], 1.0)


def _near(known: Known, others: Sequence[TextPart]) -> Iterator[_Leak]:
    """Yield the texts of other splits that are nearly, and not exactly, a text of training."""
    seen = [same[0] for same in known.values()]
    unseen = [
        (part, position)
        for part in others
        if part.can_leak
        for position in part.nonblank.tolist()
        if int(part.caseless_ids[position]) not in known
    ]
    pairs, similarities = near_pairs([part.texts[position] for part, position in [*seen, *unseen]])
    best: dict[int, tuple[float, int]] = {}
    for (i, j), value in zip(pairs.tolist(), similarities.tolist()):
        if i < len(seen) <= j:
            best[j] = max(best.get(j, (0.0, 0)), (value, i))
    for j, (value, i) in sorted(best.items()):
        yield _Leak(*unseen[j - len(seen)], seen[i], value)


def _between(material: Material) -> Iterator[_Leak]:
    """Yield the texts of a split, such as test, that an earlier one, such as validation, has; not those of training."""
    others = sorted((split for split in material.splits if split != material.main), key=lambda split: split == "test")
    for earlier, later in itertools.combinations(others, 2):
        known = _known([part for part in material.of(earlier) if part.can_leak])
        parts = [part for part in material.of(later) if part.can_leak]
        yield from _equal(known, parts)


def _counts(found: Sequence[_Leak]) -> list[tuple[str, str, set[int]]]:
    """Return the leaking rows of each pair of splits: the split, the one that has the texts, too, and the rows."""
    rows: dict[tuple[str, str], set[int]] = {}
    for leak in found:
        rows.setdefault((leak.part.split, leak.source[0].split), set()).add(leak.row[1])
    return [(split, source, leaking) for (split, source), leaking in rows.items()]


def _repeated_pairs(material: Material) -> Counter[str]:
    """Return for each split the number of rows with a query and a key that one row of training has, too."""
    if material.kind != "pairs":
        return Counter()
    pairs = {split: list(_row_pairs(material, split)) for split in material.splits}
    trained = {pair for _, pair in pairs[material.main]}
    return Counter(
        split
        for split, some in pairs.items()
        if split != material.main
        for _ in {row for row, pair in some if pair in trained}
    )


def _row_pairs(material: Material, split: str) -> Iterator[tuple[int, tuple[int, int]]]:
    query, key = (next(part for part in material.of(split) if part.role == role) for role in ("query", "key"))
    blank = [set(range(len(part.texts))) - set(part.nonblank.tolist()) for part in (query, key)]
    for row in range(material.splits[split]):
        for q in range(query.offsets[row], query.offsets[row + 1]):
            for k in range(key.offsets[row], key.offsets[row + 1]):
                if q not in blank[0] and k not in blank[1]:
                    yield row, (int(query.caseless_ids[q]), int(key.ids[k]))


def _exact_finding(material: Material, found: list[_Leak], repeated: Counter[str], rows: int) -> Finding:
    if not found:
        return fine("leaks", f"No query or text of the {rows:,} other rows occurs in {material.main}.")
    where = _leaking_rows(found)
    count, same = sum(where.values()), sum(repeated.values())
    texts = len({int(leak.part.caseless_ids[leak.position]) for leak in found})
    also = (
        f" {counted(same, 'row has', 'rows have')} the same key there, too, so the very answer is known."
        if same
        else ""
    )
    return Finding(
        "leaks",
        "problem",
        f"{_outside(count, rows)} with a text that training has seen ({counted(texts, 'distinct text')}): "
        f"{_shares(where, material)}. On these rows a model is judged by what it remembers.{also}",
        count,
        rows,
        _leak_examples(found),
        "Remove them from training, never from the test: --fix OUT does so.",
    )


def _between_finding(material: Material, found: list[_Leak]) -> Iterator[Finding]:
    if not found:
        return
    by_pair = _counts(found)
    count = sum(len(rows) for *_, rows in by_pair)
    of = sum(material.splits[split] for split in {split for split, *_ in by_pair})
    listed = ", ".join(
        f"{len(rows):,} in {split} that are in {source} ({share(len(rows), material.splits[split])})"
        for split, source, rows in by_pair
    )
    yield Finding(
        "leaks outside training",
        "problem",
        f"{counted(count, 'row')} with a text of another split outside training: {listed}. Settings that are chosen on "
        "the one suit the other.",
        count,
        of,
        _leak_examples(found),
        "Remove them from the rows that settings are chosen on; nothing is dropped for you.",
    )


def _near_finding(near: list[_Leak], rows: int) -> Finding:
    if not near:
        return fine("near leaks", "No query or text of the other rows is nearly one of training.")
    where = _leaking_rows(near)
    count = sum(where.values())
    longest = sorted(near, key=lambda leak: -len(leak.part.texts[leak.position]))
    return Finding(
        "near leaks",
        "notice",
        f"{_outside(count, rows)} with nearly a text of training: "
        f"{', '.join(f'{many:,} in {split}' for split, many in where.items())}.",
        count,
        rows,
        _leak_examples(longest),
        "Look at the examples; --fix OUT --fix-near removes their likes from training.",
    )


def _shared_keys(training: Sequence[TextPart], others: Sequence[TextPart], rows: int) -> Iterator[Finding]:
    keys = [part for part in others if part.role == "key" and not part.can_leak]
    shared = list(_equal(_known(training, lambda part: part.ids), keys, lambda part: part.ids))
    if not shared:
        return
    count = len({leak.row for leak in shared})
    what = f"{_outside(count, rows)} with a key that training has, too."
    fix = "Nothing where the corpus is one for all splits; where answers must be new, split by key."
    yield Finding("shared keys", "notice", what, count, rows, _leak_examples(shared), fix)


def _leaking_rows(found: list[_Leak]) -> Counter[str]:
    """Return the number of rows that leak, by split."""
    return Counter(split for split, _ in dict.fromkeys(leak.row for leak in found))


def _shares(where: Counter[str], material: Material) -> str:
    sizes = material.splits
    return ", ".join(
        f"{many:,} of {sizes[split]:,} in {split} ({share(many, sizes[split])})" for split, many in where.items()
    )


def _drops(known: Known, found: list[_Leak], what: Kind) -> list[Drop]:
    """Return the training rows that hold a leaked text."""
    drops: dict[int, Drop] = {}
    for leak in found:
        part, position = leak.source
        for other, i in known[int(part.caseless_ids[position])]:
            why = f"{'nearly ' if what == 'near leak' else ''}a text of {leak.part.row_name(leak.row[1])}"
            drops.setdefault(int(other.rows[i]), Drop(int(other.rows[i]), what, why))
    return list(drops.values())


def _outside(count: int, rows: int) -> str:
    return f"{counted(count, 'row')} of {rows:,} outside training ({share(count, rows)})"


def _leak_examples(found: Sequence[_Leak]) -> list[dict[str, Any]]:
    """Return some texts that differ, from each split in turn."""
    by_split: dict[str, dict[int, _Leak]] = {}
    for leak in found:
        by_split.setdefault(leak.part.split, {}).setdefault(int(leak.part.caseless_ids[leak.position]), leak)
    in_turn = itertools.chain.from_iterable(itertools.zip_longest(*(some.values() for some in by_split.values())))
    return [_leak_example(leak) for leak in itertools.islice(filter(None, in_turn), MOST_EXAMPLES)]


def _leak_example(leak: _Leak) -> dict[str, Any]:
    part, position = leak.source
    more: dict[str, Any] = {"like": part.row_name(int(part.rows[position]))}
    if leak.similarity < 1:
        more |= {"shared": round(leak.similarity, 3), "other": part.example(position)["text"]}
    return leak.part.example(leak.position, **more)
