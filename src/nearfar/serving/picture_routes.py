"""Pictures of rows over HTTP: the thumbnails that the index keeps; no file of the user is opened."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from starlette.concurrency import run_in_threadpool

from nearfar.errors import NearfarError
from nearfar.index.index import Index
from nearfar.pictures.thumbnail import KIND
from nearfar.serving.errors import ApiError, responses
from nearfar.serving.row_id import MOST_ID, ROW_ID

# A browser may show a picture again for ten minutes without asking, to who has the same key alone.
HEADERS = {
    "Cache-Control": "private, max-age=600",
    "Vary": "Authorization",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'",
}
log = logging.getLogger("nearfar.serving")


# Errors are JSON, so what is described as a JPEG is the one answer that is one.
JPEG: dict[int | str, Any] = {
    200: {"description": "The picture.", "content": {KIND: {"schema": {"type": "string", "format": "binary"}}}}
}


def router(index: Index) -> APIRouter:
    """Return the route."""
    routes = APIRouter(tags=["index"])

    @routes.get(f"/documents/{ROW_ID}/picture", response_class=Response, responses=JPEG | responses(404))
    async def picture(name: Annotated[str, Path(max_length=MOST_ID)]) -> Response:
        """Give the small picture of a row: a JPEG of at most 192 pixels a side, without metadata."""
        found = await run_in_threadpool(index.thumbnail, name)
        if found is None:
            what = f"no row with the id {name!r:.80} has a picture"
            raise ApiError(404, what, param="name", code="not_found")
        return Response(found, headers=HEADERS, media_type=KIND)

    return routes


def pictured_among(index: Index, ids: Sequence[str]) -> set[str]:
    """Return those ids whose rows have a picture; where pictures cannot be read, none, and the search goes on."""
    try:
        return index.with_thumbnail(ids)
    except NearfarError:
        log.exception("the pictures of rows cannot be read")
        return set()
