"""The templates of all pages, and the filters and charts that they use."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

from nearfar.reports import charts, curves
from nearfar.text.printable import printable


@cache
def template(name: str) -> jinja2.Template:
    """Return a template of `reports/templates` by its file name; it escapes every text, and its control characters.

    Filters: `number`, `finite` (`finite_number`), `tidy` (one space for each run of spaces), `hash` (SHA-256, as a
    Content-Security-Policy names a script). Globals: the modules `charts` and `curves`.
    """
    loader = jinja2.PackageLoader("nearfar.reports", "templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_finalize
    )
    environment.filters |= {"number": number, "finite": finite_number, "tidy": _tidy, "hash": _hash}
    environment.globals |= {"charts": charts, "curves": curves}
    return environment.get_template(name)


def number(value: float | None, sign: bool = False) -> str:
    """Return a number as the pages show it.

    It has three decimals below 10 and fewer above; a small number is never shown as zero; None is a dash.
    """
    if value is None:
        return "\u2013"
    size = abs(value)
    text = f"{size:,.{3 if size < 10 else 1 if size < 1000 else 0}f}"
    if size and not float(text.replace(",", "")):
        text = f"{size:.1g}".replace("-", "\u2212")
    return ("\u2212" if value < 0 else "+" if sign and value > 0 else "") + text


def finite_number(value: Any) -> float | None:
    """Return a value as a float, or None where it is no number, not finite, or too large to be meant."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e100 else None  # NaN is not below either


def _tidy(text: Markup) -> Markup:
    return Markup(" ").join(text.split())


def _finalize(value: Any) -> Any:
    """Return what stands on the page for a value: a text, or what is markup already, without control characters."""
    return type(value)(printable(value)) if isinstance(value, str) else value


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
