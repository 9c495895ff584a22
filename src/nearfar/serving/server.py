"""The server's process: its socket, its signals, and how it ends."""

from __future__ import annotations

import ipaddress
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from nearfar.errors import InputError
from nearfar.serving.http_head import http_protocol
from nearfar.serving.service import Service

SWITCH = 0.0005  # seconds; Python's own 5 ms let the thread of the event loop hold the model's up at every operation
# Of the tokenizers: in one thread a text takes two thirds of the time, and the others belong to the model.
PARALLEL = "TOKENIZERS_PARALLELISM"
GRACE = 30  # seconds for connections to close, once nothing is being answered


def is_local(host: str) -> bool:
    """Return whether a host is this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, which may be anybody's
        return False


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that is bound. port: 0 is any that is free. Errors: `InputError` where that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except (OSError, OverflowError) as error:
        made.close()
        raise InputError(f"{host}:{port}: cannot be listened at ({error}); choose another --host or --port") from error
    return made


class DrainingServer(uvicorn.Server):
    """uvicorn's server, which ends in two steps: SIGTERM or SIGINT lets it answer what it has, and refuse the rest
    with 503; when nothing is being answered it ends. A second signal ends it at once.
    """

    def __init__(self, config: uvicorn.Config, service: Service, started: Callable[[], None]) -> None:
        super().__init__(config)
        self.service, self.when_started, self.signal = service, started, 0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # as Python hands it in
        """Begin to end."""
        if self.signal:
            self.should_exit = self.force_exit = True
            return
        self.signal = sig
        self.service.gate.draining = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        if self.started:
            self.when_started()

    async def on_tick(self, counter: int) -> bool:
        """Look every tenth of a second whether it is time to end."""
        if self.signal and self.service.gate.is_empty:
            self.should_exit = True
        return await super().on_tick(counter)


def serve(app: FastAPI, service: Service, made: socket.socket, started: Callable[[], None]) -> int:
    """Serve until a signal ends it; return the exit code: 0, or 130 after Ctrl-C.

    started: is called when requests are taken.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="nearfar: %(levelname)s: %(message)s")
    sys.setswitchinterval(SWITCH)
    os.environ.setdefault(PARALLEL, "false")
    config = uvicorn.Config(
        app,
        http=http_protocol(),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
        ws="none",
    )
    server = DrainingServer(config, service, started)
    server.run(sockets=[made])
    return 130 if server.signal == signal.SIGINT else 0
