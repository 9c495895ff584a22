"""The names by which columns are recognised: queries and keys, negatives, documents, and what describes rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

COLUMN_PAIRS = [  # names of a query and a key column that are recognised
    ("query", "key"),
    ("anchor", "positive"),
    ("query", "positive"),
    ("query", "pos"),
    ("query", "answer"),
    ("question", "answer"),
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("image", "caption"),
]
NEGATIVE = re.compile(r"neg(ative)?s?(_?\d+)?")  # negative, negatives, negative_1, neg; not "negotiated"
DOCUMENT_COLUMNS = (  # names of a column that holds documents, the likeliest first
    *("text", "document", "passage", "sentence", "content", "body", "code", "key"),
    *("image", "picture", "array", "recording", "series"),
)
# Names of a column of pictures' paths, and of one of their captions, the likeliest first.
PICTURE_COLUMNS = (
    *("image", "picture", "photo", "file_name", "filename", "image_path", "picture_path", "image_file", "image_name"),
    *("img", "img_path", "filepath", "file_path", "file", "path"),
)
CAPTION_COLUMNS = ("caption", "captions", "text", "texts", "sentence", "sentences", "description", "comment", "title")
# Names of the column that is embedded and searched, the likeliest first.
TEXT_COLUMNS = ("text", "sentence", "document", "passage", "content", "code", "key", "query")
# Columns that describe a row. Rows that share such a value have no text in common.
METADATA = re.compile(
    r"((.*_)?ids?|categor(y|ies)|class(es)?|labels?|sources?|lang(uage)?s?|splits?|topics?|tags?|types?|kinds?|domains?"
    r"|authors?|users?|clusters?|modules?|departments?|products?|groups?|dates?|scores?|status)",
    re.IGNORECASE,
)


def columns_in_use(columns: Sequence[str], named: Sequence[str]) -> list[str]:
    """Return which of a data set's columns positives read, queries first: those named, or those recognised.

    Negatives are recognised beside a query and a key. The answer is empty where no name is recognised.

        columns_in_use(["id", "question", "answer"], [])  # ["question", "answer"]
    """
    found = [name for name in dict.fromkeys(named) if name in columns]
    if not found:
        pair = next((pair for pair in COLUMN_PAIRS if set(pair) <= set(columns)), ())
        found = list(pair) or [name for name in DOCUMENT_COLUMNS if name in columns][:1]
    if len(found) == 2:
        found += [name for name in columns if NEGATIVE.fullmatch(name) and name not in found]
    return found


def repeated(names: Iterable[str]) -> str | None:
    """Return the first name that was there before, or None; of a hundred thousand names, too, in a moment."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
