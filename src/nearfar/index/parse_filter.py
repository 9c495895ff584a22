"""Filters as people write them: `year >= 2020 and (lang in ('de', 'fr') or not file starts with 'docs/')`.

    filter     = condition {"or" ...} of {"and" ...} of ["not"] condition or (filter)
    condition  = field = != < <= > >= value | field [not] in (value, ...) | field starts with 'text' | field is [not]
                 missing | true | false
    value      = 'text, with two quotes for one' | 12 | -0.5 | 1e3 | true | false
    field      = a word | "any name, with two quotes for one"

Keywords may be written in capitals. `and` binds before `or`, `not` before both.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from nearfar.errors import InputError
from nearfar.index.filters import And, Compare, Filter, Missing, Not, OneOf, Or, StartsWith, checked
from nearfar.index.rows import Kinds

_GRAMMAR = r"""
?start: either
?either: both (_OR both)*
?both: negated (_AND negated)*
?negated: _NOT negated -> no
    | "(" either ")"
    | name OPERATOR value -> compare
    | name _IN "(" value ("," value)* [","] ")" -> one_of
    | name _NOT _IN "(" value ("," value)* [","] ")" -> none_of
    | name _STARTS _WITH TEXT -> starts_with
    | name _IS _MISSING -> missing
    | name _IS _NOT _MISSING -> present
    | TRUE -> always
    | FALSE -> never
name: WORD | QUOTED
value: TEXT | INTEGER | NUMBER | TRUE | FALSE
_AND.2: /and\b/i
_OR.2: /or\b/i
_NOT.2: /not\b/i
_IN.2: /in\b/i
_IS.2: /is\b/i
_MISSING.2: /missing\b/i
_STARTS.2: /starts\b/i
_WITH.2: /with\b/i
TRUE.2: /true\b/i
FALSE.2: /false\b/i
OPERATOR: "=" | "!=" | "<=" | "<" | ">=" | ">"
WORD: /[^\W\d]\w*/
QUOTED: /"(?:[^"]|"")*"/
TEXT: /'(?:[^']|'')*'/
NUMBER.1: /[+-]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][+-]?\d+)?(?![\w.])/
INTEGER: /[+-]?\d+(?![\w.])/
%ignore /\s+/
"""
_LONGEST = 200_000  # characters
_MOST_TRIED = 1000  # opening brackets
_WHAT = {  # terminals in an error, as people know them
    "WORD": "a field",
    "QUOTED": 'a "field"',
    "TEXT": "a text in single quotes",
    "INTEGER": "a number",
    "NUMBER": "a number",
    "OPERATOR": "= != < <= > >=",
    "LPAR": "(",
    "RPAR": ")",
    "COMMA": ",",
    "$END": "the end",
}


def parse(text: str, fields: Kinds) -> Filter:
    """Return a written filter as a checked tree over fields of these kinds.

    Errors: `InputError` for what is no filter, with the place and what could stand there; those of `filters.checked`.
    """
    from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

    if len(text) > _LONGEST:
        raise InputError(f"where: the filter has {len(text):,} characters; {_LONGEST:,} are read; ask in several")
    try:
        found: Filter = _parser().parse(text)
    except UnexpectedInput as error:
        expected: set[str] = set()
        if isinstance(error, UnexpectedToken):
            deep = text.count("(") > _MOST_TRIED  # each terminal would be tried on a copy of the stack
            expected = error.expected if deep else error.accepts
        elif isinstance(error, UnexpectedCharacters):
            expected = error.allowed or set()
        ended = isinstance(error, UnexpectedToken) and error.token.type == "$END"
        place = "" if ended or error.pos_in_stream is None else text[error.pos_in_stream :]
        at = f"at {place[:30]!r}" if place.strip() else "at its end"
        wanted = ", ".join(sorted({_WHAT.get(name, name.strip("_").lower()) for name in expected}))
        raise InputError(f"where: {text[:80]!r} is no filter: {at} stands none of: {wanted}") from error
    return checked(found, fields)


@cache
def _parser() -> Any:
    """Return the parser, which makes the tree while it reads (LALR), so that no depth of nesting fails."""
    from lark import Lark, Transformer, v_args

    @v_args(inline=True)
    class Tree(Transformer[Any, Filter]):
        """The parts of a filter as its tree."""

        def either(self, *conditions: Filter) -> Filter:
            return Or(conditions)

        def both(self, *conditions: Filter) -> Filter:
            return And(conditions)

        def no(self, condition: Filter) -> Filter:
            return Not(condition)

        def compare(self, name: str, sign: Any, value: Any) -> Filter:
            return Compare(name, str(sign), value)  # type: ignore[arg-type]  # one of the grammar's

        def one_of(self, name: str, *values: Any) -> Filter:
            return OneOf(name, tuple(value for value in values if value is not None))  # a last comma gives None

        def none_of(self, name: str, *values: Any) -> Filter:
            return Not(self.one_of(name, *values))

        def starts_with(self, name: str, start: str) -> Filter:
            return StartsWith(name, _unquoted(start))

        def missing(self, name: str) -> Filter:
            return Missing(name)

        def present(self, name: str) -> Filter:
            return Not(Missing(name))

        def always(self, _: Any) -> Filter:
            return And(())

        def never(self, _: Any) -> Filter:
            return Or(())

        def name(self, token: Any) -> str:
            return _unquoted(token) if token.type == "QUOTED" else str(token)

        def value(self, token: Any) -> str | int | float | bool:
            if token.type == "TEXT":
                return _unquoted(token)
            if token.type == "INTEGER":
                return int(token) if len(token) < 100 else float(token)  # beyond 64 bits either way
            return float(token) if token.type == "NUMBER" else token.lower() == "true"

    return Lark(_GRAMMAR, parser="lalr", transformer=Tree(), maybe_placeholders=False)


def _unquoted(token: str) -> str:
    quote = token[0]
    return str(token[1:-1]).replace(quote * 2, quote)
