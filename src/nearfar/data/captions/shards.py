"""webdataset's tars: the members KEY.jpg and KEY.txt, or KEY.json, are a picture and its caption."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from nearfar.column_names import CAPTION_COLUMNS
from nearfar.data.archives.indexed_tar import IndexedTar
from nearfar.data.archives.members import Member, Wanted
from nearfar.data.archives.open_archive import is_archive_name, open_archive
from nearfar.data.captions.rows import CaptionRows, captions_of
from nearfar.data.picture_sets.members import WANTED
from nearfar.data.tables.cells import LONGEST_CELL
from nearfar.data.tables.files import SPLIT_WORDS, first_line, split_name
from nearfar.errors import InputError, nearest
from nearfar.pictures.decode import is_picture_name

_TEXTS = (".txt", ".json")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
MOST_SHARDS = 100_000  # that a name in braces may stand for


def shard_paths(path: Path) -> list[Path]:
    """Return the tars that a path names: one, those of a folder and its sub-folders, or those of a name in braces.

    "shards/{0000..0011}.tar" is twelve of them, and "{train,test}.tar" two. [] for any other path.
    """
    if path.is_dir():
        return sorted(one for one in path.rglob("*.tar*") if is_archive_name(one) and one.is_file())
    if not is_archive_name(path) or path.suffix.lower() == ".zip":
        return []
    return [path] if path.exists() else [Path(one) for one in _expanded(str(path))]


def _expanded(text: str) -> list[str]:
    """Return the names that one with braces stands for, in order."""
    found = [text]
    while any(_BRACES.search(one) for one in found):
        found = [one for name in found for one in _first_braces(name)]
        if len(found) > MOST_SHARDS:
            raise InputError(f"{text}: stands for more than {MOST_SHARDS:,} files; give the folder that they lie in")
    return found


def _first_braces(text: str) -> list[str]:
    braces = _BRACES.search(text)
    if braces is None:
        return [text]
    parts = braces[1].split(",")
    if between := _RANGE.fullmatch(braces[1]):
        first, last = (int(number[:18]) for number in between.groups())
        if last - first >= MOST_SHARDS:
            raise InputError(f"{text}: stands for more than {MOST_SHARDS:,} files; give the folder that they lie in")
        parts = [str(number).zfill(len(between[1])) for number in range(first, last + 1)]
    return [text[: braces.start()] + part + text[braces.end() :] for part in parts]


@dataclass(frozen=True)
class _Sample:
    """What the members of one key are: the pictures and the texts, by name."""

    shard: int
    key: str
    pictures: list[str]
    texts: list[str]


class Shards:
    """The captioned pictures of several tars, an `Archive`; their names begin with the tar's own below their folder.

    A tar is read by an index of its members (`IndexedTar`), in the order of the tars and, in each, of its keys.
    """

    any_order = True

    def __init__(self, path: Path, tars: Sequence[Path], caption: str | None) -> None:
        self.path = path if path.is_dir() or len(tars) == 1 else tars[0].parent
        self.tars, self._caption = list(tars), caption
        wanted = Wanted(_is_wanted, WANTED.largest, WANTED.too_large)
        self._opened = [self._indexed(tar, wanted) for tar in tars]
        self._labels = [self._label(tar) for tar in tars]
        self.samples = [sample for i, tar in enumerate(self._opened) for sample in _samples(i, tar)]
        self._by_name = {
            f"{self._labels[sample.shard]}/{name}": (self._opened[sample.shard], name)
            for sample in self.samples
            for name in sample.pictures[: bool(sample.texts)]
        }

    def files(self) -> list[Path]:
        """Return the tars."""
        return self.tars

    def names(self) -> list[str]:
        """Return the names of the pictures that have a text, in order."""
        return list(self._by_name)

    def members(self) -> Iterator[Member]:
        """Yield these pictures, in order."""
        for name, (tar, inner) in self._by_name.items():
            problem = tar.problem(inner)
            yield Member(name, b"" if problem else tar.read(inner), problem)

    def read(self, name: str) -> bytes:
        """Return the bytes of one picture. Errors: `InputError` where it has a problem."""
        tar, inner = self._by_name[name]
        return tar.read(inner)

    def captions(self) -> CaptionRows:
        """Return the captions. A split is what a tar's name or folder says, else "train".

        Errors: `InputError` for a key of two pictures, or of two texts that differ; a text that is none.
        """
        places: list[str] = []
        without: list[_Sample] = []

        def rows() -> Iterator[tuple[str, str, str]]:
            for sample in self.samples:
                place = f"{self.tars[sample.shard]}: {sample.key!r}"
                if len(sample.pictures) > 1:
                    pictures = ", ".join(sample.pictures[:3])
                    raise InputError(f"{place}: has {len(sample.pictures)} pictures ({pictures}); keep one")
                texts = self._texts(sample, place)
                if not texts:
                    without.append(sample)
                name = sample.pictures[0] if sample.pictures else f"{sample.key}.jpg"
                for text in texts:
                    places.append(place)
                    yield self._split(sample), f"{self._labels[sample.shard]}/{name}", text

        found = CaptionRows.of(str(self.path), rows(), places.__getitem__)
        pictures = sum(bool(sample.pictures) for sample in without)
        return replace(found, uncaptioned=pictures, notes={"tars": len(self.tars)})

    def _texts(self, sample: _Sample, place: str) -> list[str]:
        """Return the captions of a key, which its texts must agree on; img2dataset, for one, writes each twice."""
        found: dict[str, list[str]] = {}
        for name in sample.texts:
            if name in found:
                raise InputError(f"{place}: has two members {name!r}; keep one")
            found[name] = self._captions(sample, name, place)
        distinct = {tuple(texts) for texts in found.values() if texts}
        if len(distinct) > 1:
            raise InputError(
                f"{place}: has two texts that differ, {' and '.join(found)}; keep one, or say which is read: "
                "data.caption=txt, or a field of the JSON"
            )
        return list(next(iter(distinct), ()))

    def _captions(self, sample: _Sample, name: str, place: str) -> list[str]:
        tar, is_json = self._opened[sample.shard], name.lower().endswith(".json")
        if self._caption is not None and is_json == (self._caption == "txt"):
            return []
        if tar.size(name) > LONGEST_CELL:
            raise InputError(f"{place}: {name!r} has more than {LONGEST_CELL // 10**6} MB, the most of a text")
        data = tar.read(name)
        try:
            text = data.decode("utf-8-sig")
            value = json.loads(text) if is_json else text.strip()
        except (ValueError, RecursionError) as error:
            what = "JSON" if is_json else "UTF-8 text"
            raise InputError(f"{place}: {name!r} is no {what} ({first_line(error)}); write it again") from error
        return captions_of(self._of_json(value, f"{place}: {name!r}") if is_json else value, f"{place}: {name!r}")

    def _of_json(self, value: Any, where: str) -> Any:
        """Return what an object says of the caption, [] for nothing."""
        if isinstance(value, str | list):
            return value
        if not isinstance(value, dict):
            raise InputError(f"{where}: is {value!r:.40}; write an object with a caption")
        if self._caption is not None and self._caption not in value:
            raise InputError(f"{where}: no field {self._caption!r}; {nearest(self._caption, map(str, value))}")
        name = self._caption or next((one for one in CAPTION_COLUMNS if value.get(one) is not None), None)
        return [] if name is None else value[name]

    def _split(self, sample: _Sample) -> str:
        *folders, name = PurePosixPath(self._labels[sample.shard]).parts
        named = next((SPLIT_WORDS[folder.lower()] for folder in folders if folder.lower() in SPLIT_WORDS), None)
        return named or (split_name(name.partition(".")[0]) if len(self.tars) > 1 else None) or "train"

    def _label(self, tar: Path) -> str:
        return tar.relative_to(self.path).as_posix() if tar.is_relative_to(self.path) and tar != self.path else tar.name

    @staticmethod
    def _indexed(tar: Path, wanted: Wanted) -> IndexedTar:
        opened = open_archive(tar, wanted)
        if not isinstance(opened, IndexedTar):
            raise InputError(f"{tar}: is compressed, and pictures in it cannot be read at their place; decompress it")
        return opened


def _samples(shard: int, tar: IndexedTar) -> list[_Sample]:
    """Return the keys of a tar, in the order in which they first occur; a key is a name up to its first dot."""
    found: dict[str, _Sample] = {}
    for name in tar.names():
        folder, _, last = name.rpartition("/")
        stem, _, kind = last.partition(".")
        key = f"{folder}/{stem}" if folder else stem
        if not stem or "." in kind:  # KEY.mask.png is another thing than KEY's picture
            continue
        sample = found.setdefault(key, _Sample(shard, key, [], []))
        (sample.texts if f".{kind.lower()}" in _TEXTS else sample.pictures).append(name)
    return list(found.values())


def _is_wanted(name: str) -> bool:
    return is_picture_name(name) or name.lower().endswith(_TEXTS)
