"""Search over HTTP, and the rows of an index: added, replaced, removed."""

from __future__ import annotations

import base64
from dataclasses import asdict
from typing import Annotated, Any, Literal, Self

import orjson
from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from starlette.concurrency import run_in_threadpool

from nearfar.index.index import Index
from nearfar.index.reranking import DEPTH
from nearfar.serving.errors import ApiError, responses
from nearfar.serving.fields import WHOLE, Body, Name, Text
from nearfar.serving.openai_routes import JSON, required
from nearfar.serving.picture_routes import pictured_among
from nearfar.serving.row_id import MOST_ID, ROW_ID
from nearfar.serving.service import MOST_TEXTS, Service

MOST_HITS = 1000
WAYS = {"text": "string", "vector": "array", "image": "string", "like": "array"}  # to ask, and their types in JSON
Id = Annotated[str, StringConstraints(min_length=1, max_length=MOST_ID)]
Hits = Annotated[int, Field(ge=1, le=MOST_HITS), WHOLE]
Value = str | int | float | bool | None
_ONE_WAY: dict[str, Any] = {
    "oneOf": [{"required": [way], "properties": {way: {"type": kind}}} for way, kind in WAYS.items()]
}


class SearchRequest(Body):
    """What to look for, in one of four ways: a text, a vector, a picture's file in base64, or ids of rows (`like`)."""

    model_config = ConfigDict(json_schema_extra=_ONE_WAY)  # beside the settings of `Body`
    text: Text | None = None
    vector: list[Annotated[float, Field(allow_inf_nan=False)]] | None = Field(default=None, min_length=1)
    image: str | None = Field(default=None, min_length=4)
    like: list[Id] | None = Field(default=None, min_length=1, max_length=100)
    k: Hits = 10
    where: str | None = Field(default=None, description="A filter: \"year >= 2020 and lang = 'de'\".")
    mode: Literal["vectors", "words", "hybrid"] | None = None
    explain: bool = False
    rerank: bool = False
    depth: Hits = DEPTH
    truncate: bool = False

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = [way for way in WAYS if getattr(self, way) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of {', '.join(WAYS)}; there are {len(given)}")
        return self


class FoundRow(BaseModel):
    """A row that was found. score: the cosine, BM25's, the fusion's or the reranker's, by the mode.

    picture: true where the row has a small picture, which GET /documents/ID/picture gives.
    """

    id: str
    score: float
    text: str | None = None
    fields: dict[str, Value] = Field(default_factory=dict)
    explain: dict[str, Any] | None = None
    picture: bool | None = None


class SearchResponse(BaseModel):
    """The best rows first."""

    hits: list[FoundRow]


class NewRow(Body):
    """A row to add, or to replace that of its id: its text or picture (a file in base64), and its fields."""

    id: Id
    text: Text | None = None
    image: str | None = Field(default=None, min_length=4)
    fields: dict[Name, Value] = Field(default_factory=dict)


class NewRows(Body):
    """Rows that are added all together, or none of them."""

    documents: Annotated[list[NewRow], Field(min_length=1, max_length=MOST_TEXTS)]
    truncate: bool = False


class Added(BaseModel):
    """How many rows were added or replaced, and how many there are."""

    added: int
    rows: int


class Deleted(BaseModel):
    """How many rows were removed, and how many there are."""

    deleted: int
    rows: int


def router(service: Service, index: Index) -> APIRouter:
    """Return the routes of an index."""
    routes = APIRouter(tags=["index"])

    @routes.post("/search", response_model=SearchResponse, responses=responses(404))
    async def search(request: SearchRequest) -> Response:
        """Find rows by a text, a vector, a picture, or other rows."""
        found = await run_in_threadpool(_found, service, index, request)
        return Response(orjson.dumps({"hits": found}), media_type=JSON)

    @routes.post("/documents", response_model=Added, responses=responses(403))
    async def add(request: NewRows) -> dict[str, int]:
        """Add rows, or replace those of their ids."""
        refuse_writing(service)
        return await run_in_threadpool(_added, service, index, request)

    @routes.delete(f"/documents/{ROW_ID}", response_model=Deleted, responses=responses(403, 404))
    async def delete(name: Annotated[str, Path(max_length=MOST_ID)]) -> dict[str, int]:
        """Remove a row."""
        refuse_writing(service)
        removed = await run_in_threadpool(index.delete, [name])
        if not removed:
            raise ApiError(404, f"no row has the id {name!r:.80}", param="name", code="not_found")
        return {"deleted": removed, "rows": await run_in_threadpool(index.count)}

    return routes


def _found(service: Service, index: Index, request: SearchRequest) -> list[dict[str, Any]]:
    """Return hits as they are sent: without what they have not, and with whether a picture can be asked for."""
    hits = _searched(service, index, request)
    found = [{name: value for name, value in asdict(hit).items() if value is not None} for hit in hits]
    pictured = pictured_among(index, [hit.id for hit in hits])
    return [row | {"picture": True} if row["id"] in pictured else row for row in found]


def _searched(service: Service, index: Index, request: SearchRequest) -> list[Any]:
    how: dict[str, Any] = {"where": request.where, "mode": request.mode, "explain": request.explain}
    if request.rerank:
        how |= {"rerank": _scorer(service), "depth": request.depth}
    if request.like is not None:
        return list(index.search(like=request.like, k=request.k, **how))
    query: Any = request.text if request.vector is None else request.vector
    if request.image is not None:
        query = picture(request.image, "image")
    if request.vector is None and request.mode != "words":
        model = required(service)
        if request.text is not None and not request.truncate:
            model.refuse_long([request.text], "query")
    return list(index.search(query, k=request.k, **how))


def _added(service: Service, index: Index, request: NewRows) -> dict[str, int]:
    rows: list[dict[str, Any]] = []
    for number, given in enumerate(request.documents):
        row: dict[str, Any] = {**given.fields, "id": given.id}
        if given.text is not None:
            row["text"] = given.text
        if given.image is not None:
            row["image"] = picture(given.image, f"documents.{number}.image")
        rows.append(row)
    texts = [row["text"] for row in rows if "text" in row and "image" not in row]
    if not request.truncate and texts:
        required(service).refuse_long(texts, "key")
    added = index.add(rows)
    return {"added": added, "rows": index.count()}


def _scorer(service: Service) -> Any:
    """Return the cross-encoder as a scorer that runs in a thread of the model. Errors: `ApiError` without one."""
    if service.reranker is None:
        raise ApiError(404, "this server has no reranker; start it with --reranker", param="rerank")
    score = service.reranker.score
    return lambda queries, texts: service.threads.call(lambda: score(queries, texts)).result()


def picture(text: str, param: str) -> Any:
    """Return the pixels of a picture's file in base64. Errors: `ApiError` by field."""
    from nearfar.pictures.decode import BadPictureError, decoded

    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ApiError(400, f"{param}: is no base64; send the bytes of a picture's file so", param=param) from error
    try:
        return decoded(data)
    except BadPictureError as error:
        raise ApiError(400, f"{param}: {error}", param=param) from error


def refuse_writing(service: Service) -> None:
    """Refuse to write where the server only reads. Errors: `ApiError`."""
    if service.read_only:
        raise ApiError(403, "this server only reads its index", code="read_only")
