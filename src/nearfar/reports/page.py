"""The templates of all pages, and the filters and charts that they use."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

from nearfar.figures import finite, title
from nearfar.printable import printable
from nearfar.reports import charts, curves, scatter
from nearfar.reports.numbers import interval, minus, number, short


@cache
def template(name: str) -> jinja2.Template:
    """Return a template of `reports/templates` by its file name; it escapes every text, and its control characters.

    Filters: `number`, `short`, `interval` and `minus` of `numbers`, `finite` of `figures` and `metric` (its `title`),
    `tidy` (one space for each run of spaces), `hash` (SHA-256, as a Content-Security-Policy names a script). Globals:
    the modules `charts`, `curves` and `scatter`.
    """
    loader = jinja2.PackageLoader("nearfar.reports", "templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_finalize
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}  # a third of the bytes of a Chinese text
    environment.filters |= {"number": number, "short": short, "interval": interval, "finite": finite, "metric": title}
    environment.filters |= {"minus": minus, "tidy": _tidy, "hash": _hash}
    environment.globals |= {"charts": charts, "curves": curves, "scatter": scatter}
    return environment.get_template(name)


def _tidy(text: Markup) -> Markup:
    return Markup(" ").join(text.split())


def _finalize(value: Any) -> Any:
    """Return what stands on the page for a value: a text, or what is markup already, without control characters."""
    return type(value)(printable(value)) if isinstance(value, str) else value


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
