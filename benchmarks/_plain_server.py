"""The peer: sentence-transformers behind FastAPI, as tutorials write it; with a lock; and with what waits as one batch.

Each request is encoded alone: "threads" in FastAPI's own pool of threads, many at once; "lock" one after the other.
"batch" encodes together whatever waits, which is the best that is still short.
"""

from __future__ import annotations

import argparse
import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

MODES = ("threads", "lock", "batch")
Encode = Callable[[list[str]], Any]  # texts to vectors (n, d)


class Texts(BaseModel):
    """A request."""

    texts: list[str]


class WaitingTexts:
    """What waits is encoded together, by one task."""

    def __init__(self, encode: Encode) -> None:
        self.encode = encode
        self.waiting: list[tuple[list[str], asyncio.Future[Any]]] = []
        self.changed = asyncio.Event()

    async def embed(self, texts: list[str]) -> Any:
        future = asyncio.get_running_loop().create_future()
        self.waiting.append((texts, future))
        self.changed.set()
        return await future

    async def work(self) -> None:
        while await self.changed.wait():
            self.changed.clear()
            taken, self.waiting = self.waiting, []
            vectors = await asyncio.to_thread(self.encode, [text for texts, _ in taken for text in texts])
            start = 0
            for texts, future in taken:
                if not future.done():  # its caller may have gone
                    future.set_result(vectors[start : start + len(texts)])
                start += len(texts)


def application(encode: Encode, mode: str) -> FastAPI:
    """Return the application."""
    waiting = WaitingTexts(encode)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        worker = asyncio.create_task(waiting.work())
        yield
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker

    app = FastAPI(lifespan=lifespan)
    lock: Any = threading.Lock() if mode == "lock" else nullcontext()

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    def alone(request: Texts) -> dict[str, Any]:
        with lock:
            return {"embeddings": encode(request.texts).tolist()}

    async def together(request: Texts) -> dict[str, Any]:
        return {"embeddings": (await waiting.embed(request.texts)).tolist()}

    app.post("/embed")(together if mode == "batch" else alone)
    return app


def encoder(folder: str, *, bf16: bool) -> Encode:
    """Return `SentenceTransformer.encode` of a folder's model."""
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device="cpu")
    if bf16:
        model.to(torch.bfloat16)
    return lambda texts: np.asarray(model.encode(texts, normalize_embeddings=True, show_progress_bar=False), np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", help="of a model of sentence-transformers")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--mode", choices=MODES, default="threads")
    parser.add_argument("--bf16", action="store_true")
    given = parser.parse_args()
    app = application(encoder(given.folder, bf16=given.bf16), given.mode)
    uvicorn.run(app, host="127.0.0.1", port=given.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
