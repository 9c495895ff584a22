"""Cohere's interface for reranking: by a cross-encoder where the server has one, else by the model's cosines."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import numpy as np
import orjson
from fastapi import APIRouter, Response
from pydantic import BaseModel, Field, model_validator
from starlette.concurrency import run_in_threadpool

from nearfar.abilities import CountsTokens
from nearfar.serving.errors import ApiError, responses
from nearfar.serving.fields import Body, Name, Positive, Text
from nearfar.serving.openai_routes import JSON, required
from nearfar.serving.service import Reranker, Service
from nearfar.text.first_tokens import first_tokens

MOST_DOCUMENTS = 1000
NOT_HERE = ("max_chunks_per_doc", "rank_fields", "relevant_spans")  # of Cohere's own service


class TextDocument(Body):
    """A document as an object; the first version has these, too."""

    text: Text


class RerankRequest(Body):
    """A query, and documents to order by it. model: a name of /v1/models; without one the cross-encoder, if any."""

    model: Name | None = None
    query: Text
    documents: Annotated[list[Text], Field(min_length=1, max_length=MOST_DOCUMENTS)]
    top_n: Positive | None = None
    max_tokens_per_doc: Positive | None = Field(
        default=None, description="What of a document comes behind so many tokens, without special ones, is left out."
    )
    truncate: bool = False

    @model_validator(mode="before")
    @classmethod
    def _unknown_here(cls, given: Any) -> Any:
        """Refuse by name what would change the scores, and is passed over otherwise."""
        for name in NOT_HERE if isinstance(given, dict) else ():
            if given.get(name) is not None:
                raise ValueError(f"{name} is not known here; leave it out")
        return given


class RerankRequestV1(RerankRequest):
    """The first version: documents may be objects with a text, and come back where they are asked for."""

    documents: Annotated[list[Text | TextDocument], Field(min_length=1, max_length=MOST_DOCUMENTS)]  # type: ignore[assignment]
    return_documents: bool = False


class RerankedText(BaseModel):
    """A document that comes back."""

    text: str


class RerankResult(BaseModel):
    """A document by its place in the request, and its score: a cosine, or what the cross-encoder gives."""

    index: int
    relevance_score: float
    document: RerankedText | None = None


class RerankResponse(BaseModel):
    """The best documents first. model: what gave the scores; NAME:cosine are cosines of its vectors."""

    id: str
    results: list[RerankResult]
    model: str
    meta: dict[str, Any]


def router(service: Service) -> APIRouter:
    """Return both versions."""
    routes = APIRouter(tags=["Cohere"])

    @routes.post("/v2/rerank", response_model=RerankResponse, responses=responses(404))
    async def rerank_v2(request: RerankRequest) -> Response:
        """Order documents by a query."""
        return await _answer(service, request, request.documents, "2", give_back=False)

    @routes.post("/v1/rerank", response_model=RerankResponse, responses=responses(404))
    async def rerank_v1(request: RerankRequestV1) -> Response:
        """Order documents by a query, as the first version has it."""
        given: list[Any] = list(request.documents)
        texts = [each if isinstance(each, str) else each.text for each in given]
        return await _answer(service, request, texts, "1", give_back=request.return_documents)

    return routes


async def _answer(
    service: Service, request: RerankRequest, texts: list[str], version: str, *, give_back: bool
) -> Response:
    name = _chosen(service, request.model)
    by = service.reranker if service.reranker is not None and name == service.reranker.name else None
    read = await run_in_threadpool(_beginnings, service, by, texts, request.max_tokens_per_doc)
    if by is not None:
        score, query = by.score, request.query
        done = service.threads.call(lambda: score([query] * len(texts), read))
        scores = np.asarray(await asyncio.wrap_future(done), np.float32)
    else:
        scores = await _cosines(service, request, read)
    order = sorted(range(len(texts)), key=lambda i: (-float(scores[i]), i))[: request.top_n]
    results: list[dict[str, Any]] = [{"index": i, "relevance_score": float(scores[i])} for i in order]
    if give_back:
        results = [{**result, "document": {"text": texts[result["index"]]}} for result in results]
    meta = {"api_version": {"version": version}, "billed_units": {"search_units": 1}}
    answer = {"id": "rerank", "results": results, "model": name, "meta": meta}
    return Response(orjson.dumps(answer), media_type=JSON)


def _beginnings(service: Service, by: Reranker | None, texts: list[str], most: int | None) -> list[str]:
    """Return what is read of documents: their first tokens, as the model or the cross-encoder counts them."""
    if most is None:
        return texts
    if by is None:
        lengths = required(service).lengths("key")
    else:
        lengths = by.score.lengths if isinstance(by.score, CountsTokens) else None
    found = None if lengths is None else first_tokens(texts, most, lengths)
    if found is None:
        what = "max_tokens_per_doc: what reranks here does not say how many tokens a text has; leave it out"
        raise ApiError(400, what, param="max_tokens_per_doc")
    return found


def _chosen(service: Service, asked: str | None) -> str:
    """Return the name of what reranks. Errors: `ApiError` for one that is not there."""
    known = service.rerank_names
    if not known:
        required(service)
    if asked is None or (service.model is not None and asked == service.model.name):
        return known[0] if asked is None else known[-1]
    if asked not in known:
        raise ApiError(
            404, f"no model {asked!r:.80} reranks; there are {', '.join(known)}", param="model", code="model_not_found"
        )
    return asked


async def _cosines(service: Service, request: RerankRequest, texts: list[str]) -> Any:
    model = required(service)
    query, documents = await asyncio.gather(
        model.embed([request.query], "query", truncate=request.truncate),
        model.embed(texts, "key", truncate=request.truncate),
    )
    return documents.vectors @ query.vectors[0]
