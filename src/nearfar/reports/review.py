"""The page on which people review likely false negatives."""

from __future__ import annotations

from nearfar.mining.suspects import Review
from nearfar.reports.page import template


def page(review: Review, *, model: str, data: str, out: str) -> str:
    """Return the HTML page on which people decide about suspects and save their decisions as a file; it loads nothing.

    Every text is untrusted and escaped.
    """
    rows = [{"query": s.query, "negative": s.negative, "positive": s.positive} for s in review.suspects]
    return template("review.html.j2").render(review=review, rows=rows, model=model, data=data, out=out)
