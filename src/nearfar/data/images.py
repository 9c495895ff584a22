"""Images: pictures of a folder, an archive or a Hugging Face data set, with the classes that their folders name."""

from __future__ import annotations

import copy
import math
import warnings
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from nearfar.coerce import refuse_seed
from nearfar.column import Column, Ids, ListColumn
from nearfar.data.picture_sets.layout import TRAIN
from nearfar.data.picture_sets.members import LabelledPictures, labelled_pictures
from nearfar.data.picture_sets.reading import ReadSettings
from nearfar.data.picture_sets.split import COPIES, HELD, codes, drawn, split_rows, without_copies
from nearfar.data.picture_sets.store import PictureColumn
from nearfar.data.tables.files import known_split
from nearfar.data.tables.split import checked_size
from nearfar.errors import InputError, nearest
from nearfar.pictures.decode import LEAST_SIDE
from nearfar.storage.fingerprint import fingerprint
from nearfar.storage.places import expanded


class Images:
    """A set of n pictures, with the columns `image`, uint8 (h, w, 3), `path` and, where there are classes, `label`.

    `path` is a folder of pictures, also with sub-folders, a zip, a tar (also .gz, .bz2, .xz, .zst), or a data set with
    a column of type Image that `datasets` saved to disk. Folders called train, test and validation at the top are
    splits; the folders below are classes, several levels together ("Greek/character01"). Rows are in the order of their
    paths, so a folder and an archive of it are one data set.

    Pictures are decoded once (`pictures.decode`: upright, in RGB, on white) into NEARFAR_CACHE, or the system's cache
    folder, and memory-mapped from then on. The shorter side of a stored picture has at most `side` pixels. What would
    take more than `store_gb` is decoded whenever it is read, in a few threads; a compressed tar, which can only be read
    in order, is then refused. No link is followed, no path out of an archive is read, and sizes are limited before
    anything is decoded. Pictures that cannot be used are counted and named in `notes` and in a warning, and left out.

    The data set itself is the training rows. `heldout`, a fraction below 1 or a number of pictures, takes pictures out
    of training as the split "heldout", drawn by a hash of `seed` and of their content, from each class its share and at
    least one. Equal pictures stay together, and a training picture that is equal to one of another split is left out.

    Args:
        path: see above. heldout, seed: see above.
        label: "auto": classes by folders, or by the data set's column of classes; a column's name; null for no classes.
        limit: about so many pictures of each split, a sample by content hash of each class; null for all.
        side: pixels of the shorter side of a stored picture, at most; null keeps all.
        broken: the share of the pictures that may be broken; up to five always may, unless it is 0.
        store_gb: the most that the decoded pictures may take on disk, 0 to keep none.
        workers: threads that decode; by default, as many as there are cores, up to 8.
        progress: whether to show a progress bar on standard error; by default, if that is a terminal.

    Errors: `InputError`: no picture at all, or in training; too many broken ones, by name; a damaged archive; an
    unknown split or column; a setting out of range.

        pictures = Images("photographs/", heldout=0.02)
        pictures.column("image").read(0, 1)[0].shape  # (256, 341, 3)

    When not to use it: for pictures with captions, which are pairs: `ImageText`.
    """

    columns: list[str]
    fingerprint: str = cast("str", cached_property(lambda self: self._fingerprint()))

    def __init__(
        self,
        path: str | Path,
        *,
        heldout: float = 0.0,
        label: str | None = "auto",
        limit: int | None = None,
        side: int | None = 256,
        broken: float = 0.01,
        store_gb: float = 16.0,
        seed: int = 0,
        workers: int | None = None,
        progress: bool | None = None,
    ) -> None:
        self._where = str(path)
        for name, value, least in (("limit", limit, 1), ("side", side, LEAST_SIDE), ("workers", workers, 1)):
            if value is not None and value < least:
                raise InputError(f"data.images.{name}: {value} must be at least {least}")
        if not 0 <= broken <= 1:
            raise InputError(f"data.images.broken: {broken:g} is a share, 0 to 1")
        if not 0 <= store_gb < math.inf:
            raise InputError(f"data.images.store_gb: {store_gb:g} is no size; give gigabytes, 0 to keep none")
        refuse_seed(seed, "data.images.seed")
        settings = ReadSettings(side, store_gb * 1e9, workers, progress)
        found = labelled_pictures(expanded(path), settings, label, broken)
        if found.warning:
            warnings.warn(found.warning, stacklevel=2)
        self._all, self._codes = found, codes(found.labels)
        self._splits, copies = without_copies(found.where, split_rows(found.splits), found.ids)
        self.notes: dict[str, Any] = {COPIES: len(copies)} if len(copies) else {}
        if limit is not None:
            self._splits = {name: self._sample(rows, limit, seed) for name, rows in self._splits.items()}
        self._select(TRAIN if TRAIN in self._splits else next(iter(self._splits)))
        if heldout:
            self._hold_out(heldout, seed)
        self._count(found)

    def _select(self, split: str) -> None:
        self._name, self._rows = split, self._splits[split]
        self.columns = ["image", *(["label"] if self._all.has_classes else []), "path"]
        self.__dict__.pop("fingerprint", None)

    def _sample(self, rows: Ids, limit: int, seed: int) -> Ids:
        if len(rows) <= limit:
            return rows
        return rows[drawn(self._all.ids[rows], self._codes[rows], limit / len(rows), seed, leave=False)]

    def _hold_out(self, heldout: float, seed: int) -> None:
        if HELD in self._splits:
            raise InputError(f"{self.where()}: has a split 'heldout' already; leave heldout={heldout:g} out")
        rows = self._rows
        size = checked_size(self._where, heldout, len(rows))
        share = heldout if heldout < 1 else size / len(rows)
        out = drawn(self._all.ids[rows], self._codes[rows], share, seed, leave=True)
        if not out.any():
            distinct = len(np.unique(self._all.ids[rows]))
            why = "as no class has two distinct ones; add pictures, or leave the classes out (label=null)"
            if distinct == 1:
                why = "as all are equal; add other pictures" if len(rows) > 1 else "as it is the only one; add pictures"
            raise InputError(
                f"{self.where()}: heldout={heldout:g} of {len(rows)} pictures: none can be held out, {why}"
            )
        self._splits |= {self._name: rows[~out], HELD: rows[out]}
        self._select(self._name)
        reached = out.mean()
        if abs(reached - share) > 0.1 * share:
            self.notes["held out"] = f"held out {reached:.1%}, asked {share:.1%}: at least one picture of each class"

    def _count(self, found: LabelledPictures) -> None:
        """Note how many pictures and classes there are."""
        counts: dict[str, Any] = {name: len(rows) for name, rows in self._splits.items()}
        if found.has_classes:
            counts["classes"] = len({name for name in found.labels if name is not None})
        self.notes = {**counts, HELD: counts.get(HELD, 0), **self.notes, **found.notes}

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def found(self) -> LabelledPictures:
        """All pictures of the path, also those that are left out of training because another split has them."""
        return self._all

    @property
    def splits(self) -> list[str]:
        """The names that `split` knows."""
        return list(self._splits)

    def split(self, name: str) -> Images:
        """Return the pictures of one split; "dev", "val" and the like are "validation".

        Errors: InputError for an unknown name, with the known ones.
        """
        other = copy.copy(self)
        other._select(known_split(name, self._splits, self.where(), "pictures"))
        return other

    def pool(self, split: str) -> list[Images]:
        """Return the pictures of all other splits, among which those of a split are to be found, too."""
        judged = self.split(split)._name
        return [self.split(name) for name in self._splits if name != judged]

    def where(self, row: int | None = None) -> str:
        """Return the name of the set, or of one of its pictures, for errors."""
        return self._where if row is None else f"{self._where}: {self._all.paths[self._rows[row]]}"

    def column(self, name: str) -> Column:
        """Return a column, (n,). Errors: InputError for an unknown name, with the known ones."""
        if name not in self.columns:
            raise InputError(f"{self.where()}: no column {name!r}; {nearest(name, self.columns)}")
        if name == "image":
            return PictureColumn(name, self._all.pictures, self._all.rows[self._rows])
        cells = self._all.labels if name == "label" else self._all.paths
        return ListColumn(name, [cells[row] for row in self._rows.tolist()])

    def _fingerprint(self) -> str:
        rows = self._rows
        labels = [self._all.labels[row] for row in rows.tolist()] if self._all.has_classes else []
        return fingerprint("images 1", self._all.ids[rows], str(labels), str([self._all.paths[row] for row in rows]))
