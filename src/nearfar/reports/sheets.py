"""Sheets of pictures on pages: which tile of which sprite stands where, from results that anyone may have written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nearfar.figures import finite, mapping
from nearfar.pictures.sprite import MOST_BYTES, MOST_TILES, data_uri, is_sprite_file
from nearfar.storage.folders import write_file_atomically

FOLDER = "pictures"  # of a run, in which the sprites lie
_BUDGET = 3_200_000  # bytes of the sprites of a page, which as text are a third more: a page has less than 5 MB
_GROUPS = {  # of a contact sheet, in the order shown: name, title, what they are
    "drawn": ("Drawn by the seed", "Not picked: so it usually goes."),
    "best": ("Among the best", "What was found first is right, and near."),
    "worst": ("Among the worst", "Right answers are the fewest, or the latest, though what was found is near."),
}
_QUERIES, _FOUND = 8, 12  # of a group, and of a query, that are shown
_EXAMPLES = 64  # of a sheet of views that are shown


@dataclass(frozen=True)
class PictureTile:
    """A picture of a sprite: the CSS class of the sprite, and its `background-position` in per cent."""

    style: str
    x: float
    y: float
    text: str = ""

    @property
    def at(self) -> str:
        """The place in CSS."""
        return f"{self.x}% {self.y}%"


class Sprites:
    """The sprites of a page, as data URIs by file; each becomes a CSS class once it is asked for, within a budget.

    So a page stays below 5 MB, whatever lies in a run's folder.
    """

    def __init__(self, pictures: Mapping[str, bytes]) -> None:
        uris = {name: data_uri(name, data) for name, data in pictures.items() if is_sprite_file(name)}
        self._uris = {name: uri for name, uri in uris.items() if uri is not None}
        self._bytes = 0
        self.used: dict[str, dict[str, Any]] = {}  # by file: "style", "uri", "columns", "rows", "tile"

    def of(self, facts: Mapping[str, Any]) -> Tiles | None:
        """Return the tiles of {"file", "tile", "columns", "rows"}; None where anything of that is missing or odd."""
        file, sizes = facts.get("file"), [facts.get(key) for key in ("tile", "columns", "rows")]
        if not isinstance(file, str) or file not in self._uris or any(type(size) is not int for size in sizes):
            return None
        tile, columns, rows = (int(size or 0) for size in sizes)
        new = 0 if file in self.used else len(self._uris[file]) * 3 // 4
        if min(tile, columns, rows) < 1 or columns * rows > MOST_TILES or self._bytes + new > _BUDGET:
            return None
        self._bytes += new
        style = f"sprite-{len(self.used) + 1}"
        known = self.used.setdefault(
            file, {"style": style, "uri": self._uris[file], "columns": columns, "rows": rows, "tile": tile}
        )
        return Tiles(str(known["style"]), columns, rows, tile)


@dataclass(frozen=True)
class Tiles:
    """The tiles of one sprite, by number."""

    style: str
    columns: int
    rows: int
    tile: int

    def __call__(self, number: Any, text: str = "") -> PictureTile | None:
        """Return a tile; None for a number that the sprite does not have."""
        if type(number) is not int or not 0 <= number < self.columns * self.rows:
            return None
        row, column = divmod(number, self.columns)
        x, y = (100 * at / max(1, most - 1) for at, most in ((column, self.columns), (row, self.rows)))
        return PictureTile(self.style, round(x, 4), round(y, 4), text)


def pictures_of(folder: Path) -> dict[str, bytes]:
    """Return the sprites of a run's folder by file; none where there are none. A link, or a larger file, is none."""
    found = sorted((folder / FOLDER).glob("*-*.*")) if (folder / FOLDER).is_dir() else []
    good = [file for file in found if is_sprite_file(file.name) and file.is_file() and not file.is_symlink()]
    return {file.name: file.read_bytes() for file in good if file.stat().st_size <= MOST_BYTES}


def write_pictures(folder: Path, pictures: Mapping[str, bytes]) -> None:
    """Write sprites into the folder of a run."""
    for name, data in pictures.items():
        with write_file_atomically(folder / FOLDER / name) as new:
            new.write_bytes(data)


