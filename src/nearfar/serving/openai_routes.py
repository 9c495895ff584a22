"""OpenAI's interface: embeddings and models, as its clients and those of LangChain and others call it."""

from __future__ import annotations

import base64
from typing import Any, Literal

import orjson
from fastapi import APIRouter, Response
from pydantic import BaseModel

from nearfar.serving.errors import ApiError, responses
from nearfar.serving.fields import Body, InputType, Name, Positive, Texts, texts_of
from nearfar.serving.served import Embedded, ServedModel
from nearfar.serving.service import Service

ROLE_HEADER = "X-Nearfar-Role"
JSON = "application/json"


class EmbeddingRequest(Body):
    """Texts to embed. input_type: their role, as model NAME:query and NAME:document say it, too."""

    model: Name
    input: Texts
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Positive | None = None
    user: str | None = None
    input_type: InputType | None = None
    truncate: bool = False


class EmbeddedRow(BaseModel):
    """One vector, as numbers or as base64 of little-endian float32. truncated: its text was longer than is read."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str
    truncated: bool = False


class Usage(BaseModel):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingResponse(BaseModel):
    """The vectors, in the order of the texts."""

    object: Literal["list"]
    data: list[EmbeddedRow]
    model: str
    usage: Usage


class ModelCard(BaseModel):
    """A model, or one of its roles."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"]
    data: list[ModelCard]


def router(service: Service) -> APIRouter:
    """Return the routes under /v1."""
    routes = APIRouter(prefix="/v1", tags=["OpenAI"])

    @routes.post("/embeddings", response_model=EmbeddingResponse, responses=responses(404))
    async def embeddings(request: EmbeddingRequest) -> Response:
        """Embed texts."""
        model = required(service)
        role = model.role(request.model, request.input_type)
        found = await model.embed(texts_of(request.input), role, truncate=request.truncate, dim=request.dimensions)
        headers = {ROLE_HEADER: model.role_name(role)}
        return Response(embeddings_body(found, request), headers=headers, media_type=JSON)

    @routes.get("/models", response_model=ModelList, responses=responses())
    async def models() -> dict[str, Any]:
        """List the models: each by its name, and by its name in a role."""
        return {"object": "list", "data": _cards(service)}

    @routes.get("/models/{name:path}", response_model=ModelCard, responses=responses(404))
    async def model(name: str) -> dict[str, Any]:
        """Describe a model."""
        for card in _cards(service):
            if card["id"] == name:
                return card
        raise ApiError(404, f"no model {name!r:.80}", param="model", code="model_not_found")

    return routes


def required(service: Service) -> ServedModel:
    """Return the model of a service. Errors: `ApiError` where it has none."""
    if service.model is None:
        raise ApiError(404, "this server has no model; its index is searched by vectors and words", param="model")
    return service.model


def embeddings_body(found: Embedded, request: EmbeddingRequest) -> bytes:
    """Return an answer as JSON: vectors go from numpy to bytes without a Python object for each number."""
    cut = set(found.truncated)
    data = []
    for index, vector in enumerate(found.vectors):
        row: dict[str, Any] = {"object": "embedding", "index": index}
        as_text = request.encoding_format == "base64"
        row["embedding"] = base64.b64encode(vector.astype("<f4").tobytes()).decode() if as_text else vector
        data.append(row | ({"truncated": True} if index in cut else {}))
    usage = {"prompt_tokens": found.tokens, "total_tokens": found.tokens}
    answer = {"object": "list", "data": data, "model": request.model, "usage": usage}
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _cards(service: Service) -> list[dict[str, Any]]:
    names = [*([] if service.model is None else service.model.names), *service.rerank_names]
    return [{"id": name, "object": "model", "created": 0, "owned_by": "nearfar"} for name in names]
