"""The split and the class of each picture, by the folders that it lies in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nearfar.data.tables.files import SPLIT_WORDS

TRAIN = "train"


@dataclass(frozen=True)
class Place:
    """Where a picture belongs: its split, its class (None: no folder names one), and its path below the top."""

    split: str
    label: str | None
    path: str


def layout(names: Sequence[str]) -> list[Place | None]:
    """Return the place of each picture by its name; None for one that lies beside the folders of splits.

    Folders that all pictures lie in say nothing. Below them, folders called train, test and the like are splits, if
    all pictures lie in such; or if one is called train and another one names a split, then all folders there are. The
    folders below are the class, also several of them: "Greek/character01". There is no class where all pictures would
    be of one, or each of its own.

    Example:
        >>> layout(["set/train/cat/1.jpg", "set/train/cat/2.jpg", "set/train/dog/3.jpg", "set/test/4.jpg"])[2:]
        [Place(split='train', label='dog', path='train/dog/3.jpg'), Place(split='test', label=None, path='test/4.jpg')]
    """
    parts = [name.split("/") for name in names]
    top = _shared(parts, splits=True)
    parts = [one[top:] for one in parts]
    splits = _splits({one[0] for one in parts if len(one) > 1}, alone=any(len(one) == 1 for one in parts))
    inner = [(one[1:] if len(one) > 1 else []) if splits else one for one in parts]
    below = _shared([one for one in inner if one], splits=False)
    classes = ["/".join(one[below:-1]) for one in inner]
    named = {name for name in classes if name}
    has_classes = len(named) > 1 and len(named) < sum(map(bool, classes))
    return [
        Place(splits[one[0]] if splits else TRAIN, name if has_classes and name else None, "/".join(one))
        if rest
        else None
        for one, rest, name in zip(parts, inner, classes)
    ]


def _shared(parts: Sequence[Sequence[str]], *, splits: bool) -> int:
    """Return how many folders all names share. splits: one that names a split is not counted, nor what is below."""
    depth = 0
    while parts and all(len(one) > depth + 1 for one in parts):
        folders = {one[depth] for one in parts}
        if len(folders) > 1 or (splits and next(iter(folders)).lower() in SPLIT_WORDS):
            break
        depth += 1
    return depth


def _splits(folders: set[str], *, alone: bool) -> dict[str, str]:
    """Return the split of each folder at the top; {} where these are no splits. alone: pictures lie beside them."""
    words = {folder: SPLIT_WORDS.get(folder.lower()) for folder in folders}
    known = {split for split in words.values() if split is not None}
    all_named = bool(folders) and None not in words.values() and not alone
    if not all_named and not (TRAIN in known and len(known) > 1):
        return {}
    return {folder: split or folder for folder, split in words.items()}
