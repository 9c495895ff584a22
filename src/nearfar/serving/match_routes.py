"""What in a row answers a query: the words that match, and the sentence that is nearest to it by the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from nearfar.index.index import Index
from nearfar.serving.errors import responses
from nearfar.serving.fields import Body, Text
from nearfar.serving.search_routes import Id
from nearfar.serving.served import ServedModel
from nearfar.serving.service import Service
from nearfar.sides import role_reading
from nearfar.text.analyser import word_places
from nearfar.text.matched import matched_spans
from nearfar.text.spans import Span, sentences
from nearfar.text.terms import TermAnalyser

MOST_ROWS = 50
READ = 20_000  # characters of a row's text
MOST_SENTENCES = 40  # of a row, and in all ten times as many
LONGEST_SENTENCE = 2000  # characters that are embedded


class MatchRequest(Body):
    """A query and the ids of rows that were found for it. sentences: whether the nearest one is looked for."""

    text: Text
    ids: Annotated[list[Id], Field(min_length=1, max_length=MOST_ROWS)]
    sentences: bool = True


class MatchedRow(BaseModel):
    """Places in a row's text, (start, stop) in characters (code points), of its first 20,000.

    words: what the search by words matched. sentence: of several, the nearest to the query. score: its cosine.
    """

    id: str
    words: list[tuple[int, int]]
    sentence: tuple[int, int] | None = None
    score: float | None = None


class Matches(BaseModel):
    """The rows that are there and have a text. terms: what the search by words looks for, each as the query has it."""

    terms: dict[str, str]
    rows: list[MatchedRow]


def router(service: Service, index: Index) -> APIRouter:
    """Return the route."""
    routes = APIRouter(tags=["index"])

    @routes.post("/matches", response_model=Matches, responses=responses())
    async def matches(request: MatchRequest) -> Matches:
        """Say what in rows answers a query."""
        return await run_in_threadpool(_matches, service, index, request)

    return routes


def _matches(service: Service, index: Index, request: MatchRequest) -> Matches:
    analyser = TermAnalyser(index.description.language)
    words = [request.text[start:stop] for start, stop in word_places(request.text)]
    terms = {term: word for word in reversed(words) for term in analyser(word)}
    found = [row for row in index.get(request.ids) if row is not None and row.text is not None]
    texts = [(row.text or "")[:READ] for row in found]
    rows = [MatchedRow(id=row.id, words=matched_spans(text, set(terms), analyser)) for row, text in zip(found, texts)]
    if request.sentences and service.model is not None and service.model.reads_texts:
        for row, nearest in zip(rows, _nearest_sentences(service.model, index, request.text, texts)):
            if nearest is not None:
                row.sentence, row.score = nearest
    return Matches(terms=terms, rows=rows)


def _nearest_sentences(
    model: ServedModel, index: Index, query: str, texts: Sequence[str]
) -> list[tuple[Span, float] | None]:
    """Return for each text the sentence nearest to a query and its cosine; None where it has only one."""
    places, left = list[list[Span]](), 10 * MOST_SENTENCES
    for text in texts:
        own = sentences(text)[: min(left, MOST_SENTENCES)]
        places.append(own if len(own) > 1 else [])
        left -= len(places[-1])
    cells = [text[a : min(b, a + LONGEST_SENTENCE)] for text, own in zip(texts, places) for a, b in own]
    if not cells:
        return [None] * len(texts)
    scores = _cosines(model, index.embed(query), cells)
    found, first = list[tuple[Span, float] | None](), 0
    for own in places:
        part = scores[first : first + len(own)]
        first += len(own)
        best = int(part.argmax()) if len(own) else -1
        found.append((own[best], float(part[best])) if best >= 0 and part[best] >= -1 else None)
    return found


def _cosines(model: ServedModel, query: Any, cells: Sequence[str]) -> Any:
    """Return the cosines (n,) of texts with a query's unit vector (d,), -2 of what has no vector."""
    inputs = model.model.inputs(cells, role_reading(model.model.encoder, "text", "key"))
    job = model.threads.submit(inputs, inputs.costs()).result()
    job.vectors[list(job.failed)] = 0
    scores = job.vectors @ query
    scores[list(job.failed)] = -2
    return np.clip(scores, -2, 1)
