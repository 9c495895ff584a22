"""Pairs of docstring and code from the installed Python packages: real data on every machine, without a download."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from nearfar.column import Column, Ids, cell_ids
from nearfar.data.harvest.arrow_buffers import column_values, take_rows
from nearfar.errors import InputError, nearest
from nearfar.figures import counted
from nearfar.storage.fingerprint import fingerprint

if TYPE_CHECKING:
    from nearfar.contracts import Data

COLUMNS = ["docstring", "code", "name", "module", "distribution", "kind"]
MAX_PER_QUERY = 10  # rows that share a docstring


class PythonPackages:
    """Pairs of a docstring's summary and the code it describes, from the standard library and installed packages.

    Every function, method and class whose summary has at least three words is a row of six columns of text:
    `docstring` (the first sentence, at most 300 characters), `code` (its source without any docstring or decorator, at
    most 4,000 characters, cut at a line), `name` (`Class.method`), `module`, `distribution` ("python" is the standard
    library) and `kind` ("function", "method" or "class"). Bodies of `pass`, `...` or `raise NotImplementedError` and
    exact duplicates are left out, and of rows that share a docstring ten are kept.

    The data set itself is the training rows. `split("heldout")` is the rows of other modules of the same
    distributions, `split("unseen")` those of distributions without a training row: small and middle-sized ones, never
    the standard library. Both drop the rows that resemble a training row: by an equal query, by equal code (without
    comments and white space), or by code whose estimated Jaccard similarity over shingles of three words is 0.7 or
    more. Near-duplicates with renamed identifiers are not found.

    Files are parsed once: the rows of each distribution and version are cached in NEARFAR_CACHE, or the system's cache
    folder. Rows and fingerprint depend on the installed versions only, not on the number of processes.

    Arguments:
        heldout: number of rows in "heldout", after dropping; at most a tenth of all.
        unseen: number of rows in "unseen", likewise.
        seed: decides which modules and distributions are held out.
        paths: folders to read instead of the environment, each as one distribution of the folder's name.
        workers: number of processes that parse; by default, as many as this process may use cores.
        progress: whether to show a progress bar on standard error; by default, if that is a terminal.

    Attributes:
        notes: counts of what was read, skipped, dropped and held out.

    Errors: InputError for a path that is no folder, a negative size, no documented code at all, an unknown split or
    column.

    ```python
    data = PythonPackages()
    data.column("docstring").read(0, 3)
    data.split("unseen").column("code").read(0, 1)
    ```

    When not to use it: to compare across machines, as other versions give other rows. Compare within one fingerprint.
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
        sizes = {"heldout": heldout, "unseen": unseen}
        for name, value, least in (
            ("heldout", heldout, 0),
            ("unseen", unseen, 0),
            ("workers", 1 if workers is None else workers, 1),
        ):
            if value < least:
                raise InputError(f"data.python_packages.{name}: {value} must be at least {least}")
        self._heldout = self._split(self._harvest(paths, workers, progress), sizes, seed)
        self._train = self._heldout.pop("train")
        self.columns, self.fingerprint = list(COLUMNS), self._train.fingerprint

    def __len__(self) -> int:
        return len(self._train)

    def column(self, name: str) -> Column:
        """Return one column of the training rows. Errors: InputError for an unknown name, with the known ones."""
        return self._train.column(name)

    def split(self, name: str) -> Data:
        """Return the rows of "train" (the data set itself), "heldout" or "unseen".

        Errors: InputError for an unknown name, and for a split without rows, with the reason.
        """
        if name == "train":
            return self
        if name not in self._heldout:
            known = ["train", *self._heldout]
            raise InputError(f"python_packages: no split is called {name!r}; {nearest(name, known)}")
        if not len(self._heldout[name]):
            reason = "none were asked for, or every module or distribution holds more than a tenth of all rows"
            raise InputError(
                f"python_packages: the split {name!r} has no rows: {reason}; ask for some, or add packages"
            )
        return self._heldout[name]

    def pool(self, split: str) -> list[Data]:
        """Return the rows of all other splits, whose documents are ranked for the queries of a split, too."""
        others: list[Data] = [self, *(rows for rows in self._heldout.values() if len(rows))]
        judged = self.split(split)
        return [rows for rows in others if rows is not judged]

    def _harvest(self, paths: list[Path] | None, workers: int | None, progress: bool | None) -> pa.Table:
        # Imported here: listing or checking the settings of this part needs no Parquet and no processes.
        from nearfar.data.harvest.distributions import environment_distributions, folder_distributions
        from nearfar.data.harvest.parse import Limits
        from nearfar.data.harvest.run import harvest_all

        found, skipped = environment_distributions() if paths is None else (folder_distributions(paths), {})
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
            raise InputError(
                f"data.paths: no documented Python code in {where}: {self._looked_at()}; name other folders, whose "
                "functions or classes have docstrings"
            )
        return harvest.table

    def _looked_at(self) -> str:
        """Return in words what was read and skipped: "2 files read of 1 distribution; 1 skipped (not UTF-8)"."""
        files, kinds = self.notes["files read"], self.notes["files skipped"]
        skipped = f"; skipped: {', '.join(f'{count:,} {why}' for why, count in kinds.items())}" if kinds else ""
        return f"{counted(files, 'files')} read of {counted(self.notes['distributions'], 'distributions')}{skipped}"

    def _split(self, table: pa.Table, sizes: dict[str, int], seed: int) -> dict[str, _Split]:
        from nearfar.data.harvest.distributions import STANDARD_LIBRARY
        from nearfar.data.harvest.split import distinct, hold_out

        kept, self.notes["removed"] = distinct(table, MAX_PER_QUERY)
        table = take_rows(table, kept)
        splits, notes = hold_out(table, sizes, {STANDARD_LIBRARY}, seed)
        self.notes |= {name: len(rows) for name, rows in splits.items()} | notes
        return {name: _Split(name, take_rows(table, rows)) for name, rows in splits.items()}


class _Split:
    """The rows of one split."""

    def __init__(self, name: str, table: pa.Table) -> None:
        self.name, self.columns = name, list(COLUMNS)
        self.fingerprint = fingerprint("python_packages", column_values(table, "row_id", np.int64))
        self._table = table.select(COLUMNS).combine_chunks()  # of one chunk a slice is found faster

    def __len__(self) -> int:
        return len(self._table)

    def column(self, name: str) -> Column:
        """Return one column. Errors: InputError for an unknown name, with the known ones."""
        if name not in COLUMNS:
            raise InputError(f"python_packages: no column is called {name!r}; {nearest(name, COLUMNS)}")
        return _ArrowColumn(name, self._table[name])

    def split(self, name: str) -> Data:
        """Return the split itself for its own name; it has no other splits. Errors: InputError for another name."""
        if name != self.name:
            raise InputError(f"python_packages: {self.name!r} has no split {name!r}; ask the whole data set")
        return self


class _ArrowColumn:
    """A column whose cells become Python objects only when they are read; short reads are fast."""

    def __init__(self, name: str, cells: pa.ChunkedArray[Any]) -> None:
        self.name = name
        self.cells = cells

    def __len__(self) -> int:
        return len(self.cells)

    def read(self, start: int, stop: int) -> list[Any]:
        """Return the cells of rows `start` to `stop`."""
        return self.cells.slice(start, max(stop - start, 0)).to_pylist()

    def ids(self) -> Ids:
        """Return the content ids of the cells."""
        return cell_ids(self)
