"""What every request passes: it is counted and timed, refused while the server ends, and its body has a limit."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nearfar.serving.counts import RequestCounts
from nearfar.serving.errors import ApiError, draining, to_api_error

STILL_OPEN = frozenset({"/health", "/ready", "/metrics"})  # while the server ends
SLOWEST = 100_000  # bytes a second of a body
CLOSE = {"Connection": "close"}
COMPRESSED = "the body is compressed (Content-Encoding); send it as it is"


class Gate:
    """Whether requests are taken, and how many are being answered."""

    def __init__(self) -> None:
        self.draining = False
        self.inside = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is being answered."""
        return self.inside == 0


class Traffic:
    """ASGI middleware: counts and times requests, answers 503 while the server ends, and 500 where all else failed."""

    def __init__(self, app: ASGIApp, gate: Gate, counts: RequestCounts) -> None:
        self.app, self.gate, self.counts = app, gate, counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, and look at what became of it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.monotonic(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self.gate.inside += 1
        try:
            if self.gate.draining and scope["path"] not in STILL_OPEN:
                await draining().response()(scope, receive, watched)
            else:
                await self.app(scope, receive, watched)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            failed = to_api_error(error)  # which logs it
            if not status:
                await failed.response()(scope, receive, watched)
        finally:
            self.gate.inside -= 1
            self.counts.request(scope["method"], _route(scope), status or 499, time.monotonic() - start)


class BodyLimit:
    """ASGI middleware: a body of more bytes is refused with 413, as it comes in or before; one that is compressed, too.

    patience: seconds after which a body must have come at SLOWEST bytes a second, or is refused with 408: a caller that
    sends nothing more would hold up the end of the server.
    """

    def __init__(self, app: ASGIApp, most: int, patience: float = 30.0) -> None:
        self.app, self.most, self.patience = app, most, patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request whose body is counted."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        said = headers.get(b"content-length", b"")
        if said.isdigit() and int(said) > self.most:
            await ApiError(413, self._words, headers=CLOSE).response()(scope, receive, send)
            return
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            await ApiError(400, COMPRESSED, headers=CLOSE).response()(scope, receive, send)
            return
        count, is_whole, start = 0, False, time.monotonic()

        async def counted() -> Any:
            nonlocal count, is_whole
            if is_whole:  # what comes now is that the caller has gone, at any time
                return await receive()
            end = start + self.patience + count / SLOWEST
            try:
                message = await asyncio.wait_for(receive(), max(0.0, end - time.monotonic()))
            except TimeoutError as error:
                raise HTTPException(408, "the body did not come in time", headers=CLOSE) from error
            is_whole = not message.get("more_body", False)
            count += len(message.get("body", b""))
            if count > self.most:  # FastAPI lets an HTTPException pass while it reads, and nothing else
                raise HTTPException(413, self._words, headers=CLOSE)
            return message

        await self.app(scope, counted, send)

    @property
    def _words(self) -> str:
        return f"the body has more than {self.most:,} bytes; send less at a time"


def _route(scope: Scope) -> str:
    """Return the route that a request took, without what callers wrote into it."""
    return str(getattr(scope.get("route"), "path", "other"))
