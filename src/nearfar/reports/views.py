"""The views that a model sees in training, for people: a sheet of pictures as a page or one picture, texts in lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.abilities import ARRAYS
from nearfar.column import kind_of
from nearfar.pictures.decode import Picture
from nearfar.pictures.sprite import png, reduced, sprite
from nearfar.printable import printable_line, show
from nearfar.reports.page import template
from nearfar.reports.sheets import Sprites, view_sheet
from nearfar.storage.folders import write_file_atomically, write_text
from nearfar.training.seen_views import SeenExample, SeenView

WHAT = "views"  # the file of their tiles begins so
_MOST = 128  # pixels of a tile's longer side, at most
_GAP, _WIDE_GAP, _EDGE = 4, 16, 16  # pixels of a drawn sheet: between views, after the source, around all
_LEAST = 64  # pixels of a tile of a drawn sheet: smaller pictures are enlarged by whole steps
_PAPER = 253  # of the drawn sheet, nearly white


def sheet_facts(
    examples: Sequence[SeenExample], names: Sequence[str], most: int = _MOST
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return a sheet of examples for `results.json` and pages, and the file of its tiles.

    names: of the examples. most: pixels of a tile's side; the largest view fills it, a larger source is reduced to it.

    {"file", "tile", "columns", "rows", "sizes": of the views in pixels, "examples": [{"row", "name", "tile", "text",
    "views": [{"name", "epoch", "tile", "text"}]}]}. A cell that is no picture is a text, or what it is. Without any
    picture there is no file.
    """
    pictures: list[Picture] = []

    def shown(cell: Any) -> dict[str, Any]:
        if kind_of(cell) == "image":
            pictures.append(np.asarray(cell))
            return {"tile": len(pictures) - 1}
        return {"text": f"{kind_of(cell)} {np.shape(cell)}" if kind_of(cell) in ARRAYS else str(cell)}

    several = len({view.epoch for one in examples for view in one.views}) > 1
    content = []
    for one, name in zip(examples, names, strict=True):
        views = [{"name": _name(view, several), "epoch": view.epoch + 1, **shown(view.cell)} for view in one.views]
        source = {} if one.source is None else shown(one.source)
        content.append({"row": one.row, "name": name, **source, "views": views})
    sizes = _sizes(examples)
    facts: dict[str, Any] = {"sizes": sizes, "examples": content}
    made = sprite(pictures, min([most, *sizes[:1]]))
    return (facts, {}) if made is None else ({**made.layout(WHAT), **facts}, {made.file(WHAT): made.data})


def names_of(data: Any, examples: Sequence[SeenExample]) -> list[str]:
    """Return what people call the examples' rows: their paths, where the data has paths; "" otherwise."""
    if "path" not in data.columns:
        return [""] * len(examples)
    paths = data.column("path")
    rows = [one.row if isinstance(one.row, int) else 0 for one in examples]  # of several data sets: "1/3"
    return [str(paths.read(row - 1, row)[0]) if 0 < row <= len(paths) else "" for row in rows]


def page(facts: dict[str, Any], pictures: dict[str, bytes], recipe: str) -> str:
    """Return the sheet as a page that loads nothing. facts, pictures: of `sheet_facts`; recipe: its text."""
    sprites = Sprites(pictures)
    sheet = view_sheet(facts, sprites)
    return template("views.html.j2").render(facts=facts, sheet=sheet, sprites=sprites, recipe=recipe)


def drawn(examples: Sequence[SeenExample]) -> bytes:
    """Return the sheet as a PNG: an example a line, its source first, then its views. Cells must be pictures."""
    lines = [([] if one.source is None else [one.source], [view.cell for view in one.views]) for one in examples]
    most = min([_MOST, *_sizes(examples)[:1]])
    largest = max(max(reduced(np.asarray(c), most).shape[:2]) for first, rest in lines for c in (*first, *rest))
    side = largest * max(1, -(-_LEAST // largest))
    tiles = max(len(rest) for _, rest in lines)
    has_source = any(first for first, _ in lines)
    left = _EDGE + (side + _WIDE_GAP if has_source else 0)
    canvas = np.full((2 * _EDGE + len(lines) * (side + _GAP) - _GAP, left + tiles * (side + _GAP) - _GAP + _EDGE, 3),
                     _PAPER, np.uint8)  # fmt: skip
    for i, (first, rest) in enumerate(lines):
        top = _EDGE + i * (side + _GAP)
        places = [(cell, _EDGE) for cell in first] + [(cell, left + j * (side + _GAP)) for j, cell in enumerate(rest)]
        for cell, at in places:
            picture = _enlarged(reduced(np.asarray(cell), most), side)
            height, width = picture.shape[:2]
            y, x = top + (side - height) // 2, at + (side - width) // 2
            canvas[y : y + height, x : x + width] = picture
    return png(canvas)


def write(
    path: Path, facts: dict[str, Any], pictures: dict[str, bytes], examples: Sequence[SeenExample], recipe: str
) -> None:
    """Write the sheet: a PNG where the name ends in .png, else a page."""
    if path.suffix.lower() != ".png":
        write_text(path, page(facts, pictures, recipe))
        return
    with write_file_atomically(path) as new:
        new.write_bytes(drawn(examples))


def show_texts(facts: dict[str, Any]) -> None:
    """Print each example's text, and its views below."""
    for one in facts["examples"]:
        show(f"row {one['row']}", *([f"  source  {_cut(one['text'])}"] if "text" in one else []))
        for view in one["views"]:
            show(f"  {view['name']}  {_cut(view.get('text', 'a picture'))}")
        show("")


def _sizes(examples: Sequence[SeenExample]) -> list[int]:
    """Return the sides of the views that are pictures, in pixels, the largest first."""
    cells = [view.cell for one in examples for view in one.views if kind_of(view.cell) == "image"]
    return sorted({int(cell.shape[0]) for cell in cells}, reverse=True)


def _cut(text: str, most: int = 400) -> str:
    text = printable_line(" ".join(text.split()))
    return text if len(text) <= most else text[: most - 2].rstrip() + " \u2026"


def _name(view: SeenView, several: bool) -> str:
    """Return what stands below a view: its epoch where there are several, and its name where that says a side."""
    own = "" if several and view.name.startswith("view") else view.name
    return ", ".join(part for part in (f"epoch {view.epoch + 1}" if several else "", own) if part)


def _enlarged(picture: Picture, side: int) -> Picture:
    """Return a picture enlarged by whole steps, each pixel a square, as far as it fits into a side."""
    times = max(1, side // max(picture.shape[:2]))
    return picture.repeat(times, 0).repeat(times, 1)
