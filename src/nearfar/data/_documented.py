"""The definitions of a syntax tree that have a docstring."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import NamedTuple

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


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


def _docstring(node: Definition) -> str | None:
    match node.body[0]:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return text
    return None
