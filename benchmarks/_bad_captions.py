"""Pictures with captions that are damaged: the bad inputs of `bad_input.py` that `data.name=image_text` reads."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Damage = Callable[[Path], object]
Row = dict[str, Any]
TABLE, COCO, TAR = "captions.jsonl", "captions.json", "captions.tar"


def picture(seed: int) -> bytes:
    """Return a small PNG."""
    from PIL import Image

    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def rows(n: int = 24) -> list[Row]:
    """Return two captions of each of n pictures."""
    return [{"image": f"{i}.png", "caption": f"caption {k} of picture {i}"} for i in range(n) for k in range(2)]


def table(change: Callable[[list[Row]], Any]) -> Damage:
    """Write pictures, and a table of their captions that is changed."""

    def make(folder: Path) -> None:
        for i in range(24):
            (folder / f"{i}.png").write_bytes(picture(i))
        found = change(rows())
        text = "".join(json.dumps(row) + "\n" for row in found) if isinstance(found, list) else found
        (folder / TABLE).write_text(text, encoding="utf-8")

    return make


def of_row(number: int = 5, **cells: Any) -> Damage:
    return table(lambda found: [row | cells if i == number else row for i, row in enumerate(found)])


def coco(**changes: Any) -> Damage:
    """Write pictures, and COCO's captions of them that are changed."""

    def make(folder: Path) -> None:
        table(lambda found: found)(folder)
        images = [{"id": i, "file_name": f"{i}.png"} for i in range(24)]
        annotations = [{"id": i, "image_id": i // 2, "caption": row["caption"]} for i, row in enumerate(rows())]
        content = {"images": images, "annotations": annotations}
        for name, change in changes.items():
            content[name] = change(content[name])
        (folder / COCO).write_text(json.dumps(content), encoding="utf-8")

    return make


def tar(members: dict[str, bytes] | None = None, cut: int | None = None) -> Damage:
    """Write a tar of pictures and texts, and further members. cut: the bytes of it that are written."""

    def make(folder: Path) -> None:
        found = {f"{i}.png": picture(i) for i in range(24)}
        found |= {f"{i}.txt": f"caption of picture {i}".encode() for i in range(24)}
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as file:
            for name, data in (found | (members or {})).items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                file.addfile(info, io.BytesIO(data))
        (folder / TAR).write_bytes(stream.getvalue()[:cut])

    return make


def removed(damage: Damage, name: str) -> Damage:
    def make(folder: Path) -> None:
        damage(folder)
        (folder / name).unlink()

    return make


def replaced(damage: Damage, name: str, content: bytes) -> Damage:
    def make(folder: Path) -> None:
        damage(folder)
        (folder / name).write_bytes(content)

    return make


def linked(damage: Damage, name: str, target: str) -> Damage:
    def make(folder: Path) -> None:
        removed(damage, name)(folder)
        (folder / name).symlink_to(target)

    return make


def damages() -> Iterator[tuple[str, str, Damage]]:
    """Yield the file that is read, what is wrong with it, and what makes it."""
    good = table(lambda found: found)
    of_table: dict[str, Damage] = {
        "a picture that is missing": removed(good, "3.png"),
        "a broken picture": replaced(good, "3.png", picture(3)[:90]),
        "an empty picture": replaced(good, "3.png", b""),
        "a link for a picture": linked(good, "3.png", "/etc/hostname"),
        "no picture at all": table(lambda found: [row | {"image": f"no {row['image']}"} for row in found]),
        "a path out of the folder": of_row(image="../../etc/passwd.png"),
        "an absolute path": of_row(image="/etc/passwd.png"),
        "a path with a zero": of_row(image="a\0b.png"),
        "a path of 5,000 letters": of_row(image="a" * 5000 + ".png"),
        "a path that is no picture": of_row(image=TABLE),
        "control characters in a path": of_row(image="\x1b[2J\u202e.png"),
        "no path": of_row(image=None),
        "an empty caption": of_row(caption=" "),
        "no caption": of_row(caption=None),
        "lists of numbers": table(lambda found: [row | {"caption": [1, 2]} for row in found]),
        "lists with an empty caption": table(lambda found: [row | {"caption": ["a", ""]} for row in found]),
        "empty lists": table(lambda found: [row | {"caption": []} for row in found]),
        "other columns": table(lambda found: [{"a": row["image"], "b": row["caption"]} for row in found]),
        "one picture": table(lambda found: found[:2]),
        "cut": table(lambda found: json.dumps(found[0]) + "\n" + json.dumps(found[1])[:20]),
    }
    of_coco: dict[str, Damage] = {
        "an unknown image id": coco(annotations=lambda found: [*found, {"image_id": 999, "caption": "a"}]),
        "an id of a list": coco(images=lambda found: [*found, {"id": [1], "file_name": "a.png"}]),
        "an id twice": coco(images=lambda found: [*found, {"id": 0, "file_name": "other.png"}]),
        "no file name": coco(images=lambda found: [*found, {"id": 77}]),
        "boxes": coco(annotations=lambda _: [{"image_id": 0, "bbox": [1, 2]}]),
        "annotations of numbers": coco(annotations=lambda _: [1, 2]),
        "no annotation": coco(annotations=lambda _: []),
        "nested 20,000 deep": replaced(good, COCO, b'{"annotations": ' + b"[" * 20_000 + b"]" * 20_000 + b"}"),
        "cut in a list": replaced(good, COCO, b'{"images": [{"id": 1, "file_name": "a.png"}, '),
        "Latin-1": replaced(good, COCO, b'{"annotations": "\xe4"}'),
    }
    of_tar: dict[str, Damage] = {
        "two texts": tar({"3.json": b'{"caption": "another"}'}),
        "two pictures": tar({"3.jpg": picture(3)}),
        "a text without a picture": tar({"99.txt": b"alone"}),
        "a path out of the tar": tar({"../99.txt": b"out", "../99.png": picture(99)}),
        "an empty text": tar({"99.png": picture(99), "99.txt": b" "}),
        "Latin-1": tar({"99.png": picture(99), "99.txt": b"\xe4"}),
        "JSON nested 20,000 deep": tar({"99.png": picture(99), "99.json": b"[" * 20_000}),
        "JSON of a number": tar({"99.png": picture(99), "99.json": b"9" * 9000}),
        "cut": tar(cut=20_000),
        "empty": tar(cut=0),
        "zeros": replaced(good, TAR, bytes(20_000)),
        "compressed": replaced(good, TAR, b"\x1f\x8b" + bytes(200)),
    }
    for path, found in ((TABLE, of_table), (COCO, of_coco), (TAR, of_tar)):
        yield from ((path, name, make) for name, make in found.items())
