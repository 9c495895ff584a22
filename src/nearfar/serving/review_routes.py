"""The review of pairs over HTTP, and its page: one at a time, a key a verdict."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from nearfar.printable import printable
from nearfar.serving.errors import ApiError, responses
from nearfar.serving.fields import Body
from nearfar.serving.page_routes import HEADERS, page_files
from nearfar.serving.review_queue import ReviewQueue

LONGEST = 20_000  # characters of a text that are shown
PAGE = "/review"
FILES = ("review.js", "review.css", "page.css")
# What needs no key: the page asks for one itself.
OPEN_PATHS = frozenset({PAGE, *(f"{PAGE}/{name}" for name in FILES)})
Action = Literal["keep", "drop", "positive"]
Number = Annotated[int, Path(ge=0, le=10**9)]


class Verdict(Body):
    """Keep the pair as it is, drop it, or take a mined negative for a positive."""

    action: Action


class ReviewItem(BaseModel):
    """A mined negative beside its query and a known positive; scores by scorer, of the positive and of the negative.

    listed: the pair is one that the data lists: `negative` is its key, `positive` what it is like, or empty.
    number: from 0, of count. action: what was decided on it. decided: how many are. next: the next undecided one.
    """

    number: int
    count: int
    query: str
    positive: str
    negative: str
    scores: dict[str, tuple[float, float]]
    reason: str
    listed: bool
    action: Action | None
    decided: int
    next: int | None


def router(queue: ReviewQueue) -> APIRouter:
    """Return the routes under /review."""
    routes = APIRouter(prefix=PAGE, tags=["review"])

    @routes.get("/items/{number}", response_model=ReviewItem, responses=responses(404))
    async def item(number: Number) -> ReviewItem:
        """Show a pair, and what was decided on it."""
        _refuse_number(queue, number)
        return await run_in_threadpool(_item, queue, number)

    @routes.put("/items/{number}", response_model=ReviewItem, responses=responses(404))
    async def decide(number: Number, verdict: Verdict) -> ReviewItem:
        """Decide on a pair."""
        _refuse_number(queue, number)
        await run_in_threadpool(queue.decide, number, verdict.action)
        return await run_in_threadpool(_item, queue, number)

    @routes.delete("/items/{number}", response_model=ReviewItem, responses=responses(404))
    async def undo(number: Number) -> ReviewItem:
        """Take back the last decision on a pair."""
        _refuse_number(queue, number)
        await run_in_threadpool(queue.undo, number)
        return await run_in_threadpool(_item, queue, number)

    for path, name in [("", "review.html"), *((f"/{name}", name) for name in FILES)]:
        routes.add_api_route(path, _file(name), methods=["GET"], include_in_schema=False)
    return routes


def _refuse_number(queue: ReviewQueue, number: int) -> None:
    if number >= len(queue):
        raise ApiError(404, f"no item {number}; there are {len(queue)}, from 0 on", param="number", code="not_found")


def _item(queue: ReviewQueue, number: int) -> ReviewItem:
    one, actions = queue.suspects[number], queue.actions()
    order = [*range(number + 1, len(queue)), *range(number)]
    return ReviewItem.model_validate(
        {
            "number": number,
            "count": len(queue),
            **{name: _shown(getattr(one, name)) for name in ("query", "positive", "negative", "reason")},
            "scores": {_shown(name): pair for name, pair in one.scores.items()},
            "listed": one.listed,
            "action": actions[number],
            "decided": sum(action is not None for action in actions),
            "next": next((i for i in order if actions[i] is None), None),
        }
    )


def _shown(text: str) -> str:
    """Return a text without its control characters, and only the beginning of a long one."""
    return printable(text if len(text) <= LONGEST else f"{text[:LONGEST]} …")


def _file(name: str) -> Callable[[], Awaitable[Response]]:
    data, kind = page_files()[name]

    async def answer() -> Response:
        return Response(data, headers=HEADERS, media_type=kind)

    return answer
