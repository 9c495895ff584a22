"""The values of a row's fields: what a table's cell becomes, and what a value of another kind is turned into."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from nearfar.coerce import LARGEST, fitted
from nearfar.errors import InputError
from nearfar.index.incoming import RESERVED, checked_fields
from nearfar.index.rows import KINDS, Kind, Kinds, Value

OF_DOCUMENTS: Kinds = {"file": "text", "line": "integer", "page": "integer"}  # the fields of every row
OWN = (*OF_DOCUMENTS, "row_id", "member")  # what tables call by these names is something else
NOT_FIELDS = (*OWN, "_id", *RESERVED)  # columns of a table that get another name as a field
_MOST = 200  # fields, of tables of many columns
_TIMES = (date, time, timedelta)  # datetime is a date


class FieldKinds:
    """The kinds of the fields of an index; a field that is new has the kind of its first value."""

    def __init__(self, known: Mapping[str, Kind]) -> None:
        self.known: Kinds = dict(known)

    def takes(self, name: str) -> bool:
        """Return whether a new field can have this name beside those that are known."""
        clashing = {other: kind for other, kind in self.known.items() if other.lower() == name.lower()}
        try:
            checked_fields({**clashing, name: "text"})
        except InputError:
            return False
        return name in self.known or len(self.known) < _MOST

    def fit(self, name: str, cell: Any) -> Value:
        """Return a cell as a value of the field's kind; None where it is empty or no number.

        Errors: `InputError` for one that cannot be turned into it; `TypeError` for a list, an object or bytes.
        """
        value = _plain(cell)
        if value is None:
            return None
        kind = self.known.get(name)
        if kind is None:
            self.known[name] = next(kind for kind, of in KINDS.items() if of is type(value))
            return value
        if type(value) is KINDS[kind]:
            return value
        return None if value == "" else _turned(kind, value, type(value).__name__)


def is_value(cell: Any) -> bool:
    """Return whether a cell can be the value of a field, or none."""
    try:
        _plain(cell)
    except TypeError:
        return False
    return True


def _plain(cell: Any) -> Value:
    """Return a cell as text, number or truth value. Errors: `TypeError` for what is none."""
    if isinstance(cell, bool | str) or cell is None:
        return cell
    if isinstance(cell, int):
        return cell if -LARGEST <= cell < LARGEST else str(cell)
    if isinstance(cell, float | Decimal):
        return float(cell) if math.isfinite(cell) else None
    if isinstance(cell, _TIMES):
        return str(cell) if isinstance(cell, timedelta) else cell.isoformat()
    raise TypeError(type(cell).__name__)


@lru_cache(maxsize=65536)
def _turned(kind: Kind, value: Any, of: str) -> Value:
    """Return a value as another kind. of: the name of its type, as 1 and 1.0 and True are equal."""
    del of
    if kind == "text":
        return str(value).lower() if isinstance(value, bool) else str(value)
    found: Value = fitted(KINDS[kind], value, "")
    return found


def checked_kinds(given: Mapping[str, str]) -> Kinds:
    """Return declared kinds of fields. Errors: `InputError` for an unknown kind, and for a field of nearfar's own."""
    for name in given:
        if name in OWN:
            raise InputError(f"field {name!r}: is set for every document; give the column another name")
    return checked_fields(given)
