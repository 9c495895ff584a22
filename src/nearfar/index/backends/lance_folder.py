"""A folder of LanceDB's: the connection to it, and its errors as one line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from nearfar.errors import InputError, RunError

_SOURCE = re.compile(r",? ?\S+\.rs:[\d:]+")  # a place in LanceDB's own source, in its errors


def connect(place: Path) -> Any:
    """Return LanceDB's connection to a folder, by which every read looks for the newest version."""
    os.environ.setdefault("LANCEDB_LOG", "error")  # read when it is imported; its warnings are for its developers
    try:
        import lancedb
    except ImportError as error:
        raise InputError(f"the backend lance needs {error.name}: pip install 'nearfar[lance]'") from error
    with explained(place, "cannot be opened"):
        return lancedb.connect(place.absolute(), read_consistency_interval=timedelta(0))


@contextmanager
def explained(place: Path, what: str, kind: type[Exception] = InputError) -> Iterator[None]:
    """Turn an error of LanceDB's, which has no types of its own, into one line about a place."""
    try:
        yield
    except (InputError, RunError):
        raise
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        said = _SOURCE.sub("", " ".join(str(error).split()))
        raise kind(f"{place}: {what} by LanceDB ({said[:200]})") from error
