"""What is written to an index, checked before anything is: ids, texts, fields by kind, vectors; each by row."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nearfar.coerce import LARGEST
from nearfar.errors import InputError, listed
from nearfar.index.filters import is_of, refuse_unstorable
from nearfar.index.rows import KINDS, Kind, Kinds, Rows, Value, Vectors

CONTENTS = ("text", "image")  # the keys of what is embedded
RESERVED = ("id", "vector", *CONTENTS)  # what no field is called
_LONGEST_ID, _LONGEST_NAME = 2000, 63  # bytes, which PostgreSQL can index and call a column
_MOST_FIELDS = 500
_UNIT = 1e-5  # vectors whose length is 1 within so much are taken as they are
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass
class Incoming:
    """n rows whose ids, texts and fields are checked; `cells` are what is embedded."""

    ids: list[str] = field(default_factory=list)
    texts: list[str | None] = field(default_factory=list)
    cells: list[Any] = field(default_factory=list)
    fields: dict[str, list[Value]] = field(default_factory=dict)
    kinds: Kinds = field(default_factory=dict)  # of all fields, known and new ones

    def rows(self, vectors: Vectors) -> Rows:
        """Return the rows with their vectors."""
        return Rows(self.ids, vectors, self.texts, self.fields)

    def __len__(self) -> int:
        return len(self.ids)


def checked_rows(rows: Iterable[Any], known: Kinds, *, embedded: bool) -> Incoming:
    """Return rows, mappings with "id", "text" or "image", and fields; a field's kind is that of its first value.

    embedded: whether vectors are given, so that a row may have no content, or be its id alone.

    Errors: `InputError` naming the row: an id that is missing, empty, too long or there twice; nothing to embed; a text
    that cannot be stored; a field of a reserved or impossible name; a value of another kind.
    """
    found = Incoming(kinds=dict(known))
    if isinstance(rows, str | Mapping):
        raise InputError(f"add: rows must be a list, it is one {type(rows).__name__}; write add([row])")
    first: dict[str, int] = {}
    for number, given in enumerate(rows):
        row = {"id": given} if embedded and isinstance(given, str | int) else given
        if not isinstance(row, Mapping):
            raise InputError(f"add: row {number + 1} is no mapping with id and text, it is {given!r:.60}")
        name = checked_id(row.get("id", row.get("_id")), f"add: row {number + 1}")
        if name in first:
            raise InputError(f"add: rows {first[name] + 1} and {number + 1} have one id ({name!r:.60}); leave one out")
        first[name] = number
        _add(found, number, name, row, embedded)
    for values in found.fields.values():
        values += [None] * (len(found) - len(values))
    return found


def checked_id(given: Any, where: str) -> str:
    """Return an id; a whole number is written as text. Errors: `InputError` for anything else, empty or too long."""
    name = str(given) if type(given) is int else given
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{where}: has no id ({given!r:.60}); give it one, a text that is not empty")
    refuse_unstorable(name, f"{where}: the id")
    if len(name.encode()) > _LONGEST_ID:
        raise InputError(
            f"{where}: its id has {len(name.encode()):,} bytes ({name[:40]!r}...); {_LONGEST_ID:,} are allowed"
        )
    return name


def checked_fields(kinds: Mapping[str, Any]) -> Kinds:
    """Return fields by name and kind. Errors: `InputError` for a name or kind that cannot be."""
    for name, kind in kinds.items():
        if kind not in KINDS:
            raise InputError(
                f"fields: {name!r:.60} is of no kind that there is ({kind!r:.40}); known: {listed(list(KINDS))}"
            )
    found: Kinds = {}
    for name, kind in kinds.items():
        _check_name(name, found, "fields")
        found[name] = kind
    return found


def checked_vectors(vectors: Any, n: int, dim: int, names: Sequence[str] | None, what: str) -> Vectors:
    """Return n vectors of unit length, float32 (n, dim). names: the rows' ids, for errors.

    Errors: `InputError` for another shape, mixed lengths, and rows that are zero or not finite, by number.
    """
    try:
        found = np.asarray(vectors)
    except ValueError as error:  # lists of several lengths
        lengths = sorted({len(one) for one in vectors if hasattr(one, "__len__")})
        raise InputError(
            f"{what}: vectors of mixed lengths ({listed([str(n) for n in lengths])}); all must have {dim}"
        ) from error
    if found.dtype.kind not in "fiu" or found.ndim != 2:
        raise InputError(f"{what}: vectors must be numbers (n, {dim}), they are {found.shape} {found.dtype}")
    if found.shape != (n, dim):
        fix = f"this index has vectors of {dim} dimensions" if found.shape[1] != dim else f"there are {n} rows"
        raise InputError(f"{what}: vectors are {found.shape[0]} x {found.shape[1]}; {fix}")
    found = found.astype(np.float32)
    norms = np.linalg.norm(found.astype(np.float64), axis=1)
    broken = np.flatnonzero(~((norms > 0) & np.isfinite(norms)))
    if len(broken):
        row = int(broken[0])
        kind = "zero" if norms[row] == 0 else "not finite"
        name = "" if names is None else f" (id {names[row]!r:.60})"
        raise InputError(f"{what}: the vector of row {row + 1}{name} is {kind}, so it has no direction; leave it out")
    if (np.abs(norms - 1) > _UNIT).any():
        found = (found / norms[:, None]).astype(np.float32)
    return found


def _add(found: Incoming, number: int, name: str, row: Mapping[str, Any], embedded: bool) -> None:
    where = f"add: row {number + 1} (id {name!r:.60})"
    text, image = row.get("text"), row.get("image")
    cell = text if image is None else image
    if isinstance(image, str):
        raise InputError(f"{where}: its image is a text ({image!r:.60}), not pixels; read the file first")
    if cell is None and not embedded:
        raise InputError(f"{where}: has neither text nor image, so there is nothing to embed")
    if isinstance(text, str):
        refuse_unstorable(text, f"{where}: the text")
    elif embedded and text is not None:
        raise InputError(f"{where}: its text is {type(text).__name__}, no text")
    found.ids.append(name)
    found.texts.append(text if isinstance(text, str) else None)
    found.cells.append(cell)
    for key, value in row.items():
        if key not in ("id", "_id", *CONTENTS):
            _add_value(found, number, key, value, where)


def _add_value(found: Incoming, number: int, key: Any, given: Any, where: str) -> None:
    value = given.item() if isinstance(given, np.generic) else given
    if key not in found.kinds:
        _check_name(key, found.kinds, where)
        if value is None:
            return  # its kind is not known yet
        kind = next((kind for kind in KINDS if is_of(kind, value)), None)
        if kind is None:
            raise InputError(
                f"{where}: {key} is {type(value).__name__} ({value!r:.40}); fields are texts, numbers or booleans"
            )
        found.kinds[key] = kind
    if value is not None:
        value = _fitted(value, found.kinds[key], f"{where}: {key}")
    values = found.fields.setdefault(key, [])
    values += [None] * (number - len(values))
    values.append(value)


def _fitted(value: Any, kind: Kind, where: str) -> Value:
    if kind == "number" and type(value) is int and abs(value) < LARGEST:
        value = float(value)
    if not is_of(kind, value):
        fix = "; for numbers with fractions give fields={...: 'number'} when it is made" if kind == "integer" else ""
        raise InputError(f"{where} holds values of kind {kind}, and {value!r:.60} is none{fix}")
    if kind == "text":
        refuse_unstorable(value, where)
    elif kind == "integer" and abs(value) >= LARGEST:
        raise InputError(f"{where}: {value!s:.40} is beyond 64 bits; write it as a text")
    elif kind == "number":
        if not math.isfinite(value):
            raise InputError(f"{where} is {value}; leave it out where there is none")
        value += 0.0  # no negative zero
    fitted: Value = value
    return fitted


def _check_name(name: Any, known: Kinds, where: str) -> None:
    if not isinstance(name, str) or not name.strip() or _CONTROL.search(name) or name.startswith("_"):
        raise InputError(f"{where}: no field can be called {name!r:.60}: give it a text that does not begin with _")
    refuse_unstorable(name, f"{where}: a field's name")
    if name.lower() in RESERVED:
        raise InputError(f"{where}: {name} is no field; rename it ({', '.join(RESERVED)} have their own meaning)")
    if len(name.encode()) > _LONGEST_NAME:
        raise InputError(f"{where}: the field's name {name[:40]!r}... is longer than {_LONGEST_NAME} bytes; shorten it")
    if clash := next((other for other in known if other != name and other.lower() == name.lower()), None):
        raise InputError(f"{where}: fields {clash} and {name} differ by case alone, which databases do not tell apart")
    if name not in known and len(known) >= _MOST_FIELDS:
        raise InputError(f"{where}: more than {_MOST_FIELDS} fields; put what is not filtered by into the text")
