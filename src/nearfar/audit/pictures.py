"""The audit of a set of pictures: broken ones, copies and near copies, leaks between splits, classes that disagree."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.audit.audit import Audit, ordered
from nearfar.audit.diversity import class_counts
from nearfar.audit.findings import Finding, counted, fine, share
from nearfar.column import Ids
from nearfar.data.images import Images
from nearfar.data.picture_sets.layout import TRAIN
from nearfar.data.picture_sets.members import LabelledPictures
from nearfar.errors import InputError
from nearfar.pictures.near_copies import NearCopies, near_copies
from nearfar.pictures.sprite import sprite

SHOWN = 12  # pairs of a finding that are shown
LISTED = 10_000  # pairs of copies in the JSON, at most
WHAT = "copies"  # the file of their tiles begins so
_FIX = "Remove them from training, never from the test; data.images leaves out exact ones by itself."

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Copies:
    """Pairs (e, 2) of pictures that are one, i < j in the order of their paths, exact or near; similarity (e,)."""

    found: LabelledPictures
    pairs: Ids
    similarity: npt.NDArray[np.float32]
    exact: Mask
    mirrored: Mask

    def of(self, chosen: Mask) -> Copies:
        """Return the chosen pairs."""
        parts = {name: getattr(self, name)[chosen] for name in ("pairs", "similarity", "exact", "mirrored")}
        return replace(self, **parts)

    def __len__(self) -> int:
        return len(self.pairs)


@dataclass
class _Shown:
    """The pictures of examples, numbered as tiles."""

    rows: dict[int, int] = field(default_factory=dict)

    def tile(self, row: int) -> int:
        """Return the number of a picture's tile."""
        return self.rows.setdefault(row, len(self.rows))


def audit_pictures(
    images: Images, *, mirrored: bool = False, progress: Callable[[str], None] = lambda _: None
) -> Audit:
    """Check a set of pictures for broken files, copies, near copies, leaks and classes that disagree.

    Near copies are those of `pictures.near_copies`: saved again, resized, brightened. All pictures of all splits are
    compared.

    Args:
        images: the set; what it leaves out of training as a copy is compared, too.
        mirrored: count pictures as near copies, too, of which one is the other from right to left.
        progress: called with the name of each stage as it starts.

    Errors: `InputError` for a set of one picture; those of reading.

    When not to use it: to find two photographs of one thing, or parts of a picture; a model's nearest neighbours do.
    """
    found, seconds = images.found, {}
    if len(found.rows) < 2:
        raise InputError(f"{found.where}: holds one picture; there is nothing to compare it with")
    progress("near copies")
    began = time.perf_counter()
    near = near_copies(lambda rows: found.pictures.read_rows(found.rows[rows]), len(found.rows), mirrored=mirrored)
    copies = _all_copies(found, near)
    seconds["copies"] = time.perf_counter() - began
    shown = _Shown()
    splits = {name: found.splits.count(name) for name in dict.fromkeys(found.splits)}
    main = TRAIN if TRAIN in splits else next(iter(splits))
    splits = {main: splits[main], **splits}
    findings = [
        *_broken(images),
        *_leaks(copies, splits, main, shown),
        *_duplicates(copies, splits, shown),
        *_conflicts(copies, shown),
    ]
    profile: dict[str, Any] = {"copies": _listed(copies)}
    if found.has_classes:
        labels = {name: [label for label, split in zip(found.labels, found.splits) if split == name] for name in splits}
        counted_classes = class_counts("label", labels, main)
        findings, profile = [*findings, *counted_classes.findings], profile | counted_classes.profile
    made = sprite([found.pictures.read_rows(found.rows[[row]])[0] for row in shown.rows])
    sheet, files = ({}, {}) if made is None else (made.layout(WHAT), {made.file(WHAT): made.data})
    name = found.where.rstrip("/").rpartition("/")[2]
    return Audit(
        name, "pictures", main, splits, {"image": "picture"}, ordered(findings), profile, [], seconds, sheet, files
    )


def _all_copies(found: LabelledPictures, near: NearCopies) -> Copies:
    """Return exact copies, each with the first of its content, and near ones between distinct contents."""
    _, first, inverse = np.unique(found.ids, return_index=True, return_inverse=True)
    leader = first[inverse]  # (n,)
    later = np.flatnonzero(leader != np.arange(len(leader)))
    exact = np.stack([leader[later], later], 1)
    new = leader[near.pairs[:, 0]] != leader[near.pairs[:, 1]] if len(near.pairs) else np.zeros(0, bool)
    pairs = np.concatenate([exact, near.pairs[new]])
    similarity = np.concatenate([np.ones(len(exact), np.float32), near.similarity[new]])
    is_exact = np.arange(len(pairs)) < len(exact)
    mirrored = np.concatenate([np.zeros(len(exact), bool), near.mirrored[new]])
    return Copies(found, pairs, similarity, is_exact, mirrored)


def _broken(images: Images) -> list[Finding]:
    faults, n = images.found.pictures.broken, len(images.found.rows)
    if not faults:
        return [fine("broken", f"Each of {n:,} pictures can be read.")]
    what = f"{counted(len(faults), 'picture')} of {n + len(faults):,} cannot be read."
    examples = [{"column": "image", "file": name, "text": fault} for name, fault in faults[:SHOWN]]
    fix = "Repair them or take them out; training leaves them out."
    return [Finding("broken", "problem", what, len(faults), n + len(faults), examples, fix)]


