"""From one source text to its documented functions, methods and classes: a summary, and the code without docstrings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from nearfar.printable import is_encodable

DefinitionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_BLOCK_FIELDS: dict[type[ast.AST], tuple[str, ...]] = {  # by statement: the attributes with its blocks, last first
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
_MAY_HOLD_DEFINITIONS = {ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, *_BLOCK_FIELDS}
# A form feed sets the tokenizer's column to zero: what precedes it in its line is no indentation.
_FORM_FEED = re.compile(r"^[ \t\f]*\f", re.MULTILINE)
# A string on the line below a colon, or behind the colon that ends a header: without one there is no docstring.
_MAYBE_DOCSTRING = re.compile(
    r"""
      :[ \t]*(?:\#.*)?\\?\n (?:[ \t\f]*(?:\#.*)?\n)* [ \t\f]*\(*[rRuU]?["']
    | ^[ \t\f]*(?:(?:async[ \t]+)?def|class|\)).*:[ \t]*\(*[rRuU]?["']
    """,
    re.VERBOSE | re.MULTILINE,
)
# Matches strings and comments, to skip them, and the empty text where a definition begins at column 0. There are no
# possessive repeats of groups: Python 3.11.2 gets those wrong, and cut 55 of 6,000 files inside a string.
_TOP_LEVEL = re.compile(
    r'''
      """[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*""" | "[^"\\\n]*(?:\\.[^"\\\n]*)*"
    | \'\'\'[^'\\]*(?:(?:\\.|'(?!\'\'))[^'\\]*)*\'\'\' | '[^'\\\n]*(?:\\.[^'\\\n]*)*'
    | \#[^\n]*
    | ^(?=@|(?:def|class|async)\b)
    ''',
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)
_PARAGRAPH = re.compile(r"\n[ \t]*\n")
_NOT_PROSE = r"""(?:
      (?:arg(?:ument)?|param(?:eter)?|return|yield|raise|example|note|input|output|attribute|usage)s?[ ]*:
    | key(?:word)?[ ]arg\w*[ ]*: | >>> | [-=~^*+\#]{3,} | [-*•+][ ] | \d+[.)][ ] | \.\.[ ]
)"""  # a heading, an interactive session, an underline, a list, a directive
# Where the next line of a paragraph is no prose.
_END_OF_PROSE = re.compile(rf"\n[ \t]*(?:{_NOT_PROSE} | [:@]\w)", re.VERBOSE | re.IGNORECASE)
# Nor is a field such as ":param x:" prose, or an argument: "mask (`Tensor`, *optional*): ...".
_STARTS_WITHOUT_PROSE = re.compile(
    rf"{_NOT_PROSE} | :\w+[^`:]*:(?!`) | @\w | [*`]*\w+[*`]*[ ]\(.*\)[ ]*:", re.VERBOSE | re.IGNORECASE
)
_SIGNATURE = re.compile(r"[\w.]+\(.*\)(?: ?(?:->|=>|:) ?.*)?$")
_SENTENCE_END = re.compile(r"[.!?][)\"'`*]*(?= +[^a-z ])")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.?g|i\.?e|etc|vs|cf|al|resp|approx|fig|eq|sec|no|ca|dr|mr|st|[A-Z])|\.)\.$", re.IGNORECASE
)


@dataclass(frozen=True)
class Limits:
    """Which definitions become a pair; the name of a cache file depends on it."""

    max_code: int = 4000  # characters; longer code ends at the last whole line before
    max_summary: int = 300  # characters
    min_words: int = 3  # of the summary
    min_body: int = 40  # characters, of a body of one line


class DocumentedCode(NamedTuple):
    """One definition: the summary of its docstring, its code without docstrings, its qualified name and kind."""

    summary: str
    code: str
    name: str
    kind: str


def documented_code(text: str, limits: Limits) -> Iterator[DocumentedCode]:
    """Yield the documented definitions of a source text (line ends as `\\n`) in source order.

    Errors: those of `ast.parse`: SyntaxError, ValueError, RecursionError, MemoryError.
    """
    if "\f" in text:
        text = _FORM_FEED.sub("", text)
    found = list(documented_nodes(ast.parse(text)))
    lines = text.split("\n")  # not splitlines, which also splits at \v, \x1c and U+2028, as the tokenizer does not
    edited = _without_docstrings(lines, found)
    for node, docstring, name, kind in found:
        if _is_stub(node) or not _has_body(node, lines, edited, limits):
            continue
        query = summary(docstring, limits.max_summary, limits.min_words)
        if query and (code := _code(node, lines, edited, limits)):
            yield DocumentedCode(query, code, name, kind)


def _without_docstrings(lines: Sequence[str], found: Sequence[DocumentedNode]) -> list[str | None]:
    """Return the lines with all docstrings removed, None for a removed line; all definitions share the result."""
    edited: list[str | None] = list(lines)
    for node, *_ in found:
        _cut_docstring(node, lines, edited)
    return edited


def _cut_docstring(node: DefinitionNode, lines: Sequence[str], edited: list[str | None]) -> None:
    docstring, following = node.body[0], node.body[1] if len(node.body) > 1 else None
    first, last = docstring.lineno - 1, _last_line(docstring) - 1
    before = _split_at(lines[first], docstring.col_offset)[0]
    after = _split_at(lines[last], docstring.end_col_offset or 0)[1].strip()
    edited[first : last + 1] = [None] * (last + 1 - first)
    if following is None:
        edited[first] = f"{before}..."  # a body may not be empty; this one may be nested in a longer definition
    elif following.lineno - 1 == last or after.endswith("\\"):  # joined by a semicolon
        at = following.lineno - 1
        edited[first : at + 1] = [None] * (at + 1 - first)
        edited[first] = before + _split_at(lines[at], following.col_offset)[1]
    elif not lines[last + 1].strip():
        edited[last + 1] = None  # the blank line below a docstring


def _split_at(line: str, column: int) -> tuple[str, str]:
    """Split a line at a column as `ast` counts it: in bytes of UTF-8."""
    if line.isascii():
        return line[:column], line[column:]
    data = line.encode()
    return data[:column].decode(), data[column:].decode()


def _last_line(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno


def _is_stub(node: DefinitionNode) -> bool:
    return all(_does_nothing(statement) for statement in node.body[1:])


def _does_nothing(statement: ast.stmt) -> bool:
    match statement:
        case ast.Pass() | ast.Expr(value=ast.Constant()):
            return True
        case ast.Raise(exc=ast.Name(id=name) | ast.Call(func=ast.Name(id=name))):
            return name == "NotImplementedError"
    return False


def _has_body(node: DefinitionNode, lines: Sequence[str], edited: Sequence[str | None], limits: Limits) -> bool:
    """Say whether at least two lines of code, or one long line, follow the docstring."""
    start = node.body[1].lineno - 1
    count = 0
    for line in (_split_at(lines[start], node.body[1].col_offset)[1], *edited[start + 1 : _last_line(node)]):
        stripped = line.strip() if line else ""
        if stripped and stripped[0] != "#":
            count += 1
            if count == 2 or len(stripped) >= limits.min_body:
                return True
    return False


def _code(node: DefinitionNode, lines: Sequence[str], edited: Sequence[str | None], limits: Limits) -> str:
    start = node.lineno - 1  # the line of `def` or `class`; decorators are above it
    indent = lines[start][: node.col_offset]
    code = "\n".join(line.removeprefix(indent) for line in edited[start : _last_line(node)] if line is not None)
    if len(code) > limits.max_code:
        code = code[: max(code.rfind("\n", 0, limits.max_code + 1), 0)]
        if len(code) < limits.max_code // 4:  # a very long line follows: a table, generated text
            return ""
    return code.rstrip(" \t\\\n")


class DocumentedNode(NamedTuple):
    """A definition, its docstring, its qualified name, and its kind: "function", "method" or "class"."""

    node: DefinitionNode
    docstring: str
    name: str
    kind: str


def documented_nodes(tree: ast.Module) -> Iterator[DocumentedNode]:
    """Yield the documented definitions of a module in source order."""
    # A stack, not recursion: long chains of elif nest deeply.
    stack: list[tuple[ast.AST, str, bool]] = []
    _push(stack, tree.body, "", False)
    while stack:
        node, scope, in_class = stack.pop()
        if isinstance(node, DefinitionNode):
            name, is_class = scope + node.name, isinstance(node, ast.ClassDef)
            if (docstring := _docstring(node)) is not None:
                kind = "class" if is_class else "method" if in_class else "function"
                yield DocumentedNode(node, docstring, name, kind)
            _push(stack, node.body, f"{name}." if is_class else f"{name}.<locals>.", is_class)
        else:
            for block in _BLOCK_FIELDS[type(node)]:
                _push(stack, getattr(node, block), scope, in_class)


def _push(stack: list[tuple[ast.AST, str, bool]], nodes: Sequence[ast.AST], scope: str, in_class: bool) -> None:
    stack.extend((node, scope, in_class) for node in reversed(nodes) if type(node) in _MAY_HOLD_DEFINITIONS)


def _docstring(node: DefinitionNode) -> str | None:
    match node.body[0]:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return text
    return None


def promising_parts(text: str) -> Iterator[str]:
    """Yield the parts of a source text that may hold docstrings, cut where definitions begin at column 0.

    A third of all source holds none: tests, tables, small helpers. The parser takes most of a harvest's time, so these
    parts are left out; and it is faster on small texts. A syntax error in what is left out is not noticed.
    """
    if not _MAYBE_DOCSTRING.search(text):
        return
    starts = (match.start() for match in _TOP_LEVEL.finditer(text) if match.start() == match.end())
    for start, stop in pairwise([0, *starts, len(text)]):
        part = text[start:stop]
        if _MAYBE_DOCSTRING.search(part):
            yield part


def summary(docstring: str, max_characters: int, min_words: int) -> str:
    """Return the first sentence of a docstring's first paragraph of prose, on one line, or "" where there is none.

    A sentence of fewer than `min_words` words, without a letter, or with a lone surrogate (which no file can hold)
    gives "". A sentence longer than `max_characters` is cut at a word.
    """
    text = ""
    for paragraph in _PARAGRAPH.split(docstring.strip(), maxsplit=2)[:2]:
        text = " ".join(_END_OF_PROSE.split(paragraph, maxsplit=1)[0].split())
        if not _SIGNATURE.match(text):  # the first paragraph of a C function's docstring; the prose follows
            break
    if _STARTS_WITHOUT_PROSE.match(text):
        return ""
    text = _shorten(_first_sentence(text, min_words), max_characters)
    if text.count(" ") + 1 < min_words or not any(map(str.isalpha, text)) or not is_encodable(text):
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
