"""One source text to the documented functions, methods and classes in it, their docstrings cut out."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

# A form feed sets the tokenizer's column to zero: what stands before it in its line is no indentation.
_FORM_FEED = re.compile(r"^[ \t\f]*\f", re.MULTILINE)
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_BLOCKS: dict[type[ast.AST], tuple[str, ...]] = {  # blocks of a statement, last first
    ast.If: ("orelse", "body"),
    ast.For: ("orelse", "body"),
    ast.AsyncFor: ("orelse", "body"),
    ast.While: ("orelse", "body"),
    ast.With: ("body",),
    ast.AsyncWith: ("body",),
    ast.Try: ("finalbody", "orelse", "handlers", "body"),
    ast.TryStar: ("finalbody", "orelse", "handlers", "body"),
    ast.ExceptHandler: ("body",),
    ast.Match: ("cases",),
    ast.match_case: ("body",),
}
_NESTING = {ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, *_BLOCKS}
# A string on the line below a colon, or behind the colon that ends a header: without one there is no docstring.
_MAYBE_DOCSTRING = re.compile(
    r"""
      :[ \t]*(?:\#.*)?\\?\n (?:[ \t\f]*(?:\#.*)?\n)* [ \t\f]*\(*[rRuU]?["']
    | ^[ \t\f]*(?:(?:async[ \t]+)?def|class|\)).*:[ \t]*\(*[rRuU]?["']
    """,
    re.VERBOSE | re.MULTILINE,
)
# Strings and comments are stepped over; what matches nothing is where a definition begins at the margin.
_MARGIN = re.compile(
    r'''
      """(?:[^"\\]++|\\.|"(?!""))*+""" | "(?:[^"\\\n]++|\\.)*+"
    | \'\'\'(?:[^'\\]++|\\.|'(?!\'\'))*+\'\'\' | '(?:[^'\\\n]++|\\.)*+'
    | \#[^\n]*+
    | ^(?=@|(?:def|class|async)\b)
    ''',
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)
_PARAGRAPH = re.compile(r"\n[ \t]*\n")
_MARK = r"""(?:
      (?:arg(?:ument)?|param(?:eter)?|return|yield|raise|example|note|input|output|attribute|usage)s?[ ]*:
    | key(?:word)?[ ]arg\w*[ ]*: | >>> | [-=~^*+\#]{3,} | [-*•+][ ] | \d+[.)][ ] | \.\.[ ]
)"""  # a heading, an interactive session, an underline, a list, a directive
_SECTION = re.compile(
    rf"\n[ \t]*(?:{_MARK} | [:@]\w)", re.VERBOSE | re.IGNORECASE
)  # the line after a paragraph's prose
_NO_PROSE = re.compile(  # nor is a field such as ":param x:" prose, or an argument: "mask (`Tensor`, *optional*): ..."
    rf"{_MARK} | :\w+[^`:]*:(?!`) | @\w | [*`]*\w+[*`]*[ ]\(.*\)[ ]*:", re.VERBOSE | re.IGNORECASE
)
_SIGNATURE = re.compile(r"[\w.]+\(.*\)(?: ?(?:->|=>|:) ?.*)?$")
_SENTENCE_END = re.compile(r"[.!?][)\"'`*]*(?= +[^a-z ])")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.?g|i\.?e|etc|vs|cf|al|resp|approx|fig|eq|sec|no|ca|dr|mr|st|[A-Z])|\.)\.$", re.IGNORECASE
)


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


class Documented(NamedTuple):
    """A definition, its docstring as Python reads it, its qualified name, and "function", "method" or "class"."""

    node: Definition
    docstring: str
    name: str
    kind: str


def documented(tree: ast.Module) -> Iterator[Documented]:
    """Yield the documented definitions of a module in source order."""
    # A stack, not recursion: long chains of elif nest deeply.
    stack: list[tuple[ast.AST, str, bool]] = []
    _push(stack, tree.body, "", False)
    while stack:
        node, scope, in_class = stack.pop()
        if isinstance(node, Definition):
            name, is_class = scope + node.name, isinstance(node, ast.ClassDef)
            if (docstring := _docstring(node)) is not None:
                kind = "class" if is_class else "method" if in_class else "function"
                yield Documented(node, docstring, name, kind)
            _push(stack, node.body, f"{name}." if is_class else f"{name}.<locals>.", is_class)
        else:
            for block in _BLOCKS[type(node)]:
                _push(stack, getattr(node, block), scope, in_class)


def _push(stack: list[tuple[ast.AST, str, bool]], nodes: Sequence[ast.AST], scope: str, in_class: bool) -> None:
    stack.extend((node, scope, in_class) for node in reversed(nodes) if type(node) in _NESTING)  # one in ten


def _docstring(node: Definition) -> str | None:
    match node.body[0]:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return text
    return None


def promising_parts(text: str) -> Iterator[str]:
    """Yield the parts of a source text that may hold docstrings, cut where definitions begin at the margin.

    A third of all source holds none: tests, tables, small helpers. The parser takes most of a harvest's time, so what
    it need not see is left out; and it is faster on small texts. A syntax error in what is left out is not noticed.
    """
    if not _MAYBE_DOCSTRING.search(text):
        return
    starts = (match.start() for match in _MARGIN.finditer(text) if match.start() == match.end())
    for start, stop in pairwise([0, *starts, len(text)]):
        part = text[start:stop]
        if _MAYBE_DOCSTRING.search(part):
            yield part


def summary(docstring: str, max_characters: int, min_words: int) -> str:
    """Return the first sentence of a docstring's first paragraph of prose on one line, "" where there is none.

    A summary of fewer than `min_words` words, without a letter, or with a lone surrogate (which no file can hold) is
    none. One longer than `max_characters` ends at a word.
    """
    text = ""
    for paragraph in _PARAGRAPH.split(docstring.strip(), maxsplit=2)[:2]:
        text = " ".join(_SECTION.split(paragraph, maxsplit=1)[0].split())
        if not _SIGNATURE.match(text):  # written by hand for C functions; the prose follows it
            break
    if _NO_PROSE.match(text):
        return ""
    text = _shorten(_first_sentence(text, min_words), max_characters)
    if text.count(" ") + 1 < min_words or not any(map(str.isalpha, text)) or not _is_encodable(text):
        return ""
    return text


def _first_sentence(text: str, min_words: int) -> str:
    for end in _SENTENCE_END.finditer(text):
        sentence = text[: end.end()]
        if sentence.count(" ") + 1 >= min_words and not _ABBREVIATION.search(sentence):
            return sentence
    return text


def _shorten(text: str, max_characters: int) -> str:
    if len(text) <= max_characters:
        return text
    return text[: max_characters + 1].rpartition(" ")[0]


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
