"""Errors over HTTP, in OpenAI's shape, {"error": {"message", "type", "param", "code"}}, without stacks and paths."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from nearfar.errors import ChangedMeanwhileError, InputError, NearfarError
from nearfar.index.opened import OtherModelError
from nearfar.serving.batching import Draining, QueueFull

INVALID, SERVER = "invalid_request_error", "server_error"
FAILED = "the server failed on this request; its log says why"
CHANGED = "another wrote to the index, while it was read for this request; ask again"
SWAPPED = "the index is now one of another model than this server has; start it again with that model"
LATER = "the server ends, and takes no more requests"
NO_OBJECT = "the body is no JSON object; send one, with the header Content-Type: application/json"
LONGEST = 600  # characters of a message, which may quote what was sent
log = logging.getLogger("nearfar.serving")


class ErrorFacts(BaseModel):
    """What is wrong, in words; the kind; the field that is to blame; a word for programs."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """The body of every answer that is no success."""

    error: ErrorFacts


class ApiError(Exception):
    """An answer that is no success."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message[:LONGEST], param, code
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """Return it as an answer."""
        kind = SERVER if self.status >= 500 else INVALID
        facts = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        body = orjson.dumps({"error": facts}, default=str)
        return Response(body, self.status, self.headers, media_type="application/json")


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the description of a route's errors: those named, and those that each route may have."""
    said = {
        400: "The request is wrong; the message says what.",
        403: "This server only reads.",
        404: "There is no such thing.",
        401: "No key, or an unknown one.",
        409: "Another has written, or decided, meanwhile.",
        408: "The body did not come in time.",
        413: "The body is too large.",
        429: "Too much waits already; Retry-After says when to try again.",
        500: "The server failed.",
        503: "The server ends, or is not ready.",
    }
    named = {400, 401, 408, 413, 429, 500, 503, *statuses}
    return {status: {"model": ErrorBody, "description": said[status]} for status in sorted(named)}


def install(app: FastAPI, hidden: Sequence[str]) -> None:
    """Let an application answer errors in this shape. hidden: paths that no message may hold."""

    async def answered(_: Request, error: Exception) -> Response:
        return to_api_error(error, hidden).response()

    for kind in (ApiError, RequestValidationError, HTTPException, NearfarError, QueueFull, Draining):
        app.add_exception_handler(kind, answered)


def to_api_error(error: Exception, hidden: Sequence[str] = ()) -> ApiError:
    """Return any error as an answer."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RequestValidationError):
        return _invalid(error.errors())
    if isinstance(error, HTTPException):
        return ApiError(error.status_code, str(error.detail), headers=error.headers)
    if isinstance(error, QueueFull):
        return queue_full(error)
    if isinstance(error, Draining):
        return draining()
    if isinstance(error, OtherModelError):
        return ApiError(503, SWAPPED, code="other_model")
    if isinstance(error, ChangedMeanwhileError):
        return ApiError(409, CHANGED, code="changed_meanwhile")
    if isinstance(error, InputError) and not any(path in str(error) for path in hidden):
        return ApiError(400, str(error))
    log.error("a request failed", exc_info=error)
    return ApiError(500, FAILED)


def queue_full(error: QueueFull) -> ApiError:
    """Return the answer where too much waits."""
    wait = {"Retry-After": str(error.seconds)}
    return ApiError(429, str(error), code="rate_limit_exceeded", headers=wait)


def draining() -> ApiError:
    """Return the answer of a server that ends."""
    return ApiError(503, LATER, code="draining", headers={"Retry-After": "5", "Connection": "close"})


def _invalid(errors: Sequence[Any]) -> ApiError:
    """Return what pydantic found, in one line: the deepest error, as a union has one for each of its types."""
    found = max(errors, key=lambda error: len(error["loc"]))
    if found["type"] == "model_attributes_type" and tuple(found["loc"]) == ("body",):
        return ApiError(400, NO_OBJECT)
    place = [part for part in found["loc"] if isinstance(part, int) or _is_field(part)]
    param = ".".join(str(part) for part in place) or None
    said = str(found["msg"]).removeprefix("Value error, ")
    return ApiError(400, said if param is None else f"{param}: {said}", param=param)


def _is_field(part: str) -> bool:
    """Return whether a part of a place is a field's name, and not that of a type of pydantic's."""
    return part.isidentifier() and part not in ("body", "path", "query", "str", "function")
