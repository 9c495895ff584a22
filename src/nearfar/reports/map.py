"""The page of a corpus's map: points on a canvas, coloured by a column, with a table of the same rows."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nearfar.column import Ids
from nearfar.printable import printable_line
from nearfar.reports.page import template
from nearfar.reports.scatter import LegendEntry, grouped
from nearfar.vectors.corpus_map import CorpusMap
from nearfar.vectors.projection import Values

MOST = 50_000  # rows that a page shows
_LONGEST, _BYTES = 100, 160  # of a text: characters, and bytes of UTF-8, so that the page stays below 15 MB
_LONGEST_NAME = 60  # characters of a value
_SIDE = 65535  # of the whole numbers by which a page knows where a row lies
_NONE = "(none)"  # the value of rows that have none


@dataclass(frozen=True)
class MapQuery:
    """A query on a map: its place (2,), the rows (k,) nearest to it in space, best first, and their cosines."""

    text: str
    place: Values
    rows: Ids
    scores: Values


@dataclass(frozen=True)
class MapRows:
    """The rows of a map that a page shows.

    rows: positions (m,) in the map. texts (m). values (m): of the column `by`, None of what has none; None without one.
    labels (m): what rows are called, such as their files and lines; None for their ids.
    """

    rows: Ids
    texts: Sequence[str]
    by: str | None = None
    values: Sequence[Any] | None = None
    labels: Sequence[str] | None = None


def rows_shown(count: int, query: MapQuery | None, most: int = MOST, seed: int = 0) -> Ids:
    """Return which of a map's rows a page shows, ascending: all, or as many as it can, with the query's neighbours."""
    if count <= most:
        return np.arange(count)
    always = np.empty(0, np.int64) if query is None else np.unique(query.rows)
    others = np.setdiff1d(np.arange(count), always)
    drawn = np.random.default_rng(seed).choice(others, max(0, most - len(always)), replace=False)
    return np.union1d(always, drawn)


def page(found: CorpusMap, shown: MapRows, title: str, query: MapQuery | None = None) -> str:
    """Return the HTML page of a map, which loads nothing. Every text is untrusted, escaped and cut.

    title: what the corpus is called.
    """
    rows, legend = drawing(found, shown)
    names, texts = rows["labels"] or rows["ids"], rows["texts"]
    asked = None if query is None else np.searchsorted(shown.rows, query.rows).tolist()
    place = [] if query is None else place_drawn(found, shown.rows, query.place)
    rows["query"] = None if query is None else {"x": place[0], "y": place[1], "rows": asked}
    hits = [] if query is None else [
        {"score": float(score), "id": names[at], "text": texts[at]} for at, score in zip(asked or [], query.scores)
    ]  # fmt: skip
    return template("map.html.j2").render(
        title=title,
        rows=rows,
        shown=len(shown.rows),
        of=len(found.places),
        kept=found.kept,
        shares=None if found.axes is None else found.axes.shares.tolist(),
        by=shown.by,
        legend=legend,
        query=None if query is None else {"text": query.text, "hits": hits},
    )


def drawing(found: CorpusMap, shown: MapRows) -> tuple[dict[str, Any], list[LegendEntry]]:
    """Return what `map.js` draws of a map, as JSON, and the legend of its colours. Texts are cut, and not escaped."""
    legend, names, value = _legend(shown)
    rows = {
        "xy": _packed(_whole_numbers(found.places[shown.rows]), "<u2"),
        "value": _packed(value, "<u4"),
        "names": names,
        "colours": [f"--{'grey' if one.style == 'rest' else one.style}" for one in legend] or ["--model"],
        "rest": next((i for i, one in enumerate(legend) if one.style == "rest"), -1),
        "by": shown.by,
        "ids": [printable_line(str(found.ids[row])) for row in shown.rows],
        "labels": None if shown.labels is None else [beginning(label) for label in shown.labels],
        "texts": [beginning(text) for text in shown.texts],
    }
    return rows, legend


def place_drawn(found: CorpusMap, rows: Ids, place: Values) -> list[float]:
    """Return where a place (2,) of a map lies in the drawing of some rows (m,) of it, [x, y]."""
    low, extent = _square(found.places[rows])
    drawn: list[float] = np.round((place - low) / extent * _SIDE, 1).tolist()
    return drawn


def beginning(text: str) -> str:
    """Return the beginning of a text in one line, at most 100 characters and 160 bytes, without control characters."""
    line = printable_line(" ".join(text[: 4 * _LONGEST].split()))
    if len(line) <= _LONGEST and len(line.encode()) <= _BYTES and len(text) <= 4 * _LONGEST:
        return line
    return line[: _LONGEST - 2].encode()[: _BYTES - 4].decode(errors="ignore").rstrip() + " …"


def value_name(value: Any) -> str:
    """Return what a value of a column is called in a legend."""
    name = "" if value is None else " ".join(str(value).split())
    return printable_line(name)[:_LONGEST_NAME] or _NONE


def _legend(shown: MapRows) -> tuple[list[LegendEntry], list[str], Ids]:
    """Return the legend of a column's values, all their names, the commonest first, and which of them each row has.

    So the first values are the colours of the legend, in its order, and all further ones are its last entry.
    """
    if shown.values is None:
        return [], [], np.zeros(len(shown.rows), np.int64)
    given = [value_name(value) for value in shown.values]
    known, codes, counts = np.unique(given, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    place = np.empty(len(known), np.int64)
    place[order] = np.arange(len(known))
    names: list[str] = known[order].tolist()
    value: Ids = place[codes]
    return grouped(names, value.tolist())[0], names, value


def _whole_numbers(places: Values) -> Ids:
    """Return places (m, 2) as whole numbers of a square, by one scale on both axes."""
    low, extent = _square(places)
    numbers: Ids = np.rint((places - low) / extent * _SIDE).astype(np.int64)
    return numbers


def _square(places: Values) -> tuple[Values, float]:
    """Return the lower left corner (2,) of the square that places (m, 2) lie in, and its side."""
    low = places.min(0).astype(np.float64)
    return low, float((places.max(0) - low).max()) or 1.0


def _packed(numbers: Ids, kind: str) -> str:
    return base64.b64encode(numbers.astype(kind).tobytes()).decode()
