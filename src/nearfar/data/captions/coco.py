"""COCO's captions: one JSON object with the lists `images` (id, file_name) and `annotations` (image_id, caption)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nearfar.data.captions.rows import CaptionRows, captions_of
from nearfar.data.tables.files import check_file, explain_read_errors, first_line, format_suffix, open_bytes
from nearfar.errors import InputError

LARGEST = 1 << 30  # bytes of such a file, decompressed; the captions of all of COCO's pictures have a tenth of it
_KEPT = ("images", "annotations", "id", "file_name", "image_id", "caption")  # the rest of COCO's fields is large


def coco_captions(path: Path) -> CaptionRows | None:
    """Return the captions of a file of COCO's form; None for a file of another form, such as JSON Lines.

    Captions are in the order of the annotations, one split, "train".

    Errors: `InputError` for damaged JSON, and by number an image without an id or file name, an annotation of an image
    that is not there, or whose caption is none.
    """
    found = _parsed(path)
    if found is None:
        return None
    names = _file_names(path, found["images"])
    annotations = _objects(path, found, "annotations")
    _refuse_unknown(path, annotations, names)

    def rows() -> Iterator[tuple[str, str, str]]:
        for number, about in enumerate(annotations, 1):
            where = f"{path}: {_called('annotation', number, about)}"
            if "caption" not in about:
                raise InputError(f"{where} has no caption; give the file of captions, such as captions_train2017.json")
            text, *more = captions_of(about["caption"], where) or [""]
            if more or not text:
                raise InputError(f"{where} must have one caption; write an annotation for each")
            yield "train", names[about["image_id"]], text

    def locate(row: int) -> str:
        return f"{path}: {_called('annotation', row + 1, annotations[row])}"

    captioned = {names[about["image_id"]] for about in annotations}
    return CaptionRows.of(str(path), rows(), locate, uncaptioned=len(set(names.values()) - captioned))


def _parsed(path: Path) -> Mapping[str, Any] | None:
    """Return the object that a file of COCO's form is; None for any other file. Only its first line may tell that."""
    if format_suffix(path) != ".json":
        return None
    with explain_read_errors(path):
        check_file(path)
        with open_bytes(path) as stream:
            text = b"\n"
            while text and not text.strip():  # blank lines
                text = stream.readline(LARGEST + 1)
            found, cut = _object(path, text)
            if cut:
                text += stream.read(LARGEST + 1 - len(text))
                if len(text) > LARGEST:
                    raise InputError(f"{path}: one object of more than {LARGEST >> 20} MB; write it as JSON Lines")
                found, cut = _object(path, text)
    if cut:
        raise InputError(f"{path}: the JSON ends in the middle; copy or download it again")
    return found if found is not None and {"images", "annotations"} <= found.keys() else None


def _object(path: Path, text: bytes) -> tuple[Mapping[str, Any] | None, bool]:
    """Return the object that a text is, None for anything else, and whether the text ends within an object."""
    if not text.lstrip().startswith(b"{"):
        return None, False
    try:
        found = json.loads(text.decode("utf-8"), object_hook=lambda one: {key: one[key] for key in _KEPT if key in one})
    except json.JSONDecodeError as error:
        return None, error.pos >= len(error.doc.rstrip()) - 1
    except (ValueError, RecursionError) as error:  # no UTF-8, a number of thousands of digits, lists in lists in lists
        if b'"annotations"' not in text:
            return None, False  # `Table` names the row
        raise InputError(f"{path}: cannot be read as JSON ({first_line(error)}); write it again") from error
    return (found if isinstance(found, dict) else None), False


def _file_names(path: Path, images: Any) -> dict[Any, str]:
    """Return the file name of each image by its id."""
    names: dict[Any, str] = {}
    for number, about in enumerate(_objects(path, {"images": images}, "images"), 1):
        where, key, name = f"{path}: image {number}", about.get("id"), about.get("file_name")
        if not _is_id(key):
            raise InputError(f"{where}: its id is {key!r:.40}; write a number or a text")
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"{where} (id {key!r:.40}): its file_name is {name!r:.40}; write the picture's path")
        if names.setdefault(key, name) != name:
            raise InputError(f"{where}: its id {key!r:.40} is that of {names[key]!r:.60}, too; give each its own")
    return names


def _objects(path: Path, found: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    objects = found[name]
    bad = -1 if not isinstance(objects, list) else next((i for i, o in enumerate(objects) if type(o) is not dict), None)
    if bad is not None:
        what = f"{name!r} is no list" if bad < 0 else f"entry {bad + 1} of {name!r} is {objects[bad]!r:.40}"
        raise InputError(f"{path}: {what}; write a list of objects, as COCO's captions have it")
    return list(objects)


def _refuse_unknown(path: Path, annotations: list[dict[str, Any]], names: Mapping[Any, str]) -> None:
    """Refuse annotations of images that are not there: they would be lost without a word."""
    unknown = [
        number
        for number, about in enumerate(annotations, 1)
        if not _is_id(about.get("image_id")) or about["image_id"] not in names
    ]
    if unknown:
        about, count = annotations[unknown[0] - 1], f"{len(unknown):,} such annotations"
        raise InputError(
            f"{path}: {_called('annotation', unknown[0], about)}: its image_id {about.get('image_id')!r:.40} is "
            f"that of none of the {len(names):,} images ({count}); add the image, or take them out"
        )


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _called(what: str, number: int, about: Mapping[str, Any]) -> str:
    return f"{what} {number}" + (f" (id {about['id']!r:.40})" if "id" in about else "")
