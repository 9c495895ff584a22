"""What an index is and how it is: its model, its fields, whether its parts agree, what the model reads of its texts."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from heapq import nsmallest
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from nearfar.abilities import KnowsLanguages, tower_of
from nearfar.column import ListColumn
from nearfar.index.index import Index
from nearfar.serving.errors import responses
from nearfar.serving.fields import Body
from nearfar.serving.search_routes import refuse_writing
from nearfar.serving.served import ServedModel
from nearfar.serving.service import Service
from nearfar.sides import kinds_of_sides, role_reading
from nearfar.text.language import detect
from nearfar.text.truncated import truncated_texts

SAMPLE = 2000  # rows whose texts are read
_SHORT = ("recall", "asked", "k", "queries", "milliseconds", "exact_milliseconds", "rows", "date")


class IndexModel(BaseModel):
    """The model that embeds queries. reads: kinds of cells; empty where it does not say."""

    name: str
    fingerprint: str | None
    dim: int
    max_length: int | None
    reads: list[str]


class MeasuredRecall(BaseModel):
    """An approximate search: its recall@k as it was measured on rows as queries, by what, and when."""

    name: str
    recall: float
    asked: float
    k: int
    queries: int
    milliseconds: float
    exact_milliseconds: float
    rows: int
    date: str


class IndexFacts(BaseModel):
    """An index. fingerprint: of its vectors' space. digest: of its rows. language: of its texts, by their words.

    texts, thumbnails: how many rows have a text, and how many a small picture. thumbnail_bytes: of all of these.
    """

    name: str
    rows: int
    texts: int
    thumbnails: int
    thumbnail_bytes: int
    bytes: int
    dim: int
    fields: dict[str, str]
    language: str | None
    backend: str
    precision: str | None
    generation: int
    fingerprint: str | None
    digest: str
    model: IndexModel | None
    approximate: MeasuredRecall | None
    reranker: str | None
    read_only: bool


class CheckRequest(Body):
    """An empty object; a page of another site can send none."""


class CheckedIndex(BaseModel):
    """Whether the parts agree; what is wrong, in words; the recall, measured again, of an approximate search."""

    rows: int
    texts: int
    problems: list[str]
    approximate: MeasuredRecall | None = None


class TextFacts(BaseModel):
    """Texts of some rows. of: how many rows have texts; read: how many of them were looked at.

    truncated: how many of those are longer than the model reads, None where it does not say. language: None where it is
    not told, or there are several. unread: why the model cannot, or may not, read it.
    """

    of: int
    read: int
    truncated: int | None = None
    longest: int | None = None
    language: str | None = None
    unread: str | None = None


def router(service: Service, index: Index) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["index"])

    @lru_cache(maxsize=1)
    def texts_at(_: str) -> TextFacts:  # by the digest of the rows
        return _texts(service.model, index)

    @routes.get("/index", response_model=IndexFacts, responses=responses())
    async def facts() -> IndexFacts:
        """Describe the index."""
        return await run_in_threadpool(_facts, service, index)

    @routes.post("/index/check", response_model=CheckedIndex, responses=responses(403))
    async def check(_: CheckRequest) -> CheckedIndex:
        """Compare the counts of its parts; of an approximate search, measure the recall again."""
        refuse_writing(service)
        found = await run_in_threadpool(index.check)
        return CheckedIndex(**{**found, "approximate": _recall(found.get("approximate"))})

    @routes.get("/index/texts", response_model=TextFacts, responses=responses())
    async def texts() -> TextFacts:
        """Say of some rows' texts how many the model truncates, and whether it reads their language."""
        return await run_in_threadpool(lambda: texts_at(index.description.digest))

    return routes


def _facts(service: Service, index: Index) -> IndexFacts:
    found = index.info()
    names = ["rows", "texts", "bytes", "dim", "fields", "language", "generation", "fingerprint", "digest"]
    names += ["thumbnails", "thumbnail_bytes"]
    return IndexFacts(
        **{name: found[name] for name in names},
        name=index.folder.name,
        backend=str(found["backend"]["name"]),
        precision=found["backend"].get("precision"),
        model=None if service.model is None else _model(service.model),
        approximate=_recall(found["approximate"]),
        reranker=None if service.reranker is None else service.reranker.name,
        read_only=service.read_only,
    )


def _model(served: ServedModel) -> IndexModel:
    fingerprint, dim, reads = served.model.fingerprint, served.model.dim, kinds_of_sides(served.model.encoder)
    return IndexModel(name=served.name, fingerprint=fingerprint, dim=dim, max_length=served.max_length, reads=reads)


def _recall(measured: Any) -> MeasuredRecall | None:
    if measured is None:
        return None
    return MeasuredRecall(name=str(measured["settings"]["name"]), **{name: measured[name] for name in _SHORT})


def _texts(served: ServedModel | None, index: Index) -> TextFacts:
    """Return what a sample of rows tells: those whose ids have the lowest hashes, a fair draw."""
    of, ids = index.info()["texts"], index.ids()
    chosen = nsmallest(SAMPLE, ids, key=lambda name: blake2b(name.encode(), digest_size=8).digest())
    texts = [row.text for row in index.get(chosen) if row is not None and row.text is not None]
    found = TextFacts(of=of, read=len(texts), language=detect(texts) if texts else None)
    if served is None or not texts:
        return found
    role = role_reading(served.model.encoder, "text", "key")
    tower, prompt = tower_of(served.model.encoder, role), served.model.prompt(role)
    found.longest = served.max_length
    if found.longest is not None:
        cut = truncated_texts(tower, ListColumn("texts", [prompt + text for text in texts]))
        found.truncated = 0 if cut is None else cut.count
    if found.language is not None and isinstance(tower, KnowsLanguages):
        from nearfar.evaluation.languages import why_unread

        found.unread = why_unread(tower, texts, "texts", found.language)
    return found