def remove_pictures(folder: Path) -> None:
    """Remove the sprites of a run that is replaced."""
    for name in pictures_of(folder):
        (folder / FOLDER / name).unlink()


def contact_sheet(given: Mapping[str, Any], sprites: Sprites) -> dict[str, Any] | None:
    """Return a contact sheet (`evaluation.contact_sheet`) for the template; None unless there is one with its tiles."""
    tiles = sprites.of(given)
    if tiles is None:
        return None
    by_name = {str(group.get("name")): group for group in _objects(given.get("groups"))}
    groups: list[dict[str, Any]] = []
    for name, (title, about) in _GROUPS.items():
        queries = [_query(one, tiles) for one in _objects(mapping(by_name.get(name)).get("queries"))[:_QUERIES]]
        if queries := [query for query in queries if query["found"]]:
            groups.append({"title": title, "about": about, "queries": queries})
    numbers = {key: finite(given.get(key)) for key in ("searched", "of")}
    shown: list[dict[str, Any]] = [query for group in groups for query in group["queries"]]
    of_texts = any(one["tile"] is None for query in shown for one in query["found"])
    by_texts = bool(shown) and all(query["tile"] is None for query in shown)
    kinds = {"labels": given.get("kind") == "labels", "of_texts": of_texts, "by_texts": by_texts}
    kinds["among_cells"] = given.get("among") == "cells"
    return {"groups": groups, **kinds, **numbers}


def _query(given: Mapping[str, Any], tiles: Tiles) -> dict[str, Any]:
    expected = mapping(given.get("expected"))
    text = str(expected.get("text") or "")
    found = [
        {"tile": tile, "text": text, "right": one.get("right") is True, "score": finite(one.get("score"))}
        for one in _objects(given.get("found"))[:_FOUND]
        for tile, text in [(tiles(one.get("tile")), str(one.get("text") or ""))]
        if tile is not None or (text and one.get("tile") is None)
    ]
    return {
        "tile": tiles(given.get("tile")),
        "text": str(given.get("text") or ""),
        "rank": finite(given.get("rank")),
        "right": sum(one["right"] for one in found),
        "expected": tiles(expected.get("tile"), text) or ({"text": text} if text else None),
        "found": found,
    }


def view_sheet(given: Mapping[str, Any], sprites: Sprites) -> dict[str, Any] | None:
    """Return the sheet of views (`training.seen_views`) for the template; None unless there is one with its tiles."""
    tiles = sprites.of(given)
    if tiles is None:
        return None
    examples, listed = [], _objects(given.get("examples"))[:_EXAMPLES]
    for one in listed:
        views = [
            {"name": str(view.get("name") or "")[:60], "tile": tile, "text": str(view.get("text") or "")}
            for view in _objects(one.get("views"))[: MOST_TILES // len(listed)]
            if (tile := tiles(view.get("tile"))) is not None or view.get("text")
        ]
        source = tiles(one.get("tile"))
        name = str(one.get("name") or "")
        examples.append({"row": one.get("row"), "name": name, "tile": source, "views": views})
    known = [f"{size} x {size}" for size in given.get("sizes") or [] if type(size) is int]
    return {"examples": examples, "sizes": known}


def thumbnails(given: Mapping[str, Any], sprites: Sprites, points: int) -> list[PictureTile | None] | None:
    """Return the thumbnail of each point of a map, None of a text's; None unless there is one for each picture."""
    tiles = sprites.of(given)
    if tiles is None:
        return None
    numbers = given.get("tiles", list(range(points)))
    known = isinstance(numbers, list) and len(numbers) == points
    found = [tiles(number) for number in numbers] if known else []
    broken = any(tile is None and number is not None for tile, number in zip(found, numbers))
    return found if known and not broken and any(found) else None


def apart(points: Iterable[tuple[float, float]], wide: float, tall: float) -> list[int]:
    """Return which places (x, y), in fractions of a map, can have a thumbnail so large that none covers another.

    In order: a point has one where no earlier thumbnail is in the way. wide, tall: of one, in fractions of the map.
    """
    chosen: list[tuple[int, float, float]] = []
    for i, (x, y) in enumerate(points):
        if all(abs(x - u) >= wide or abs(y - v) >= tall for _, u, v in chosen):
            chosen.append((i, x, y))
    return [i for i, *_ in chosen]


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
