"""What a text from data may hold: characters that command a terminal or turn its lines, and what is no text at all."""

from __future__ import annotations

import re
import sys

# C0 but tab, newline and the carriage return before one; DEL and C1; all that have Unicode's property Bidi_Control,
# which show letters in another order; lone surrogates, which stand for the bytes of a path that are not UTF-8.
_CONTROL = "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
_OF_TEXT = re.compile(_CONTROL + "|\r(?!\n)")
_OF_LINE = re.compile(_CONTROL + "|[\n\r\u2028\u2029]")


def printable(text: str) -> str:
    r"""Return a text in which its control characters are escapes, "\u001b", that say what they are and do nothing.

    A text from data could else colour or clear the terminal, write over what stands above it, set the window's title,
    or show its letters in another order (CVE-2021-42574). Tabs and newlines stay. Inside JSON the result is the same
    value, for JSON has these escapes, too.

    Example:
        >>> print(printable("a \x1b[31mred\x1b[0m fox"))
        a \u001b[31mred\u001b[0m fox

    When not to use it: for a text that is kept, embedded or compared.
    """
    return _OF_TEXT.sub(_escape, text)


def printable_line(text: str) -> str:
    """Return a text as `printable` does, as one line: a name that holds a newline could else say a line of its own."""
    return _OF_LINE.sub(_escape, text)


def show(*lines: str, error: bool = False, flush: bool = False) -> None:
    """Print lines, each of which stays one, without control characters. error: on standard error.

    All that nearfar prints goes through here, or through rich with texts that are `printable`.
    """
    for line in lines:
        print(printable_line(line), file=sys.stderr if error else sys.stdout, flush=flush)


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def is_encodable(text: str) -> bool:
    """Return whether a text can be written as UTF-8, which lone surrogates cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
