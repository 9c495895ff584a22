"""The map of an index over HTTP: where its rows lie, and where a query lies among them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import orjson
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from nearfar.column import Ids
from nearfar.index.index import Index
from nearfar.index.kept_map import kept_map, state
from nearfar.reports.map import beginning, drawing, place_drawn, rows_shown
from nearfar.serving.errors import ApiError, responses
from nearfar.serving.fields import Body, Text
from nearfar.serving.filter_routes import Where
from nearfar.serving.openai_routes import JSON
from nearfar.serving.picture_routes import pictured_among
from nearfar.serving.search_routes import picture, refuse_writing
from nearfar.serving.service import Service
from nearfar.uses.map import map_of_index, rows_of_index
from nearfar.vectors.corpus_map import CorpusMap

NEIGHBOURS = 10  # to which a query is joined
Method = Literal["pca", "umap"]


class MapLegend(BaseModel):
    """A colour of the map: its value, how many rows have it."""

    name: str
    size: int
    style: str


class KeptShare(BaseModel):
    """The share of each row's nearest neighbours in the space that are its nearest on the map, and by chance."""

    share: float
    chance: float
    neighbours: int
    sample: int


class DrawnMap(BaseModel):
    """Where rows lie, compactly.

    map: a hash by which this map is known from others of the index. rows: of the map; shown: of them, drawn by chance
    where there are many. shares: of the variance along both axes. xy: base64 of 2 * shown little-endian 16-bit numbers.
    value: base64 of 32-bit numbers, which of `names` each row has. colours: CSS variables by value, the last one of all
    further values. labels: what rows of documents are called, their files and lines. pictured: base64 of a bit for each
    row shown, as of `PassingRows`: which have a small picture; None where none has.
    """

    method: str
    map: str
    rows: int
    shown: int
    kept: KeptShare
    shares: list[float] | None
    legend: list[MapLegend]
    xy: str
    value: str
    names: list[str]
    colours: list[str]
    rest: int
    by: str | None
    ids: list[str]
    labels: list[str] | None
    texts: list[str]
    pictured: str | None


class MapRequest(Body):
    """Which map to make. That there is a body keeps pages of other sites from asking."""

    method: Literal["pca"]


class PlaceRequest(Body):
    """A query, a text or a picture's file in base64, to be placed on the map.

    map: of the one that is drawn; 409, if another one is kept now. Without it none is asked for.
    """

    text: Text | None = None
    image: str | None = None
    method: Method = "pca"
    map: str | None = None
    where: Where | None = None


class FilterRequest(Body):
    """Which rows of the map are asked for, in the words of a search's `where`. map: as of `PlaceRequest`."""

    where: Where
    method: Method = "pca"
    map: str | None = None


class PassingRows(BaseModel):
    """Rows of the map that meet a filter. matching: how many of those shown.

    mask: base64 of a bit for each row shown, in their order, the highest bit of a byte first.
    """

    matching: int
    mask: str


class NearRow(BaseModel):
    """A row near to a query in the space, and its cosine."""

    id: str
    score: float
    text: str


class Placed(BaseModel):
    """Where a query lies in the drawing, and the rows nearest to it in the space, best first."""

    x: float
    y: float
    near: list[NearRow]


class MapMade(BaseModel):
    """Which map was made, and of how many rows."""

    method: str
    rows: int


@dataclass(frozen=True)
class ShownMap:
    """A map, which of its rows (m,) are shown, and a hash of where each of its rows lies."""

    found: CorpusMap
    shown: Ids
    hash: str

    @classmethod
    def of(cls, found: CorpusMap) -> Self:
        """Return what is shown of a map."""
        known = blake2b("\0".join(found.ids).encode(), digest_size=16)
        known.update(found.places.tobytes())
        return cls(found, rows_shown(len(found.ids), None), known.hexdigest())


