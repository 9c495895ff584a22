"""The review of pairs over HTTP, and its page: one at a time, a key a verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from nearfar.printable import printable
from nearfar.serving.errors import ApiError, responses
from nearfar.serving.fields import Body
from nearfar.serving.page_routes import file_answer
from nearfar.serving.review_queue import ANY, ReviewQueue

LONGEST = 20_000  # characters of a text that are shown
PAGE = "/review"
OPEN_PATHS = frozenset({PAGE})  # needs no key: the page asks for one itself
Action = Literal["keep", "drop", "positive"]
Number = Annotated[int, Path(ge=0, le=10**9)]


class Verdict(Body):
    """Keep the pair as it is, drop it, or take a mined negative for a positive.

    seen: the action that was shown, null where there was none; 409, if another one holds now. Without it none is asked.
    """

    action: Action
    seen: Action | None = None


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

    @routes.put("/items/{number}", response_model=ReviewItem, responses=responses(404, 409))
    async def decide(number: Number, verdict: Verdict) -> ReviewItem:
        """Decide on a pair."""
        _refuse_number(queue, number)
        seen = verdict.seen if "seen" in verdict.model_fields_set else ANY
        return await run_in_threadpool(_changed, queue, number, queue.decide, verdict.action, seen)

    @routes.delete("/items/{number}", response_model=ReviewItem, responses=responses(404, 409))
    async def undo(number: Number, seen: Action | None = None) -> ReviewItem:
        """Take back the last decision on a pair. seen: which it is; 409, if another one holds now."""
        _refuse_number(queue, number)
        return await run_in_threadpool(_changed, queue, number, queue.undo, seen or ANY)

    routes.add_api_route("", file_answer("review.html"), methods=["GET"], include_in_schema=False)
    return routes


def _refuse_number(queue: ReviewQueue, number: int) -> None:
    if number >= len(queue):
        raise ApiError(404, f"no item {number}; there are {len(queue)}, from 0 on", param="number", code="not_found")


def _changed(queue: ReviewQueue, number: int, change: Callable[..., bool], *given: Any) -> ReviewItem:
    """Decide, or take back, and return the item. Errors: `ApiError` where another has decided meanwhile."""
    is_changed, found = change(number, *given), _item(queue, number)
    if not is_changed:
        now = "took the decision back" if found.action is None else f"decided: {found.action}"
        raise ApiError(409, f"somebody else {now}, since this pair was shown; decide again", code="decided_meanwhile")
    return found


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
