"""The limit of a request's head, over a socket."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

import uvicorn

from nearfar.serving.http_head import MOST, http_protocol

HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


async def application(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    while (message := await receive()).get("more_body"):
        body += message["body"]
    size = str(len(body + message.get("body", b""))).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(size))]})
    await send({"type": "http.response.body", "body": size})


async def answers(requests: list[list[bytes]]) -> list[bytes]:
    """Return the first line of each answer; a request is sent in parts, over a connection of its own."""
    config = uvicorn.Config(application, http=http_protocol(), lifespan="off", ws="none", log_config=None)
    config.load()
    state = uvicorn.server.ServerState()
    loop, found = asyncio.get_running_loop(), []
    protocol: Any = config.http_protocol_class
    made = lambda: protocol(config=config, server_state=state, app_state={})  # noqa: E731
    server = await loop.create_server(made, "127.0.0.1", 0)
    for parts in requests:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        with contextlib.suppress(ConnectionError):  # it closes where it was enough
            for part in parts:
                writer.write(part)
                await writer.drain()
        found.append((await asyncio.wait_for(reader.readline(), 30)).strip())
        writer.close()
    server.close()
    return found


def test_a_head_that_does_not_end_is_refused_and_a_long_body_is_none() -> None:
    endless = [HEAD, *(b"X-%d: %s\r\n" % (number, b"a" * 8000) for number in range(10 * MOST // 8000))]
    posted = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (4 * MOST)
    twice = [HEAD + b"\r\n"]
    first, second, third = asyncio.run(answers([endless, [posted, *[b"a" * MOST] * 4], twice]))
    assert first == b"HTTP/1.1 400 Bad Request"
    assert (second, third) == (b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK")