def _leaks(copies: Copies, splits: dict[str, int], main: str, shown: _Shown) -> list[Finding]:
    """Return what of other splits is in training, and of the others in each other, exactly and nearly."""
    if len(splits) == 1:
        return []
    names = np.array(copies.found.splits)
    of = names[copies.pairs] if len(copies) else np.zeros((0, 2), str)
    across = of[:, 0] != of[:, 1]
    rows = sum(count for name, count in splits.items() if name != main)
    found = []
    for check, exact in (("leaks", True), ("near leaks", False)):
        some = copies.of(across & (copies.exact == exact) & (of == main).any(1))
        outside = _unique_outside(some, names, main)
        if not len(some):
            found.append(fine(check, f"None of {rows:,} other pictures is {'' if exact else 'nearly '}in {main}."))
            continue
        where = ", ".join(f"{count:,} in {name} ({share(count, splits[name])})" for name, count in outside.items())
        count = sum(outside.values())
        what = f"{counted(count, 'picture')} of {rows:,} outside training {'is' if count == 1 else 'are'} "
        what += f"{'' if exact else 'nearly '}in {main}, too: {where}. On these a model is judged by what it remembers."
        found.append(Finding(check, "problem", what, count, rows, _examples(some, shown), _FIX))
    others = copies.of(across & ~(of == main).any(1))
    if len(others):
        what = f"{counted(len(others), 'pair')} of copies between splits outside {main}."
        fix = "Remove them from the pictures that settings are chosen on."
        found.append(
            Finding("leaks outside training", "problem", what, len(others), rows, _examples(others, shown), fix)
        )
    return found


def _unique_outside(some: Copies, names: Any, main: str) -> Counter[str]:
    """Return how many pictures of each other split have a copy in training."""
    rows = {int(row) for pair in some.pairs for row in pair if names[row] != main}
    return Counter(str(names[row]) for row in sorted(rows))


def _duplicates(copies: Copies, splits: dict[str, int], shown: _Shown) -> list[Finding]:
    """Return copies within a split."""
    names, n = np.array(copies.found.splits), len(copies.found.rows)
    inside = names[copies.pairs[:, 0]] == names[copies.pairs[:, 1]] if len(copies) else np.zeros(0, bool)
    found = []
    for check, exact, one in (("duplicates", True, "exact copy"), ("near duplicates", False, "near copy")):
        some = copies.of(inside & (copies.exact == exact))
        if not len(some):
            text = f"No picture is {'' if exact else 'nearly '}in its split twice ({n:,} compared)."
            found.append(fine(check, text))
            continue
        later = Counter(str(names[row]) for row in np.unique(some.pairs[:, 1]))
        count = sum(later.values())
        where = ", ".join(f"{later[name]:,} in {name}" for name in splits if name in later)
        what = f"{counted(count, one, one[:-1] + 'ies')} of earlier pictures among {n:,} ({share(count, n)}): {where}."
        fix = "Leave out all but the first of each: they weigh double, and as a held-out part they are leaks."
        found.append(Finding(check, "problem" if exact else "notice", what, count, n, _examples(some, shown), fix))
    return found


def _conflicts(copies: Copies, shown: _Shown) -> list[Finding]:
    """Return copies that lie in different classes."""
    if not copies.found.has_classes:
        return []
    labels = [(copies.found.labels[i], copies.found.labels[j]) for i, j in copies.pairs.tolist()]
    some = copies.of(np.array([a != b and None not in (a, b) for a, b in labels], bool))
    if not len(some):
        return [fine("conflicting labels", "No picture and its copy are of two classes.")]
    what = f"{counted(len(some), 'pair')} of copies {'is' if len(some) == 1 else 'are'} of two classes."
    fix = "Decide which class holds."
    return [Finding("conflicting labels", "problem", what, len(some), len(copies), _examples(some, shown), fix)]


def _examples(some: Copies, shown: _Shown) -> list[dict[str, Any]]:
    """Return at most twelve pairs, from the most alike to the least, which tells where the border lies."""
    order = np.lexsort((some.pairs[:, 1], some.pairs[:, 0], -some.similarity))
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(SHOWN, len(order))).round().astype(int))]
    return [_example(some, int(at), shown) for at in chosen]


def _example(some: Copies, at: int, shown: _Shown) -> dict[str, Any]:
    """Return a pair for a reader: the later picture, or that outside training, and the one that it is like."""
    found, (first, later) = some.found, some.pairs[at].tolist()
    facts = {"similarity": None if some.exact[at] else round(float(some.similarity[at]), 3)}
    facts |= {"mirrored": True} if some.mirrored[at] else {}
    sides = [
        {"split": found.splits[row], "text": found.paths[row], "label": found.labels[row], "tile": shown.tile(row)}
        for row in sorted((later, first), key=lambda row: found.splits[row] == TRAIN)  # what is judged by comes first
    ]
    name = f"{sides[1]['split']} {sides[1]['text']}"
    return {"column": "image", **sides[0], "like": name, "of": sides[1], **facts}


def _listed(copies: Copies) -> dict[str, Any]:
    """Return the pairs for programs, at most 10,000: paths, splits and how alike."""
    found = copies.found
    pairs = [
        {"first": found.paths[i], "second": found.paths[j], "splits": [found.splits[i], found.splits[j]]}
        | {"exact": bool(copies.exact[at]), "similarity": round(float(copies.similarity[at]), 4)}
        | ({"mirrored": True} if copies.mirrored[at] else {})
        for at, (i, j) in enumerate(copies.pairs[:LISTED].tolist())
    ]
    return {"pairs": len(copies), "exact": int(copies.exact.sum()), "listed": pairs}
