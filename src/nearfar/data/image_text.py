"""ImageText: pictures with captions, of a table, COCO's captions, webdataset's tars or a Hugging Face data set."""

from __future__ import annotations

import copy
import math
import warnings
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from nearfar.coerce import refuse_seed
from nearfar.column import Column, Ids, ListColumn, content_ids, exact_ids
from nearfar.data.captions.coco import coco_captions
from nearfar.data.captions.pictures import NamedPictures, pictures_in, pictures_of
from nearfar.data.captions.rows import CaptionRows
from nearfar.data.captions.shards import Shards, shard_paths
from nearfar.data.captions.tables import saved_captions, table_captions
from nearfar.data.picture_sets.layout import TRAIN
from nearfar.data.picture_sets.members import SHOWN, WANTED, checked_faults, picture_notes
from nearfar.data.picture_sets.reading import ReadSettings
from nearfar.data.picture_sets.saved import SavedSet, is_saved
from nearfar.data.picture_sets.split import COPIES, HELD, Mask, drawn, without_copies
from nearfar.data.picture_sets.store import PictureColumn
from nearfar.data.table import Table
from nearfar.data.tables.files import FORMATS, format_suffix, known_split
from nearfar.data.tables.split import checked_size
from nearfar.data.tables.split_column import SPLIT_COLUMN
from nearfar.errors import InputError, nearest
from nearfar.pictures.decode import LEAST_SIDE
from nearfar.storage.fingerprint import fingerprint
from nearfar.storage.places import expanded


