"""Suspects as a file of JSON Lines, from which a server shows them one by one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from nearfar.errors import InputError
from nearfar.mining.suspects import Review, Suspect
from nearfar.storage.folders import write_text

FIX = "nearfar mine --review FILE.jsonl writes one"
_SUSPECT = TypeAdapter(Suspect)


def write_suspects(review: Review, path: Path) -> None:
    """Write the suspects of a review, the most suspicious first, one JSON object a line."""
    write_text(path, "".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in review.suspects))


def read_suspects(path: Path) -> list[Suspect]:
    """Read what `write_suspects` wrote. Errors: `InputError` for another kind of file, by line."""
    if path.suffix != ".jsonl":
        raise InputError(f"{path}: no .jsonl file of mined negatives to review; {FIX}")
    try:
        with path.open(encoding="utf-8-sig") as file:
            return list(_parsed(file, path))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as mined negatives to review ({error}); {FIX}") from error


def _parsed(lines: Iterator[str], path: Path) -> Iterator[Suspect]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield _SUSPECT.validate_json(line, strict=True)
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, found["loc"])) or "the line"
            raise InputError(f"{path}: line {number}: {where}: {found['msg']}; {FIX}") from error
