"""A limit of a request's head, which uvicorn has with h11 and not with httptools, the faster of its two parsers."""

from __future__ import annotations

from typing import Any

MOST = 64 << 10  # bytes of a head; one that comes at once may have as many as a socket is read at a time


def http_protocol() -> Any:
    """Return what uvicorn speaks HTTP by: httptools with a limit, or h11 where that is not installed."""
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    except ImportError:
        return "h11"

    class LimitedHead(HttpToolsProtocol):
        """httptools' protocol, which answers 400 and closes where a head does not end."""

        head: int | None = None  # bytes of the head that is being read

        def on_message_begin(self) -> None:
            """Begin to count."""
            self.head = 0
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            """End to count."""
            self.head = None
            super().on_headers_complete()

        def data_received(self, data: bytes) -> None:
            """Read on, unless it is too much."""
            super().data_received(data)
            if self.head is not None:
                self.head += len(data)
                if self.head > MOST and not self.transport.is_closing():
                    self.send_400_response(f"The head has more than {MOST} bytes.")

    return LimitedHead
