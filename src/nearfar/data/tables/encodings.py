"""Encodings: what the bytes of a file say, and a refusal of those that are not UTF-8 text with line feeds."""

from __future__ import annotations

from pathlib import Path

from nearfar.data.tables.files import KNOWN_FORMATS, LONGEST_ROW, explain_read_errors, open_bytes
from nearfar.errors import InputError

_CONTROLS = [bytes([code]) for code in range(1, 32) if code not in (8, 9, 10, 12, 13, 27)]  # not of any text
_WIDE = (  # the marks of other encodings; that of UTF-32 starts like one of UTF-16
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


def first_bytes(path: Path) -> bytes:
    """Return the first 64 kB of a text file, decompressed. Errors: InputError where it cannot be UTF-8 text."""
    with explain_read_errors(path), open_bytes(path) as stream:
        head = stream.read(1 << 16)
    if not head.strip():
        raise InputError(f"{path}: the file is empty; write at least one row")
    check_utf8(path, head, f"give {KNOWN_FORMATS}")
    return head


def check_utf8(path: Path, data: bytes, fix: str) -> None:
    """Raise InputError for text in UTF-16 or UTF-32, and for what has zero bytes and is no text. fix: of the latter."""
    if (encoding := _wide_encoding(data)) is not None:
        raise InputError(
            f"{path}: is {encoding} text; convert it: iconv -f {encoding} -t UTF-8 {path.name} > utf8-{path.name}"
        )
    if b"\0" in data:
        raise InputError(f"{path}: is a binary file, not text (a zero byte at {data.index(0)}); {fix}")


def _wide_encoding(data: bytes) -> str | None:
    """Return the name of an encoding of two or four bytes a letter: by its mark, or by where zero bytes stand."""
    if (marked := next((name for mark, name in _WIDE if data.startswith(mark)), None)) is not None:
        return marked
    pairs, first, second = len(data) // 2, data[::2].count(0), data[1::2].count(0)
    if pairs < 4 or max(first, second) < 0.2 * pairs or min(first, second) > 0.02 * pairs:
        return None
    return "UTF-16LE" if second > first else "UTF-16BE"  # the zero is the upper byte of a Latin letter


def check_line_ends(path: Path, head: bytes) -> None:
    """Raise InputError for a file whose lines end with carriage returns alone. head: its first bytes."""
    if b"\r" not in head or b"\n" in head:
        return
    with explain_read_errors(path), open_bytes(path) as stream:
        if stream.readline(LONGEST_ROW).endswith(b"\n"):  # a long first line
            return
    raise InputError(
        f"{path}: its lines end with carriage returns alone; convert it: "
        f"tr '\\r' '\\n' < {path.name} > lines-{path.name}"
    )


def is_binary(head: bytes) -> bool:
    """Return whether a file is no text, by its first bytes: a zero byte, or a tenth of other control characters.

    Text in UTF-16 or UTF-32 is text, which `check_utf8` names.
    """
    if _wide_encoding(head) is not None:
        return False
    controls = sum(head.count(code) for code in _CONTROLS)
    return b"\0" in head or controls > 0.1 * len(head)
