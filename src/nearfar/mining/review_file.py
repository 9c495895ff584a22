"""Suspects as a file of JSON Lines, from which a server shows them one by one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from nearfar.errors import InputError
from nearfar.mining.suspects import Suspect
from nearfar.storage.folders import write_text

FIX = "nearfar mine --review FILE.jsonl and nearfar audit --review FILE.jsonl write one"
_SUSPECT = TypeAdapter(Suspect)


def write_suspects(suspects: Iterable[Suspect], path: Path) -> None:
    """Write suspects, the most suspicious first, one JSON object a line. Errors: those of `refuse_name`."""
    refuse_name(path)
    write_text(path, "".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in suspects))


def refuse_name(path: Path) -> None:
    """Refuse a file whose name does not say that it is one of suspects. Errors: `InputError`."""
    if path.suffix != ".jsonl":
        raise InputError(f"{path}: what nearfar serve --review shows is written to a name that ends in .jsonl")


def read_suspects(path: Path) -> list[Suspect]:
    """Read what `write_suspects` wrote. Errors: `InputError` for another kind of file, by line."""
    if path.suffix != ".jsonl":
        raise InputError(f"{path}: no .jsonl file of pairs to review; {FIX}")
    try:
        with path.open(encoding="utf-8-sig") as file:
            return list(_parsed(file, path))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as pairs to review ({error}); {FIX}") from error


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