class ServedMap:
    """The map that is kept of an index, read once as long as the index stays as it is."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._read: tuple[Any, ShownMap] | None = None  # with its method and the state of the index

    def of(self, method: Method, asked: str | None = None) -> ShownMap:
        """Return the map. asked: the hash of the one that a caller has.

        Errors: `ApiError` where none is kept, or another one than was asked for.
        """
        key, read = (method, state(self._index)), self._read
        if read is None or read[0] != key:
            found = kept_map(self._index, method)
            if found is None:
                option = "" if method == "pca" else f" --method {method}"
                raise ApiError(
                    404,
                    "no map is kept of the index as it is now; make one: "
                    f"nearfar map {self._index.folder.name}{option}, or POST /map",
                    code="no_map",
                )
            # Other threads may read another map meanwhile: this one is returned, whatever is remembered.
            self._read = read = key, ShownMap.of(found)
        if asked not in (None, read[1].hash):
            raise ApiError(409, "another map is kept now than the one that was asked for; GET /map", code="other_map")
        return read[1]


def router(service: Service, index: Index) -> APIRouter:
    """Return the routes."""
    routes, served = APIRouter(tags=["map"]), ServedMap(index)

    @routes.get("/map", response_model=DrawnMap, responses=responses(404))
    async def drawn(method: Method = "pca", by: Annotated[str | None, Query(max_length=256)] = None) -> Response:
        """Give the map that is kept of the index as it is now."""
        return Response(await run_in_threadpool(_drawn, index, served, method, by), media_type=JSON)

    @routes.post("/map", response_model=MapMade, responses=responses(403, 409))
    async def make(request: MapRequest) -> MapMade:
        """Make the map of the two principal axes, and keep it beside the rows."""
        refuse_writing(service)
        found, _ = await run_in_threadpool(map_of_index, index, request.method)
        return MapMade(method=found.method, rows=len(found.ids))

    @routes.post("/map/passing", response_model=PassingRows, responses=responses(404, 409))
    async def passing(request: FilterRequest) -> PassingRows:
        """Say which rows of the map meet a filter."""
        return await run_in_threadpool(_passing, index, served, request)

    @routes.post("/map/place", response_model=Placed, responses=responses(404, 409))
    async def place(request: PlaceRequest) -> Placed:
        """Place a query on the map."""
        return await run_in_threadpool(_placed, index, served, request)

    return routes


def _drawn(index: Index, served: ServedMap, method: Method, by: str | None) -> bytes:
    read = served.of(method)
    found, shown = read.found, read.shown
    rows, legend = drawing(found, rows_of_index(index, found, shown, by))
    facts = {
        "method": found.method,
        "map": read.hash,
        "rows": len(found.ids),
        "shown": len(shown),
        "kept": found.kept,
        "shares": None if found.axes is None else found.axes.shares.tolist(),
        "pictured": _pictured(index, [found.ids[row] for row in shown]),
        "legend": [{"name": one.name, "size": one.size, "style": one.style} for one in legend],
    }
    return orjson.dumps(facts | rows)


def _pictured(index: Index, ids: Sequence[str]) -> str | None:
    """Return which rows have a small picture, a bit for each; None where none has."""
    found = pictured_among(index, ids)
    return _packed(np.array([name in found for name in ids], bool)) if found else None


def _packed(mask: npt.NDArray[np.bool_]) -> str:
    """Return a mask (m,) as base64 of bits, the highest of a byte first."""
    return base64.b64encode(np.packbits(mask).tobytes()).decode()


def _passing(index: Index, served: ServedMap, request: FilterRequest) -> PassingRows:
    read = served.of(request.method, request.map)
    place = read.found.rows
    meets = np.zeros(len(place), bool)
    meets[[place[name] for name in index.ids(request.where) if name in place]] = True
    mask = meets[read.shown]  # (m,)
    return PassingRows(matching=int(mask.sum()), mask=_packed(mask))


def _placed(index: Index, served: ServedMap, request: PlaceRequest) -> Placed:
    if (request.text is None) == (request.image is None):
        raise ApiError(400, "give one of text, image", param="text")
    read = served.of(request.method, request.map)
    found, shown = read.found, read.shown
    vector = index.embed(request.text if request.image is None else picture(request.image, "image"))
    hits = index.search(vector, NEIGHBOURS, mode="vectors", where=request.where)
    rows = np.array([found.rows[hit.id] for hit in hits if hit.id in found.rows], np.int64)  # others were just written
    x, y = place_drawn(found, shown, found.locate(vector, rows))
    return Placed(x=x, y=y, near=[NearRow(id=hit.id, score=hit.score, text=beginning(hit.text or "")) for hit in hits])
