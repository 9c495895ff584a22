"""The interface of Hugging Face's Text Embeddings Inference: /embed and /info."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Literal

import orjson
from fastapi import APIRouter, Response
from pydantic import BaseModel

from nearfar.serving.errors import responses
from nearfar.serving.fields import Body, Positive, Texts, texts_of
from nearfar.serving.openai_routes import JSON, ROLE_HEADER, required
from nearfar.serving.served import SUFFIXES
from nearfar.serving.service import MOST_TEXTS, Service

TRUNCATED_HEADER = "X-Nearfar-Truncated"  # the rows that were truncated


class EmbedRequest(Body):
    """Texts to embed. prompt_name: their role. Vectors are always of unit length."""

    inputs: Texts
    truncate: bool = False
    normalize: Literal[True] = True
    prompt_name: Literal["query", "document"] | None = None
    dimensions: Positive | None = None


class Info(BaseModel):
    """What is served."""

    model_id: str
    model_sha: str | None
    model_dtype: str
    model_type: dict[str, Any]
    max_input_length: int | None
    max_batch_tokens: int
    max_client_batch_size: int
    version: str


def router(service: Service) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["TEI"])

    @routes.post("/embed", response_model=list[list[float]], responses=responses(404))
    async def embed(request: EmbedRequest) -> Response:
        """Embed texts."""
        model = required(service)
        role = None if request.prompt_name is None else SUFFIXES[request.prompt_name]
        found = await model.embed(texts_of(request.inputs), role, truncate=request.truncate, dim=request.dimensions)
        headers = {ROLE_HEADER: model.role_name(role)}
        if found.truncated:
            headers[TRUNCATED_HEADER] = ",".join(map(str, found.truncated))
        body = orjson.dumps(list(found.vectors), option=orjson.OPT_SERIALIZE_NUMPY)
        return Response(body, headers=headers, media_type=JSON)

    @routes.get("/info", response_model=Info, responses=responses(404))
    async def info() -> Info:
        """Describe the model."""
        model = required(service)
        return Info(
            model_id=model.name,
            model_sha=model.model.fingerprint,
            model_dtype="bfloat16" if model.model.bf16 else "float32",
            model_type={"embedding": {"dim": model.model.dim, "dims": model.dims}},
            max_input_length=model.max_length,
            max_batch_tokens=service.limits.batch_tokens,
            max_client_batch_size=MOST_TEXTS,
            version=version("nearfar"),
        )

    return routes
