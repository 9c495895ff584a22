"""What an operator watches: counts and times in Prometheus' form, a registry for each application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_TOKENS = (16, 64, 256, 1024, 2048, 4096, 8192, 16384)
_KINDS = {
    400: "invalid",
    401: "key",
    404: "not_found",
    408: "slow",
    409: "conflict",
    413: "too_large",
    429: "queue_full",
    499: "gone",
    500: "server",
    503: "unavailable",
}
_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"})  # a caller could make up any number more


class RequestCounts:
    """The counts of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        of: dict[str, Any] = {"registry": self.registry}
        self._requests = Counter("nearfar_requests", "Requests.", ["method", "route", "status"], **of)
        self._failures = Counter("nearfar_failures", "Requests that failed, by kind.", ["kind"], **of)
        self._seconds = Histogram("nearfar_request_seconds", "Time to an answer.", ["route"], buckets=_SECONDS, **of)
        self._texts = Histogram("nearfar_batch_texts", "Texts of a batch.", buckets=_TEXTS, **of)
        self._batch_tokens = Histogram("nearfar_batch_tokens", "Tokens of a batch.", buckets=_TOKENS, **of)
        self._tokens = Counter("nearfar_tokens", "Tokens that the model read.", **of)
        self._queue = Gauge("nearfar_queue_texts", "Texts that wait for the model.", **of)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(method if method in _METHODS else "other", route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        if status >= 400:
            self._failures.labels(_KINDS.get(status, "other")).inc()

    def batch(self, texts: int, tokens: int) -> None:
        """Count a batch."""
        self._texts.observe(texts)
        self._batch_tokens.observe(tokens)
        self._tokens.inc(tokens)

    def queue(self, length: Callable[[], int]) -> None:
        """Let the length of the queue be asked for when it is read."""
        self._queue.set_function(lambda: float(length()))

    def text(self) -> bytes:
        """Return all counts as Prometheus reads them."""
        return generate_latest(self.registry)