class ImageText:
    """A set of n captions, with the columns `image`, uint8 (h, w, 3), `caption` and `path`: a row for each caption.

    `path` is one of

    - a table, or a folder of tables (`data.Table`), with a column of pictures' paths and one of captions; a cell holds
      one caption or a list of them. A column `split`, or the names of files, are splits;
    - COCO's captions, a JSON object with the lists `images` (id, file_name) and `annotations` (image_id, caption);
    - webdataset's tars without compression, one, a folder of them, or a name in braces, "shards-{000..011}.tar": the
      members KEY.jpg and KEY.txt, or KEY.json with a caption, are a pair. Nothing is unpacked;
    - a data set with a column of type Image that `datasets` saved to disk.

    The rows of one picture share it: it is decoded once (`data.Images`), and its content id is the same in all of them,
    as in rows of another picture with equal pixels. So with `positives: {name: columns, query: image, key: caption}`,
    or the other way round, all captions of a picture are positives of it, and none is ever a negative.

    The data set itself is the training rows. `heldout`, a fraction below 1 or a number of pictures, takes pictures with
    all their captions out of training as the split "heldout", drawn by a hash of `seed` and of their content. A picture
    of training that is equal to one of another split is left out, with its captions. A split is judged by its own
    pictures and captions alone, as the literature's recall@k is.

    Args:
        path: see above. heldout, seed: see above.
        pictures: the folder or archive (zip, tar) of the pictures that a table or COCO's captions name; by default,
            paths are relative to the folder of the table. No path leads out of it, and no link is followed.
        image: the column of paths; recognised: image, picture, file_name, image_path and the like.
        caption: the column of captions; recognised: caption, captions, text, sentences and the like. Of webdataset's
            tars: "txt", or the field of the JSON.
        other_captions: a further column of that name, which holds for each caption the list of the others of its
            picture: pairs to learn words from before pictures are seen (recipe `caption_words`).
        split_column, delimiter, header: of a table, see `data.Table`.
        limit: about so many pictures of each split, a sample by content hash; null for all.
        side, broken, store_gb, workers, progress: see `data.Images`.

    Errors: `InputError`: those of `data.Table` and `data.Images`; no picture that has a caption; too many that are
    missing or broken, by row and path; an empty caption, or one that is no text; an unknown split or column.

        pairs = ImageText("captions.tsv", pictures="photographs.zip")
        pairs.column("image").read(0, 1)[0].shape, pairs.column("caption").read(0, 1)  # (256, 341, 3), ["a dog runs"]

    When not to use it: for pictures with classes, see `Images`.
    """

    columns: list[str]
    fingerprint: str = cast("str", cached_property(lambda self: self._fingerprint()))

    def __init__(
        self,
        path: str | Path,
        *,
        pictures: str | Path | None = None,
        image: str | None = None,
        caption: str | None = None,
        other_captions: bool = False,
        split_column: str | None = SPLIT_COLUMN,
        delimiter: str | None = None,
        header: list[str] | None = None,
        heldout: float = 0.0,
        limit: int | None = None,
        side: int | None = 256,
        broken: float = 0.01,
        store_gb: float = 16.0,
        seed: int = 0,
        workers: int | None = None,
        progress: bool | None = None,
    ) -> None:
        for name, value, least in (("limit", limit, 1), ("side", side, LEAST_SIDE), ("workers", workers, 1)):
            if value is not None and value < least:
                raise InputError(f"data.image_text.{name}: {value} must be at least {least}")
        if not 0 <= broken <= 1:
            raise InputError(f"data.image_text.broken: {broken:g} is a share, 0 to 1")
        if not 0 <= store_gb < math.inf:
            raise InputError(f"data.image_text.store_gb: {store_gb:g} is no size; give gigabytes, 0 to keep none")
        refuse_seed(seed, "data.image_text.seed")
        settings = ReadSettings(side, store_gb * 1e9, workers, progress)
        table = {"split_column": split_column, "delimiter": delimiter, "header": header}
        self._with_others = other_captions
        self._all, found = _read(path, pictures, image, caption, table, settings)
        said = self._told(found, broken)
        self._pictures, self._of_row = found.pictures, found.rows[self._all.picture]
        usable = {name: rows[self._of_row[rows] >= 0] for name, rows in self._all.splits.items()}
        self._ids = np.where(self._of_row >= 0, found.pictures.ids[self._of_row], 0)  # (n,)
        splits, copies = without_copies(self.where(), {s: rows for s, rows in usable.items() if len(rows)}, self._ids)
        self._splits = {name: self._sample(rows, limit, seed) for name, rows in splits.items()} if limit else splits
        self._select(TRAIN if TRAIN in self._splits else next(iter(self._splits)))
        self.notes: dict[str, Any] = {}
        if heldout:
            self._hold_out(heldout, seed)
        self._count(found, said, copies)

    def _told(self, found: NamedPictures, broken: float) -> str:
        """Return a sentence about pictures that cannot be used, and warn of them."""
        first, names, where = self._all.first_rows(), self._all.names, f"{self.where()}: "
        shown = {i: self._all.locate(int(first[i])).removeprefix(where) for i in list(found.faults)[:SHOWN]}
        place = {str(i): f"{row}: {names[i]!r:.80}" for i, row in shown.items()}
        faults = [(str(i), fault) for i, fault in found.faults.items()]
        said = checked_faults(Path(self.where()), faults, len(names) - len(faults), broken, place.__getitem__)
        if said:
            warnings.warn(f"{self.where()}: {said}", stacklevel=3)
        return said

    def _select(self, split: str) -> None:
        self._name, self._rows = split, self._splits[split]
        self.columns = ["image", "caption", "path", *["other_captions"] * self._with_others]
        self._kept: dict[str, Column] = {}
        self.__dict__.pop("fingerprint", None)

    def _drawn(self, rows: Ids, share: float, seed: int, *, leave: bool) -> Mask:
        """Return which rows are of the pictures that are drawn."""
        ids, picture = np.unique(self._ids[rows], return_inverse=True)
        chosen: Mask = drawn(ids, np.zeros(len(ids), np.int64), share, seed, leave=leave)[picture]
        return chosen

    def _sample(self, rows: Ids, limit: int, seed: int) -> Ids:
        pictures = len(np.unique(self._ids[rows]))
        return rows[self._drawn(rows, limit / pictures, seed, leave=False)] if pictures > limit else rows

    def _hold_out(self, heldout: float, seed: int) -> None:
        if HELD in self._splits:
            raise InputError(f"{self.where()}: has a split 'heldout' already; leave heldout={heldout:g} out")
        rows = self._rows
        pictures = len(np.unique(self._ids[rows]))
        size = checked_size(self.where(), heldout, pictures)
        if pictures == 1:
            raise InputError(
                f"{self.where()}: heldout={heldout:g} of one picture: none can be held out; add other pictures"
            )
        out = self._drawn(rows, heldout if heldout < 1 else size / pictures, seed, leave=True)
        self._splits = {**self._splits, self._name: rows[~out], HELD: rows[out]}
        self._select(self._name)

    def _count(self, found: NamedPictures, said: str, copies: Ids) -> None:
        """Note how many captions, pictures and captions of a picture there are, and what is left out."""
        notes: dict[str, Any] = {name: len(rows) for name, rows in self._splits.items()}
        notes[HELD] = notes.get(HELD, 0)
        pictures = {name: len(np.unique(self._ids[rows])) for name, rows in self._splits.items()}
        notes["distinct pictures"] = ", ".join(f"{count:,} {name}" for name, count in pictures.items())
        rows = np.concatenate(list(self._splits.values()))
        each = np.unique(self._ids[rows], return_counts=True)[1]
        low, high = int(each.min()), int(each.max())
        spread = f"{low:,} to {high:,}, {each.mean():,.1f} on average"
        notes["captions a picture"] = spread if low < high else f"{low:,}"
        equal = len(rows) - len({(self._ids[row], self._all.texts[row]) for row in rows.tolist()})
        counts = {
            "rows equal to another one, of one picture and one caption": equal,
            "pictures without a caption, left out": self._all.uncaptioned + found.unnamed,
            COPIES: len(np.unique(self._of_row[copies])),
        }
        notes |= {what: count for what, count in counts.items() if count}
        self.notes = {**notes, **self._all.notes, **picture_notes(self._pictures, len(found.faults), said)}

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def splits(self) -> list[str]:
        """The names that `split` knows."""
        return list(self._splits)

    def split(self, name: str) -> ImageText:
        """Return the rows of one split; "dev", "val" and the like are "validation".

        Errors: InputError for an unknown name, with the known ones.
        """
        other = copy.copy(self)
        other._select(known_split(name, self._splits, self.where(), "pictures"))
        return other

    def where(self, row: int | None = None) -> str:
        """Return the name of the set, or of one of its rows (given from 0), for errors."""
        return self._all.where if row is None else self._all.locate(int(self._rows[row]))

    def column(self, name: str) -> Column:
        """Return a column, (n,). Errors: InputError for an unknown name, with the known ones."""
        if name not in self.columns:
            raise InputError(f"{self.where()}: no column {name!r}; {nearest(name, self.columns)}")
        if name not in self._kept:
            self._kept[name] = self._column(name)
        return self._kept[name]

    def _column(self, name: str) -> Column:
        if name == "image":
            return PictureColumn(name, self._pictures, self._of_row[self._rows])
        rows = self._rows.tolist()
        if name == "caption":
            return ListColumn(name, [self._all.texts[row] for row in rows])
        if name == "other_captions":
            return ListColumn(name, self._other_captions())
        names, picture = self._all.names, self._all.picture
        return ListColumn(name, [names[picture[row]] for row in rows])

    def _other_captions(self) -> list[list[str]]:
        """Return for each row the captions of its picture that are not its own, each once."""
        ids, of_picture = self._ids[self._rows].tolist(), dict[int, dict[str, None]]()
        texts = [self._all.texts[row] for row in self._rows.tolist()]
        for picture, text in zip(ids, texts):
            of_picture.setdefault(picture, {})[text] = None
        return [[other for other in of_picture[picture] if other != text] for picture, text in zip(ids, texts)]

    def _fingerprint(self) -> str:
        captions, paths = exact_ids(self.column("caption")), content_ids(self.column("path"))
        return fingerprint("image text 1", self._ids[self._rows], captions, paths)


