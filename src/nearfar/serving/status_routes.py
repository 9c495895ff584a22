"""What an operator asks: whether it lives, whether it can answer, and its counts."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from nearfar.serving.errors import ApiError, draining, responses
from nearfar.serving.service import Service

PATIENCE = 10.0  # seconds for a tiny text to go through the queue
TINY = "ready"


class Status(BaseModel):
    """A word on how it is."""

    status: Literal["ok"]


def router(service: Service) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["status"])

    @routes.get("/health", response_model=Status, responses=responses())
    async def health() -> dict[str, Any]:
        """Say that the process lives."""
        return {"status": "ok"}

    @routes.get("/ready", response_model=Status, responses=responses())
    async def ready() -> dict[str, Any]:
        """Embed a tiny text by way of the queue, and say whether that worked, and whether it may search its index."""
        if service.gate.draining:
            raise draining()
        if not service.threads.are_alive:
            raise ApiError(503, "a thread of the model has ended")
        if service.index is not None:
            await run_in_threadpool(service.index.refuse_another)
        try:
            if service.model is not None and service.model.reads_texts:
                await asyncio.wait_for(service.model.embed([TINY], truncate=True), PATIENCE)
            else:
                await asyncio.wait_for(asyncio.wrap_future(service.threads.call(lambda: None)), PATIENCE)
        except TimeoutError as error:
            raise ApiError(503, f"a tiny text took more than {PATIENCE:.0f} s") from error
        return {"status": "ok"}

    @routes.get("/metrics", response_class=PlainTextResponse, responses=responses())
    async def metrics() -> PlainTextResponse:
        """Give all counts in Prometheus' form."""
        return PlainTextResponse(service.counts.text(), media_type="text/plain; version=0.0.4")

    return routes
