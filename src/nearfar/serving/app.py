"""The application: routes, and what every request passes on its way to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware

from nearfar.serving import (
    cohere_routes,
    errors,
    filter_routes,
    index_routes,
    map_routes,
    match_routes,
    openai_routes,
    page_routes,
    picture_routes,
    search_routes,
    status_routes,
    tei_routes,
)
from nearfar.serving.keys import OPEN, Keys, RequireKey
from nearfar.serving.service import Service
from nearfar.serving.traffic import BodyLimit, Traffic

ABOUT = "Embeddings, search and reranking of one model or index: the interfaces of OpenAI, Cohere and TEI, and search."


def create_app(
    service: Service,
    *,
    keys: Keys | None = None,
    hosts: Sequence[str] | None = None,
    routers: Iterable[APIRouter] = (),
    open_paths: Iterable[str] = (),
) -> FastAPI:
    """Return the application of a service.

    Args:
        service: what is served; it is closed when the application ends.
        keys: who may ask; None is everybody.
        hosts: names by which the server may be called; None is any. A page of another site whose name leads here is
            refused by it.
        routers: further routes, such as those of a review.
        open_paths: of them, what needs no key.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    about: dict[str, Any] = {"title": "nearfar", "version": version("nearfar"), "description": ABOUT}
    # FastAPI's own pages load scripts from elsewhere.
    app = FastAPI(**about, lifespan=lifespan, docs_url=None, redoc_url=None)
    for module in (openai_routes, cohere_routes, tei_routes, status_routes, page_routes):
        app.include_router(module.router(service))
    for each in routers:
        app.include_router(each)
    if (index := service.index) is not None:
        for of_index in (search_routes, index_routes, match_routes, map_routes):
            app.include_router(of_index.router(service, index))
        for alone in (filter_routes, picture_routes):
            app.include_router(alone.router(index))
    errors.install(app, service.hidden)
    app.add_middleware(BodyLimit, most=service.limits.body)  # the last one added is the first that a request meets
    if keys:
        app.add_middleware(RequireKey, keys=keys, open_paths=OPEN | page_routes.page_paths() | frozenset(open_paths))
    if hosts is not None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    app.add_middleware(Traffic, gate=service.gate, counts=service.counts)
    described = app.openapi()  # kept by FastAPI, so what is added here stays
    _describe(described, service, with_keys=bool(keys))
    return app


def _describe(described: dict[str, Any], service: Service, *, with_keys: bool) -> None:
    """Say in the description what this service's model decides: lengths of vectors; and whether keys are needed."""
    schemas = described["components"]["schemas"]
    for name in ("EmbeddingRequest", "EmbedRequest"):
        if service.model is not None:
            of_model = {"anyOf": [{"type": "integer", "enum": service.model.dims}, {"type": "null"}]}
            schemas[name]["properties"]["dimensions"] |= of_model
    if with_keys:
        described["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"key": []}]
