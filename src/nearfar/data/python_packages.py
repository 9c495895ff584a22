"""Docstrings and code from the Python packages that are installed: real pairs on every machine, without a download."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from nearfar.data.harvest.arrow_columns import ArrowColumn, take, values
from nearfar.errors import InputError, nearest
from nearfar.storage.fingerprint import fingerprint

if TYPE_CHECKING:
    from nearfar.contracts import Data


COLUMNS = ["docstring", "code", "name", "module", "distribution", "kind"]
MOST_OF_ONE_QUERY = 10


class PythonPackages:
    """Pairs of a docstring's summary and the code it describes, from the standard library and installed packages.

    Every function, method and class that says in at least three words what it does is a row of six columns of text:
    `docstring` (the first sentence, at most 300 characters), `code` (its source without any docstring or decorator, at
    most 4,000 characters, cut at a line), `name` (`Class.method`), `module`, `distribution` ("python" is the standard
    library) and `kind` ("function", "method" or "class"). Bodies of `pass`, `...` or `raise NotImplementedError` and
    exact duplicates are left out, and of rows that share a docstring ten stay.

    The data set itself is the training rows. `split("heldout")` is the rows of other modules of the same
    distributions, `split("unseen")` those of distributions without a training row: small and middling ones, never the
    standard library. Of both are dropped the rows that training gives away: by an equal query, by equal code (comments
    and white space aside), or by code whose estimated Jaccard similarity over shingles of three words is 0.7 or more.
    Near-duplicates by renamed identifiers are not found.

    Files are parsed once: the rows of each distribution and version are cached below NEARFAR_CACHE, or the system's
    cache folder. Rows and fingerprint depend on the installed versions only, not on the number of processes.

    Arguments:
        heldout: rows wanted in "heldout", after dropping; at most a tenth of all.
        unseen: rows wanted in "unseen", likewise.
        seed: which modules and distributions are held out.
        paths: folders to read instead of the environment, each as one distribution that bears the folder's name.
        workers: processes that parse; as many as there are cores for this process where it is not given.
        progress: a progress bar on standard error; where it is not given, if that is a terminal.

    Attributes:
        notes: what was read, skipped, dropped and held out, in numbers.

    Errors: a path that is no folder, a negative size, no documented code at all, an unknown split or column.

    ```python
    data = PythonPackages()
    data.column("docstring").read(0, 3)
    data.split("unseen").column("code").read(0, 1)
    ```

    Not for a benchmark across machines: other versions give other rows, so compare within one fingerprint.
    """

    def __init__(
        self,
        *,
        heldout: int = 2000,
        unseen: int = 2000,
        seed: int = 0,
        paths: list[Path] | None = None,
        workers: int | None = None,
        progress: bool | None = None,
    ) -> None:
        wanted = {"heldout": heldout, "unseen": unseen}
        for name, value, least in (
            ("heldout", heldout, 0),
            ("unseen", unseen, 0),
            ("workers", 1 if workers is None else workers, 1),
        ):
            if value < least:
                raise InputError(f"data.python_packages.{name}: {value} must be at least {least}")
        splits = self._split(self._harvest(paths, workers, progress), wanted, seed)
        train = splits.pop("train")
        self.columns, self.fingerprint, self._train, self._held = list(COLUMNS), train.fingerprint, train, splits

    def __len__(self) -> int:
        return len(self._train)

    def column(self, name: str) -> ArrowColumn:
        """Return one column of the training rows; an unknown name is an error that lists the known ones."""
        return self._train.column(name)

    def split(self, name: str) -> Data:
        """Return the rows of "train" (the data set itself), "heldout" or "unseen".

        Errors: an unknown name; a split that has no rows, with the reason.
        """
        if name == "train":
            return self
        if name not in self._held:
            raise InputError(f"python_packages: no split is called {name!r}; {nearest(name, ['train', *self._held])}")
        if not len(self._held[name]):
            reason = "none were asked for, or every module or distribution holds more than a tenth of all rows"
            raise InputError(
                f"python_packages: the split {name!r} has no rows: {reason}; ask for some, or add packages"
            )
        return self._held[name]

    def _harvest(self, paths: list[Path] | None, workers: int | None, progress: bool | None) -> pa.Table:
        # Imported here: reading the settings of this part, to list or to check them, needs no Parquet and no processes.
        from nearfar.data.harvest.distributions import environment, folders
        from nearfar.data.harvest.parse import Limits
        from nearfar.data.harvest.run import harvest_all

        found, skipped = environment() if paths is None else (folders(paths), {})
        harvest = harvest_all(found, Limits(), workers, progress)
        outcomes = dict(sorted(harvest.outcomes.items()))
        self.notes: dict[str, Any] = {
            "files read": outcomes.pop("read", 0),
            "files skipped": outcomes,
            "distributions": len(found),
            "distributions skipped": dict(sorted(skipped.items())),
            "distributions from cache": harvest.cached,
            "pairs harvested": len(harvest.table),
        }
        if harvest.unwritable:
            self.notes["cache"] = "its folder could not be written; set NEARFAR_CACHE to one that can"
        if not len(harvest.table):
            where = "the environment" if paths is None else ", ".join(map(os.fspath, paths))
            raise InputError(f"paths: no documented Python code in {where} ({self.notes}); name other folders")
        return harvest.table

    def _split(self, table: pa.Table, wanted: dict[str, int], seed: int) -> dict[str, _Split]:
        from nearfar.data.harvest.distributions import STANDARD_LIBRARY
        from nearfar.data.harvest.split import distinct, hold_out

        stay, notes = distinct(table, MOST_OF_ONE_QUERY)
        self.notes["removed"] = notes
        table = take(table, stay)
        rows, notes = hold_out(table, wanted, {STANDARD_LIBRARY}, seed)
        self.notes |= {name: len(ids) for name, ids in rows.items()} | notes
        return {name: _Split(name, take(table, ids)) for name, ids in rows.items()}


class _Split:
    """The rows of one split."""

    def __init__(self, name: str, table: pa.Table) -> None:
        self.name, self.columns = name, list(COLUMNS)
        self.fingerprint = fingerprint("python_packages", values(table, "row_id", np.int64))
        self._table = table.select(COLUMNS).combine_chunks()  # one chunk: a slice is found at once

    def __len__(self) -> int:
        return len(self._table)

    def column(self, name: str) -> ArrowColumn:
        """Return one column; an unknown name is an error that lists the known ones."""
        if name not in COLUMNS:
            raise InputError(f"python_packages: no column is called {name!r}; {nearest(name, COLUMNS)}")
        return ArrowColumn(name, self._table[name])

    def split(self, name: str) -> Data:
        """Return itself under its own name; a part of a data set has no other splits."""
        if name != self.name:
            raise InputError(f"python_packages: {self.name!r} has no split {name!r}; ask the whole data set")
        return self
