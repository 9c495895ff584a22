"""Damages to the bytes of a good file: flips, cuts, insertions, duplications, swaps, and numbers made huge."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

NUMBERS = (
    b"0",
    b"-1",
    b"1.5",
    b"1e400",
    b"-9223372036854775809",
    b"99999999999999999999",
    b"2147483648",
    b"1e9",
    b"NaN",
)
TOKENS: tuple[bytes, ...] = (
    b"null",
    b"true",
    b'""',
    b"[]",
    b"{}",
    b'"',
    b"\\",
    b"\n",
    b"\r",
    b"\0",
    b",",
    b"\t",
    b"[",
    b"}",
    b"\xff\xfe",
)
TOKENS += (b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\\ud800", b"[" * 3000, b'{"a":' * 3000, b"x" * 70_000, b"&a [*a,*a]")


@dataclass(frozen=True)
class Mutation:
    """One damage: what is done, where and how far (shares of the file's length), and with what."""

    name: str
    at: float
    length: float
    other: float
    value: int

    def __call__(self, data: bytes) -> bytes:
        """Return the damaged bytes."""
        start = int(self.at * len(data))
        stop = min(len(data), start + 1 + int(self.length * self.length * len(data)))  # mostly short
        return MUTATIONS[self.name](self, data, start, stop)


def _flip(one: Mutation, data: bytes, start: int, stop: int) -> bytes:
    flipped = bytes([data[start] ^ (1 << one.value % 8)]) if data else b""
    return data[:start] + flipped + data[start + 1 :]


def _overwrite(one: Mutation, data: bytes, start: int, stop: int) -> bytes:
    return data[:start] + bytes([one.value % 256]) * min(stop - start, 8) + data[min(stop, start + 8) :]


def _cut(one: Mutation, data: bytes, start: int, stop: int) -> bytes:
    return data[:start] + data[stop:]


def _end(one: Mutation, data: bytes, start: int, stop: int) -> bytes:
    return data[:start]


def _insert(one: Mutation, data: bytes, start: int, stop: int) -> bytes:
    return data[:start] + TOKENS[one.value % len(TOKENS)] + data[start:]


def _replace(one: Mutation, data: bytes, start: int, stop: int) -> bytes:
    """Replace a whole JSON string, number or word."""
    found = list(re.finditer(rb'"[^"]*"|[-+\w.]+', data))
    if not found:
        return data
    place = found[int(one.other * len(found))]
    return data[: place.start()] + TOKENS[one.value % len(TOKENS)] + data[place.end() :]


def _number(one: Mutation, data: bytes, start: int, stop: int) -> bytes:
    found = list(re.finditer(rb"-?\d[\d.eE+-]*", data))
    if not found:
        return data
    place = found[int(one.other * len(found))]
    return data[: place.start()] + NUMBERS[one.value % len(NUMBERS)] + data[place.end() :]


def _duplicate(one: Mutation, data: bytes, start: int, stop: int) -> bytes:
    return data[:stop] + data[start:stop] * (1 + one.value % 3) + data[stop:]


def _swap(one: Mutation, data: bytes, start: int, stop: int) -> bytes:
    """Move a block to another place."""
    block, rest = data[start:stop], data[:start] + data[stop:]
    to = int(one.other * len(rest))
    return rest[:to] + block + rest[to:]


MUTATIONS: dict[str, Callable[[Mutation, bytes, int, int], bytes]] = {
    "flip": _flip,
    "overwrite": _overwrite,
    "cut": _cut,
    "end": _end,
    "insert": _insert,
    "replace": _replace,
    "number": _number,
    "duplicate": _duplicate,
    "swap": _swap,
}


def drawn(seed: str) -> list[Mutation]:
    """Return one to four mutations, most often one: a pure function of the seed."""
    draw = random.Random(seed)
    count = draw.choice((1, 1, 1, 2, 2, 4))
    return [
        Mutation(draw.choice(list(MUTATIONS)), draw.random(), draw.random(), draw.random(), draw.randrange(2**32))
        for _ in range(count)
    ]


def mutated(data: bytes, mutations: Sequence[Mutation]) -> bytes:
    """Return data with the mutations, one after the other."""
    for one in mutations:
        data = one(data)
    return data
