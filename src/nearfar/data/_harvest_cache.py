"""The harvest of each distribution on disk, so that it is parsed once."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

import platformdirs
import pyarrow as pa
import pyarrow.parquet as pq

from nearfar.data._distributions import Distribution
from nearfar.data._harvest import FORMAT, HUGE, SCHEMA
from nearfar.data._slices import Limits
from nearfar.fingerprint import fingerprint

_PASSING = ("missing", "unreadable")  # a later look may find these files, so what lacks them is not kept


def folder() -> Path:
    """Return the cache's folder: below NEARFAR_CACHE if that is set, else where the system keeps a user's caches."""
    named = os.environ.get("NEARFAR_CACHE")
    return (Path(named) if named else platformdirs.user_cache_path("nearfar")) / "python_packages"


def path(distribution: Distribution, limits: Limits) -> Path:
    """Return the file of one distribution: by name, version, and a digest of all that its rows depend on."""
    grammar = sys.version_info[:2]  # an older Python reads fewer files
    digest = fingerprint(distribution.name, distribution.version, distribution.digest, FORMAT, HUGE, limits, grammar)
    stem = re.sub(r"[^\w.+-]", "_", f"{distribution.name}-{distribution.version}")
    return folder() / f"{stem}-{digest[:16]}.parquet"


def load(distribution: Distribution, limits: Limits) -> tuple[pa.Table, Counter[str]] | None:
    """Return what `store` wrote, or None where that is missing, of another shape, or damaged."""
    try:
        with pq.ParquetFile(path(distribution, limits), page_checksum_verification=True) as file:
            table = file.read()
        outcomes = Counter[str](json.loads(table.schema.metadata[b"nearfar"]))
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None
    if not table.schema.equals(SCHEMA):
        return None
    return table.replace_schema_metadata(None), outcomes


def store(distribution: Distribution, limits: Limits, table: pa.Table, outcomes: Counter[str]) -> bool:
    """Write a distribution's rows aside, then rename: a reader sees all or nothing. False where nothing can be kept."""
    if any(outcomes[kind] for kind in _PASSING):
        return True
    target = path(distribution, limits)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, suffix=".part", delete=False) as file:
            temporary = Path(file.name)
            kept = table.replace_schema_metadata({"nearfar": json.dumps(outcomes)})
            pq.write_table(kept, file, compression="zstd", use_dictionary=False, write_page_checksum=True)
        temporary.replace(target)
    except OSError:  # a full disk, a folder that may not be written: slower next time, nothing worse
        if temporary:
            temporary.unlink(missing_ok=True)
        return False
    except BaseException:
        if temporary:
            temporary.unlink(missing_ok=True)
        raise
    return True
