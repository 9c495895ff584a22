"""A given value to the type that a setting is annotated with: texts to numbers, one value to a list of one."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableSequence, Sequence
from contextlib import suppress
from typing import Any

from nearfar.errors import InputError

SEQUENCES = (list, tuple, set, frozenset, Sequence, MutableSequence, Collection, Iterable)
TAKE_A_TEXT_AS_CHARACTERS = (Sequence, MutableSequence, Collection, Iterable)
NOTHING = ("", "~", "none", "null")  # texts that are None, in small letters
LARGEST = 2**63  # what a whole number of a tensor's size, a seed or a row can be


def fitted(hint: Any, value: Any, where: str) -> Any:
    """Return a value as the annotated type has it, read as a person who writes it into a recipe means it.

    "2e-3" and " 2e-3 " are numbers where a number is wanted, "yes" is true where a truth value is wanted, "none" and
    "null" are None where that is allowed and the text itself does not fit; where only a list (a tuple, a set, any
    sequence) fits, one value is a list of one. A text is never a list of its characters, nor cut at commas. Truth
    values are no numbers.

    where: the setting's place in a recipe, for errors.

    Errors: `InputError` with the value, the type and the reason; for numbers that are not finite or beyond 64 bits.

    Example:
        >>> fitted(float, "2e-3", "training.learning_rate"), fitted(list[str], "neg", "positives.negative")
        (0.002, ['neg'])
    """
    validate, reason = _validator(hint), ""
    for reading in _readings(hint, value):
        with suppress(ValueError):  # pydantic's errors are of this type
            found = validate(reading)
            reason = reason or _unusable(value, found)
            if not _unusable(value, found):
                return found
    if not reason:
        try:
            validate(value)
        except ValueError as error:
            reason = _reason(error)
    shown = hint.__name__ if inspect.isclass(hint) else str(hint).replace("typing.", "").replace("pathlib.", "")
    shown = re.sub(r"\b(collections\.abc|nearfar(\.\w+)*)\.", "", shown)
    raise InputError(f"{where}: {_start(value)} does not fit {shown}: {reason}{_advice(hint, value)}")


def refuse_seed(seed: Any, where: str) -> None:
    """Refuse a seed below 0, with which not every generator of random numbers begins."""
    if type(seed) is int and seed < 0:
        raise InputError(f"{where}: {seed} is no seed; give a whole number of at least 0")


def _reason(error: ValueError) -> str:
    """Return what is wrong: what a type of ours says of it, else the first of pydantic's messages."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return str(error)
    found = error.errors()
    own = [str(one["ctx"]["error"]) for one in found if one["type"] == "value_error"]
    return own[0] if own else str(found[0]["msg"])


def _validator(hint: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter
    from pydantic.errors import PydanticUserError

    # A column may be called 2020, which YAML reads as a number.
    config = ConfigDict(arbitrary_types_allowed=True, coerce_numbers_to_str=True, allow_inf_nan=False)
    if typing.get_origin(hint) is Iterable:
        hint = types.GenericAlias(Sequence, typing.get_args(hint))  # pydantic reads an iterable once, and late
    try:
        return TypeAdapter(hint, config=config).validate_python
    except PydanticUserError:  # a class with settings of its own refuses ours
        return TypeAdapter(hint).validate_python


def _readings(hint: Any, value: Any) -> Iterator[Any]:
    """Yield what a value may mean, the likeliest first."""
    kinds = set(_kinds(hint))
    one = isinstance(value, str) and bool(kinds & set(TAKE_A_TEXT_AS_CHARACTERS)) and not kinds & {str, Any, object}
    if not one:
        yield value
    if isinstance(value, str):
        yield from _meanings(value)
    if kinds & set(SEQUENCES) and not isinstance(value, list | tuple | set | frozenset | Mapping | type(None)):
        yield [value]
        if isinstance(value, str):
            yield from ([meaning] for meaning in _meanings(value) if meaning is not None)


def _meanings(text: str) -> Iterator[Any]:
    """Yield what a text means beside itself: nothing, a number such as 1e3, itself without white space around it."""
    bare = text.strip()
    if bare.lower() in NOTHING:
        yield None
    if bare != text:
        yield bare
    with suppress(ValueError):
        yield float(bare)


def _kinds(hint: Any) -> Iterator[Any]:
    """Yield the types that a hint allows, without their brackets: of `list[str] | None` list and NoneType."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        for one in typing.get_args(hint):
            yield from _kinds(one)
    elif origin is typing.Annotated:
        yield from _kinds(typing.get_args(hint)[0])
    else:
        yield origin or hint


def _unusable(value: Any, found: Any) -> str:
    """Return why a value that fits its type is not used all the same; "" where it is."""
    if isinstance(found, list | tuple) and len(found) == 1 and not isinstance(value, list | tuple):
        return _unusable(value, found[0])
    if isinstance(value, bool) and isinstance(found, int | float) and not isinstance(found, bool):
        return "a truth value is no number"
    if isinstance(found, int) and not -LARGEST <= found < LARGEST:
        return "this number is beyond 64 bits"
    return ""


def _advice(hint: Any, value: Any) -> str:
    """Return what to write instead, where YAML or a comma is the likely cause; "" elsewhere."""
    kinds = set(_kinds(hint))
    if isinstance(value, str) and "," in value and kinds & set(SEQUENCES):
        return "; a comma does not make a list: write [a, b]"
    if isinstance(value, bool) and str in kinds:
        return f"; for the text write '\"{str(value).lower()}\"', in both quotes"
    return ""


def _start(value: Any) -> str:
    """Return the beginning of a value as Python writes it."""
    if isinstance(value, int) and not -LARGEST <= value < LARGEST:
        return f"a number of {value.bit_length()} bits"  # Python writes no number of more than 4300 digits
    return repr(value)[:60]
