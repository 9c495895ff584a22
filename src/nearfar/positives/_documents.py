"""A data set's single documents: the column that holds them, whole or in passages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearfar.column import Column, Ids, content_ids
from nearfar.contracts import Data
from nearfar.errors import InputError, nearest
from nearfar.positives._passages import Passages
from nearfar.positives._roles import flatten

KNOWN = ("text", "document", "passage", "sentence", "content", "body", "code", "key")


@dataclass(frozen=True)
class Documents:
    """Examples that are one text each.

    texts (n,); row (n,): of the data; document (n,): the content of the whole document, which passages share.
    """

    texts: Column
    row: Ids
    document: Ids

    @classmethod
    def of(cls, data: Data, column: str | None, chunk: int) -> Documents:
        """Return a data set's documents. Errors: `InputError` for a column that nobody named or that does not exist."""
        name = column or next((known for known in KNOWN if known in data.columns), None)
        name = data.columns[0] if name is None and len(data.columns) == 1 else name
        if name is None:
            raise InputError(
                f"positives: which column holds the documents? give positives.column=...; columns: "
                f"{', '.join(data.columns) or 'none'}"
            )
        if name not in data.columns:
            raise InputError(f"positives.column: no column {name!r}; {nearest(name, data.columns)}")
        flat = flatten(data, name)
        row, document = np.repeat(np.arange(len(flat.offsets) - 1), np.diff(flat.offsets)), content_ids(flat.column)
        if not chunk:
            return cls(flat.column, row, document)
        passages = Passages(flat.column, chunk)
        return cls(passages, row[passages.document], document[passages.document])
