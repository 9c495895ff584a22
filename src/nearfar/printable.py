"""What a text from data may hold: characters that command a terminal or turn its lines, and what is no text at all."""

from __future__ import annotations

import re

# C0 but tab, newline and the carriage return before one; DEL and C1; the overrides and embeddings of direction.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|\r(?!\n)")


def printable(text: str) -> str:
    r"""Return a text in which its control characters are escapes, "\u001b", that say what they are and do nothing.

    A text from data could else colour or clear the terminal, write over what stands above it, set the window's title,
    or show its letters in another order (CVE-2021-42574). Tabs and newlines stay, and so do the marks that
    right-to-left scripts need. Inside JSON the result is the same value, for JSON has these escapes, too.

    Example:
        >>> print(printable("a \x1b[31mred\x1b[0m fox"))
        a \u001b[31mred\u001b[0m fox

    When not to use it: for a text that is kept, embedded or compared.
    """
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def is_encodable(text: str) -> bool:
    """Return whether a text can be written as UTF-8, which lone surrogates cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