def _read(
    path: str | Path,
    pictures: str | Path | None,
    image: str | None,
    caption: str | None,
    table: dict[str, Any],
    settings: ReadSettings,
) -> tuple[CaptionRows, NamedPictures]:
    """Return the captions of a path, which may be of any form, and the pictures that they name."""
    place = expanded(path)
    saved, tables = is_saved(place), place.is_dir() and any(format_suffix(file) in FORMATS for file in place.iterdir())
    tars = [] if saved or tables else shard_paths(place)
    if (saved or tars) and pictures is not None:
        raise InputError(f"data.image_text.pictures: {path} has its pictures in it; leave pictures={pictures} out")
    if (saved or tars) and image is not None:
        raise InputError(f"data.image_text.image: {path} has its pictures in it; leave image={image} out")
    if saved:
        archive = SavedSet(place, WANTED)
        rows = saved_captions(Table(place, split_column=table["split_column"]), archive, caption)
        return rows, pictures_of(rows.names, archive, settings)
    if tars:
        shards = Shards(place, tars, caption)
        rows = shards.captions()
        return rows, pictures_of(rows.names, shards, settings)
    found = None if place.is_dir() else coco_captions(place)
    captions = found or table_captions(Table(path, **table), image, caption)
    top = expanded(pictures) if pictures is not None else place if place.is_dir() else place.parent
    return captions, pictures_in(top, captions.names, settings)
