"""Read a command's DATA, INPUT or CORPUS argument: its content decides what it is, not a flag."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearfar.column import Column, column_kind
from nearfar.column_names import TEXT_COLUMNS
from nearfar.data.beir import is_beir
from nearfar.data.picture_sets.members import is_picture_set
from nearfar.errors import InputError, listed, nearest
from nearfar.evaluation.texts_alone import are_texts_alone, language_task
from nearfar.evaluation.trained_on import SEEN_FILE, trained_on
from nearfar.evaluation.verdict import TRAINED_ON
from nearfar.storage.places import expanded
from nearfar.tasks import Retrieval, Task

if TYPE_CHECKING:
    from nearfar.data.images import Images
    from nearfar.data.table import Table
    from nearfar.model import Model
    from nearfar.positives.columns import Columns


OPTIONS = ("query", "key", "delimiter")  # settings of a table that are options of commands, too
GRADED = {"sentence1", "sentence2", "score"}  # columns of graded sentence pairs
JUDGED = ("test", "heldout", "validation")  # the split to judge by where none is named: the first one that there is
HELD_OUT = 0.2  # of pictures without any of these: a class is told from pictures that are not judged


@dataclass(frozen=True)
class Reading:
    """How a table is read: settings of `data.Table` (but for its path) and of `positives.Columns`, by name."""

    data: Mapping[str, Any] = field(default_factory=dict)
    positives: Mapping[str, Any] = field(default_factory=dict)
    no_training: bool = False  # no metric looks at training cells, so pictures with classes are judged whole

    def table(self, path: str, **usual: Any) -> Table:
        """Return a path as a table. usual: as of `images`. Errors: those of the data; an unknown setting."""
        from nearfar import data, registry

        settings = registry.coerced_settings(data.Table, self.data, "data", but=("path",))
        read: Table = data.Table(path, **{**usual, **settings})
        return read

    def images(self, path: str, **usual: Any) -> Images:
        """Return a path as pictures. usual: settings that hold unless others are given. Errors: those of the data."""
        from nearfar import data, registry

        settings = registry.coerced_settings(data.Images, self.data, "data", but=("path",))
        read: Images = data.Images(path, **{**usual, **settings})
        return read

    def columns(self, table: Table, **more: Any) -> Columns:
        """Return a table as pairs; more: further settings. Errors: those of the columns; an unknown setting."""
        from nearfar import positives, registry

        settings = registry.coerced_settings(positives.Columns, self.positives, "positives", but=("data",))
        columns: Columns = positives.Columns(table, **{**more, **settings})
        return columns

    def refuse_for_beir(self, path: str) -> None:
        """Refuse settings for a BEIR folder, which has none."""
        paths = [*(f"data.{name}" for name in self.data), *(f"positives.{name}" for name in self.positives)]
        if paths:
            options = [f"--{name}" for one in paths if (name := one.partition(".")[2]) in OPTIONS]
            given = ", ".join([*options, *paths])
            raise InputError(f"{path}: a BEIR folder has no columns to choose; leave out what is given of {given}")


AS_IT_IS = Reading()


def task(path: str, split: str | None, reading: Reading = AS_IT_IS, model: Model | None = None) -> Task:
    """Return DATA as a task: a BEIR folder, sentence pairs with grades or labels, a table of pairs, or pictures.

    For a language model texts without pairs are a task, too (`texts_alone`). Where columns are given, a table is one of
    pairs. The task is named by the file and, of several, the split: "faq.jsonl, split test". model: the one that will
    be judged; where its recipe names this file, and it was trained on rows of the split, the task's notes say so. A
    copy of the file is not recognised.

    Errors: those of the data; a split that it does not have; settings for a BEIR folder.
    """
    found, of_several = _task_and_split(path, split, reading, model)
    name = path if not expanded(path).exists() else expanded(path).resolve().name or path
    notes = dict(found.notes)
    if model is not None and trained_on(model, path, of_several, reading.data):
        notes[TRAINED_ON] = SEEN_FILE
    return replace(found, name=name if of_several is None else f"{name}, split {of_several}", notes=notes)


def _task_and_split(path: str, split: str | None, reading: Reading, model: Model | None) -> tuple[Task, str | None]:
    """Return the task, and its split where the data have several, or may have: in a BEIR folder."""
    from nearfar import data

    if is_beir(Path(path)):
        reading.refuse_for_beir(path)
        return data.Beir(path, split=split or "test").task(), split or "test"
    if is_picture_set(path):
        return _picture_task(path, split, reading)
    table = reading.table(path)
    if model is not None and are_texts_alone(table, reading.positives, model):
        return language_task(table, lambda share: reading.table(path, heldout=share), split, reading.positives, model)
    if not reading.positives and data.LabelledPairs.recognised(table.columns):
        labelled = data.LabelledPairs(table, split=split)
        return labelled.task(), labelled.split if len(table.splits) > 1 else None
    if split is None:
        split = next((name for name in JUDGED if name in table.splits), table.splits[0])
    of_several = split if len(table.splits) > 1 else None
    if not reading.positives and set(table.columns) >= GRADED:
        return data.Similarity(table.split(split)).task(), of_several
    pairs_task = reading.columns(table).task(split)
    return replace(pairs_task, seen=None), of_several  # who knows what this model was trained on


def _picture_task(path: str, split: str | None, reading: Reading) -> tuple[Task, str | None]:
    """Return pictures as a task: to tell the class, or without classes to find each by a random view of it.

    Where no split is there to judge by, a fifth is held out, and the split is None, as a model may have seen it in
    training. Errors: those of the data; `InputError` for classes of the pictures that they are told from.
    """
    from nearfar import positives, registry

    images = reading.images(path)
    whole = split is None and not set(JUDGED) & set(images.splits)
    if whole and not reading.no_training:
        images = reading.images(path, heldout=HELD_OUT)
    split = split or next((name for name in JUDGED if name in images.splits), images.splits[0])
    labelled = "label" in images.columns
    if labelled and not reading.no_training and images.split(split).fingerprint == images.fingerprint:
        raise InputError(
            f"{path}: classes are told from split {split!r} itself, where each picture is its own nearest neighbour; "
            f"judge by another split ({listed(images.splits)}), or hold pictures out: data.heldout={HELD_OUT:g}"
        )
    settings = registry.coerced_settings(positives.Views, reading.positives, "positives", but=("data",))
    if not labelled:
        settings = {"views": [{"name": "image", "times": 2}], **settings}
    found = positives.Views(images, **settings).tasks(split)[-1]
    return (replace(found, seen=None) if isinstance(found, Retrieval) else found), None if whole else split


def pairs(
    path: str, split: str | None, reading: Reading = AS_IT_IS, *, usual: str = "train", **more: Any
) -> Columns | Retrieval:
    """Return DATA as pairs: a BEIR folder's judgements, or the columns of a table.

    usual: the split of a BEIR folder where none is given. more: settings of `positives.Columns`.

    Errors: those of the data; settings for a BEIR folder, which has no columns.
    """
    from nearfar import data

    if is_beir(Path(path)):
        reading.refuse_for_beir(path)
        task: Retrieval = data.Beir(path, split=split or usual).task()
        return task
    table = reading.table(path)
    return reading.columns(table if split is None else table.split(split), **more)


def table_or_path(path: str, reading: Reading) -> Table | str:
    """Return DATA as a table, where there are settings to read it by, else as it is given.

    Errors: those of the data; settings for a BEIR folder.
    """
    if not reading.data:
        return path
    if is_beir(Path(path)):
        reading.refuse_for_beir(path)
    return reading.table(path)


def text_model(name: str, use: str) -> Model:
    """Return the model in a folder. Errors: `InputError` for one that does not read text; `use` says what would.

    Those of `Model.load`, too.
    """
    from nearfar.abilities import reads, side
    from nearfar.model import Model
    from nearfar.sides import ROLES, kinds_read

    loaded = Model.load(name)
    for role in ROLES:
        if (known := reads(side(loaded.encoder, role))) and "text" not in known:
            kinds = kinds_read(side(loaded.encoder, role))
            raise InputError(f"{name}: a model whose {role} side reads {kinds}, not text; {use}: give a text model")
    return loaded


def texts(
    path: str,
    column: str | None,
    reading: Reading = AS_IT_IS,
    *,
    split: str | None = None,
    likely: str | None = None,
) -> tuple[list[str], Column]:
    """Return ids and texts of INPUT or CORPUS: a BEIR corpus, or a column of a table; a .txt file is one.

    Of pictures these are their paths and themselves.

    split: of a table that has several. By default the training rows where files name the splits, and all rows where a
    column does, as most of what is to be found is in no training. likely: the column where `column` is not given, if
    the table has it.

    Errors: those of the data; a table without a column of a usual name, where `column` is not given; settings, a column
    or a split for what is no table.
    """
    from nearfar import data

    if is_beir(Path(path)):
        reading.refuse_for_beir(path)
        refuse_for(path, "a BEIR folder has one corpus, whole", column, split)
        documents: tuple[list[str], Column] = data.Beir.corpus(path)
        return documents
    if is_picture_set(path):
        refuse_for(path, "pictures are read as they are", column, None)
        images = reading.images(path)
        images = images if split is None else images.split(split)
        return images.column("path").read(0, len(images)), images.column("image")
    table = _searched(path, reading, split)
    names = TEXT_COLUMNS if likely is None else (likely, *TEXT_COLUMNS)
    name = column or next((c for c in names if c in table.columns), None)
    if name is None:
        raise InputError(f"{path}: which column holds the texts? give --column; columns: {listed(table.columns)}")
    id_column = next((c for c in ("_id", "id") if c in table.columns), None)
    text_column = table.text(name)
    ids = range(1, len(table) + 1) if id_column is None else table.column(id_column).read(0, len(table))
    return [str(cell) for cell in ids], text_column


def values(path: str, column: str, reading: Reading = AS_IT_IS, *, split: str | None = None) -> list[Any]:
    """Return the cells of another column of what `texts` reads, in the same order; of pictures their classes, "label".

    Errors: those of the data; `InputError` for an unknown column, and for a BEIR folder, which has none.
    """
    if is_beir(Path(path)):
        raise InputError(f"{path}: a BEIR folder has no columns beside its texts; leave {column!r:.60} out")
    pictures = is_picture_set(path)
    found: Table | Images = reading.images(path) if pictures else _searched(path, reading, split)
    found = found.split(split) if pictures and split is not None else found
    if column not in found.columns:
        raise InputError(f"{path}: {column!r:.60}: no such column; {nearest(column, found.columns)}")
    return found.column(column).read(0, len(found))


def _searched(path: str, reading: Reading, split: str | None) -> Table:
    """Return the rows of a table that a search has, as `texts` says."""
    table = reading.table(path)
    if split is not None:
        return table.split(split)
    return table if {"split_column", "heldout"} & set(reading.data) else table.rows_of_all_splits() or table


def query(given: str, corpus: Column, known: Collection[str]) -> Any:
    """Return a query as a model reads it: the picture of a path, or the words. known: the kinds that the model reads.

    A picture's name is a path where pictures are searched; where texts are, one of a file that is there, for a model
    that reads pictures.

    Errors: those of `picture`.
    """
    from nearfar.pictures.decode import is_picture_name

    if not is_picture_name(given):
        return given
    searched = column_kind(corpus) == "image" or ("image" in known and expanded(given).is_file())
    return picture(given) if searched else given


def picture(given: str) -> Any:
    """Return the picture in a file. Errors: `InputError` for one that is not there, or cannot be used."""
    from nearfar.pictures.decode import BadPictureError, decoded

    place = expanded(given)
    try:
        return decoded(place.read_bytes())
    except OSError as error:
        raise InputError(f"{given}: cannot be read ({error.strerror}); give a picture's path") from error
    except BadPictureError as error:
        raise InputError(f"{given}: {error}; give another picture") from error


def refuse_for(path: str, what: str, column: str | None, split: str | None) -> None:
    """Refuse a column or a split of what has none, and would be read whole in spite of them."""
    given = [f"{name} {value}" for name, value in (("column", column), ("split", split)) if value is not None]
    if given:
        raise InputError(f"{path}: {what}; leave {' and '.join(given)} out")
