"""How the pages write numbers: plain decimals with a true minus and no exponent, and intervals that claim no more."""

from __future__ import annotations

import math
from typing import Any

MINUS = "\u2212"
_LEAST, _MOST = 1e-5, 1e15  # beyond these a number is only compared with them
_SUPERSCRIPTS = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")


def finite_number(value: Any) -> float | None:
    """Return a value as a float, or None where it is no number, not finite, or too large to be meant."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e100 else None  # NaN is not below either


def number(value: float | None, sign: bool = False) -> str:
    """Return a number as the pages show it.

    It has three decimals below 10 and fewer above. A small number is never shown as zero, nor one below 1 as 1: it gets
    more decimals, up to five; below 0.00001 the page says so. None is a dash.

    Example:
        >>> [number(value) for value in (0.5864, 0.00009, 1e-7, 0.99996, 51234.8)]
        ['0.586', '0.00009', '< 0.00001', '0.99996', '51,235']
    """
    if value is None:
        return "\u2013"
    size = abs(value)
    if 0 < size < _LEAST or size >= _MOST:
        return _beyond(value, sign)
    text = f"{size:,.{3 if size < 10 else 1 if size < 1000 else 0}f}"
    if size and not float(text.replace(",", "")):
        text = short(size, 1)
    if size < 1 and text == "1.000":
        text = next((text for d in (4, 5) if (text := f"{size:.{d}f}")[0] == "0"), "0.99999")
    return _signed(text, value, sign)


def interval(low: float | None, high: float | None) -> str:
    """Return the bounds of an interval with as many decimals as tell them apart; "" where there is none.

    Where both bounds are one number, no resample differed, which is no certainty: "no spread to measure".
    """
    if low is None or high is None:
        return ""
    texts = number(low), number(high)
    if texts[0] == texts[1] and max(abs(low), abs(high)) < _MOST:
        decimals = next((d for d in (4, 5, 6) if f"{low:.{d}f}" != f"{high:.{d}f}"), None)
        if decimals is None:
            return "no spread to measure"
        texts = f"{low:.{decimals}f}".replace("-", MINUS), f"{high:.{decimals}f}".replace("-", MINUS)
    return f"[{texts[0]}, {texts[1]}]"


def short(value: float, digits: int = 3) -> str:
    """Return a number in so many significant digits and at least its whole part, without zeros at the end."""
    size = abs(value)
    if not size:
        return "0"
    if size < _LEAST or size >= _MOST:
        return _beyond(value)
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    text = f"{size:,.{decimals}f}"
    return _signed(text.rstrip("0").rstrip(".") if "." in text else text, value)


def power(value: float) -> str:
    """Return a number in three digits with a power of ten, as an axis needs it whose ticks lie close: 2·10⁻⁷."""
    mantissa, _, exponent = f"{value:.3g}".partition("e")
    places = f"\u00b710{str(int(exponent)).translate(_SUPERSCRIPTS)}" if exponent else ""
    return mantissa.replace("-", MINUS) + places


def _beyond(value: float, sign: bool = False) -> str:
    """Return a comparison with the smallest or the largest number that is written out."""
    text = "0.00001" if abs(value) < 1 else f"{_MOST:,.0f}"
    inward = (abs(value) < 1) == (value > 0)
    return ("< " if inward else "> ") + _signed(text, value, sign)


def _signed(text: str, value: float, sign: bool = False) -> str:
    return (MINUS if value < 0 else "+" if sign and value > 0 else "") + text
