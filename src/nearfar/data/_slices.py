"""One source text to the documented functions, methods and classes in it, their docstrings cut out."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nearfar.data._documented import Definition, Documented, documented
from nearfar.data._summaries import summary


@dataclass(frozen=True)
class Limits:
    """What makes a row; part of the cache's key."""

    max_code: int = 4000  # characters; longer code ends at the last whole line before
    max_summary: int = 300  # characters
    min_words: int = 3  # of the summary
    min_body: int = 40  # characters of a body of one line


class Slice(NamedTuple):
    """One definition of a source text."""

    summary: str
    code: str
    name: str
    kind: str


# A form feed sets the tokenizer's column to zero: what stands before it in its line is no indentation.
_FORM_FEED = re.compile(r"^[ \t\f]*\f", re.MULTILINE)


def slices(text: str, limits: Limits) -> Iterator[Slice]:
    """Yield the documented definitions of a source text (newlines as `\\n`) in source order.

    Errors: those of `ast.parse`: SyntaxError, ValueError, RecursionError, MemoryError.
    """
    if "\f" in text:
        text = _FORM_FEED.sub("", text)
    found = list(documented(ast.parse(text)))
    lines = text.split("\n")  # not splitlines: the tokenizer ends no line at \v, \x1c or U+2028
    kept = _without_docstrings(lines, found)
    for node, docstring, name, kind in found:
        if _is_stub(node) or not _has_body(node, lines, kept, limits):
            continue
        query = summary(docstring, limits.max_summary, limits.min_words)
        if query and (code := _code(node, lines, kept, limits)):
            yield Slice(query, code, name, kind)


def _without_docstrings(lines: Sequence[str], found: Sequence[Documented]) -> list[str | None]:
    """Return the lines with every docstring cut out, None where a whole line goes: one edit serves all definitions."""
    kept: list[str | None] = list(lines)
    for node, *_ in found:
        _cut(node, lines, kept)
    return kept


def _cut(node: Definition, lines: Sequence[str], kept: list[str | None]) -> None:
    docstring, following = node.body[0], node.body[1] if len(node.body) > 1 else None
    first, last = docstring.lineno - 1, _end(docstring) - 1
    before = _split(lines[first], docstring.col_offset)[0]
    after = _split(lines[last], docstring.end_col_offset or 0)[1].strip()
    kept[first : last + 1] = [None] * (last + 1 - first)
    if following is None:
        kept[first] = f"{before}..."  # a body may not be empty, and this one may stand inside a longer definition
    elif following.lineno - 1 == last or after.endswith("\\"):  # joined by a semicolon
        at = following.lineno - 1
        kept[first : at + 1] = [None] * (at + 1 - first)
        kept[first] = before + _split(lines[at], following.col_offset)[1]
    elif not lines[last + 1].strip():
        kept[last + 1] = None  # the blank line below a docstring


def _split(line: str, column: int) -> tuple[str, str]:
    """Split a line at a column as `ast` counts it: in bytes of UTF-8."""
    if line.isascii():
        return line[:column], line[column:]
    data = line.encode()
    return data[:column].decode(), data[column:].decode()


def _end(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno


def _is_stub(node: Definition) -> bool:
    return all(_does_nothing(statement) for statement in node.body[1:])


def _does_nothing(statement: ast.stmt) -> bool:
    match statement:
        case ast.Pass() | ast.Expr(value=ast.Constant()):
            return True
        case ast.Raise(exc=ast.Name(id=name) | ast.Call(func=ast.Name(id=name))):
            return name == "NotImplementedError"
    return False


def _has_body(node: Definition, lines: Sequence[str], kept: Sequence[str | None], limits: Limits) -> bool:
    """Two lines of code below the docstring are enough, or one long one."""
    start = node.body[1].lineno - 1
    count = 0
    for line in (_split(lines[start], node.body[1].col_offset)[1], *kept[start + 1 : _end(node)]):
        stripped = line.strip() if line else ""
        if stripped and stripped[0] != "#":
            count += 1
            if count == 2 or len(stripped) >= limits.min_body:
                return True
    return False


def _code(node: Definition, lines: Sequence[str], kept: Sequence[str | None], limits: Limits) -> str:
    start = node.lineno - 1  # of `def` or `class`: decorators stand above
    indent = lines[start][: node.col_offset]
    code = "\n".join(line.removeprefix(indent) for line in kept[start : _end(node)] if line is not None)
    if len(code) > limits.max_code:
        code = code[: max(code.rfind("\n", 0, limits.max_code + 1), 0)]
        if len(code) < limits.max_code // 4:  # one endless line follows: a table, generated text
            return ""
    return code.rstrip(" \t\\\n")
