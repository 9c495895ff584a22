"""The clients of the serving benchmark, in one process: as many requests as the server answers; and a mixed load."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import resource
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from _servers import NAME, resident_mb

HEADERS = {"Content-Type": "application/json"}
PATIENCE = 300.0  # seconds for an answer
SETTLED = 60.0  # seconds of mixed load after which memory should no longer grow
ACTIONS = {"one text": 60, "several texts": 15, "long text": 5, "health": 5, "bad request": 8, "gone": 7}  # weights
NOT_JSON = (b"", b"{", b"[1, 2]", b'{"model": "served"}', b'{"model": "served", "input": 5, "texts": 5}', b"\xff\xfe")


def body(form: str, texts: list[str]) -> bytes:
    """Return a request as a server of this form takes it."""
    said = {"texts": texts} if form == "plain" else {"model": NAME, "input": texts}
    return json.dumps(said).encode()


def vector(form: str, answer: bytes) -> list[float]:
    """Return the first vector of an answer."""
    said = json.loads(answer)
    found: list[float] = said["embeddings"][0] if form == "plain" else said["data"][0]["embedding"]
    return found


@dataclass
class Answers:
    """What came back: seconds of each good answer, errors by kind, the first answer for each row."""

    seconds: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    first: dict[int, bytes] = field(default_factory=dict)


def speed(task: dict[str, Any]) -> dict[str, Any]:
    """Let clients ask for one text after the other; return texts a second, latencies, errors and cosines."""
    texts = json.loads(Path(task["texts"]).read_text(encoding="utf-8"))
    found, processor = asyncio.run(_speed(task, [body(task["form"], [text]) for text in texts]))
    reference = np.load(task["reference"])  # (n, d)
    rows = sorted(found.first)
    vectors = np.array([vector(task["form"], found.first[row]) for row in rows], np.float32)  # (m, d)
    cosines = (vectors * reference[rows]).sum(1) / np.linalg.norm(vectors, axis=1) if rows else np.zeros(1)
    p50, p99 = np.percentile(found.seconds, [50, 99]) if found.seconds else (float("inf"), float("inf"))
    return {
        "texts_per_second": len(found.seconds) / task["seconds"],
        "p50_ms": 1000 * float(p50),
        "p99_ms": 1000 * float(p99),
        "errors": dict(found.errors),
        "least_cosine": float(cosines.min()),
        "compared": len(rows),
        "processor_of_clients": processor,  # seconds; a machine's cores are shared with the server
        "resident_mb": resident_mb(task["pid"]),
    }


async def _speed(task: dict[str, Any], bodies: list[bytes]) -> tuple[Answers, float]:
    found, rows = Answers(), itertools.cycle(range(len(bodies)))
    start = time.perf_counter() + task["warmup"]
    end = start + task["seconds"]

    async def client(api: httpx.AsyncClient) -> None:
        while (began := time.perf_counter()) < end:
            row = next(rows)
            kind, answer = await _asked(api, task["path"], bodies[row])
            done = time.perf_counter()
            if start <= done <= end:
                if kind == "200":
                    found.seconds.append(done - began)
                    found.first.setdefault(row, answer)
                else:
                    found.errors[kind] += 1
            if kind != "200":
                await asyncio.sleep(0.1)

    used = _processor()
    await _together(task, client)
    return found, _processor() - used


def soak(task: dict[str, Any]) -> dict[str, Any]:
    """Let clients ask for all sorts of things, some wrong, some of which they do not wait for; follow the memory."""
    texts = json.loads(Path(task["texts"]).read_text(encoding="utf-8"))
    return asyncio.run(_soak(task, texts))


async def _soak(task: dict[str, Any], texts: list[str]) -> dict[str, Any]:
    answers: dict[str, Counter[str]] = {action: Counter() for action in ACTIONS}
    series: list[tuple[float, float]] = []
    began = time.perf_counter()
    numbers = itertools.count()

    async def client(api: httpx.AsyncClient) -> None:
        draws = random.Random(f"{task['seed']} {next(numbers)}")
        while time.perf_counter() - began < task["seconds"]:
            (action,) = draws.choices(list(ACTIONS), list(ACTIONS.values()))
            answers[action][await _done(api, task, texts, action, draws)] += 1

    async def follow() -> None:
        while time.perf_counter() - began < task["seconds"]:
            series.append((time.perf_counter() - began, resident_mb(task["pid"])))
            await asyncio.sleep(min(5.0, task["seconds"] / 20))

    await asyncio.gather(_together(task, client), follow())
    settled = min(SETTLED, task["seconds"] / 2)
    after = next(mb for seconds, mb in series if seconds >= settled)
    counts = [pair for of in answers.values() for pair in of.items() if pair[0] != "gone"]
    return {
        "answers": {action: dict(of) for action, of in answers.items()},
        "failed": sum(count for kind, count in counts if not kind.isdigit() or int(kind) > 499),
        "settled_mb": after,
        "end_mb": series[-1][1],
        "series": [[round(seconds, 1), round(mb, 1)] for seconds, mb in series],
    }


async def _done(
    api: httpx.AsyncClient, task: dict[str, Any], texts: list[str], action: str, draws: random.Random
) -> str:
    """Do one thing; return the status, or the kind of error."""
    form, path = task["form"], task["path"]
    if action == "health":
        return (await _asked(api, "/health", None))[0]
    if action == "bad request":
        bad = draws.choice([*NOT_JSON, body(form, []), body(form, [" "])])
        return (await _asked(api, path, bad))[0]
    if action == "several texts":
        chosen = draws.sample(texts, min(draws.randint(2, 16), len(texts)))
    else:
        chosen = [draws.choice(texts) * (20 if action == "long text" else 1)]
    asked = _asked(api, path, body(form, chosen))
    if action != "gone":
        return (await asked)[0]
    try:
        return (await asyncio.wait_for(asked, draws.uniform(0.001, 0.05)))[0]
    except TimeoutError:  # the connection is closed with it
        return "gone"


async def _asked(api: httpx.AsyncClient, path: str, content: bytes | None) -> tuple[str, bytes]:
    """Return the status of an answer, or the kind of error, and the answer."""
    try:
        asked = api.get(path) if content is None else api.post(path, content=content, headers=HEADERS)
        answer = await asked
    except httpx.HTTPError as error:
        return type(error).__name__, b""
    return str(answer.status_code), answer.content


async def _together(task: dict[str, Any], client: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
    limits = httpx.Limits(max_connections=task["clients"], max_keepalive_connections=task["clients"])
    async with httpx.AsyncClient(base_url=task["url"], limits=limits, timeout=PATIENCE, trust_env=False) as api:
        await asyncio.gather(*(client(api) for _ in range(task["clients"])))


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
