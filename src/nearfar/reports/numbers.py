"""How the pages write numbers: those of `figures`, with a true minus and a dash for none; and powers for axes."""

from __future__ import annotations

import re
from typing import Any

from nearfar import figures

MINUS = "\u2212"
DASH = "\u2013"
_HYPHEN = re.compile(r"(?<![\w-])-(?=\d)")  # before a number, and not within a name
_SUPERSCRIPTS = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")


def number(value: float | None, sign: bool = False) -> str:
    """Return a number as `figures.number` writes it. None is a dash."""
    return DASH if value is None else _typeset(figures.number(value, sign=sign))


def interval(given: Any, sign: bool = False) -> str:
    """Return an interval {"low", "high"} as `figures.bounds` writes it; "" where there is none."""
    return _typeset(figures.bounds(given, sign=sign))


def short(value: float, digits: int = 3) -> str:
    """Return a number in so many significant digits, as `figures.short` writes it."""
    return _typeset(figures.short(value, digits))


def power(value: float) -> str:
    """Return a number in three digits with a power of ten, as an axis needs it whose ticks lie close: 2·10⁻⁷."""
    mantissa, _, exponent = f"{value:.3g}".partition("e")
    places = f"\u00b710{str(int(exponent)).translate(_SUPERSCRIPTS)}" if exponent else ""
    return _typeset(mantissa) + places


def minus(text: str) -> str:
    """Return a text with a true minus in front of its negative numbers."""
    return _HYPHEN.sub(MINUS, text)


def _typeset(text: str) -> str:
    return text.replace("-", MINUS)
