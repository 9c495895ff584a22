"""What keeps an index fast and right: joining files, approximate search, and looking whether all is as written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nearfar.errors import InputError
from nearfar.index import inspection
from nearfar.index.opened import Opened, counted
from nearfar.index.recall import Say, build_to_recall, measured_again, recall_problems

WORTH_OPTIMISING = 10_000  # new rows after which the commands take a moment to make searches faster


class Upkeep:
    """The part of `Index` that looks after its rows."""

    _opened: Opened

    def optimise(self) -> None:
        """Do what keeps it fast after many writes: drop what was deleted, join what is small.

        The exact backend then finds the same rows in about half the time, where float32 vectors of 10,000 rows or more
        differ along some axes more than along others, as those of models do. It takes half as much disk again for that.
        """
        with self._opened.writing() as (_, store):
            store.optimise()

    def approximate(
        self,
        name: str | None,
        settings: Mapping[str, Any] | None = None,
        *,
        recall: float = 0.99,
        say: Say = lambda _: None,
    ) -> dict[str, Any] | None:
        """Build an approximate index, measure it on rows as queries, and search by it from now on; return what is kept.

        A search then looks at a part of the rows and may miss some of the nearest. How far it looks (the setting
        "probes", "ef" or "ef_search") is raised until recall@10 is as asked: the share of the 10 nearest rows that it
        finds, on 400 rows as queries that are left out of their own answers (`index.recall.RecallQueries` says why).
        `check` measures again. Writers wait until it is done.

        Args:
            name: of the index, as the backend calls it (docs/backends.md); None removes the one there is, and
                searches are exact again.
            settings: further ones, by which it is built. That of how far a search looks is where the raising begins.
            recall: the one that is asked, above 0 and at most 1.
            say: what is called with a line for each step.

        Errors: `InputError` for an index that the backend has not, a wrong setting, too few rows; and where the recall
        is not reached, with the best that was: searches are exact then.

        When not to use it: where an exact search is fast enough, as it is for some hundred thousand rows.
        """
        if not 0 < recall <= 1:
            raise InputError(f"approximate: a recall is above 0 and at most 1, {recall!r:.40} is asked")
        with self._opened.writing() as (generation, store):
            given = {"name": name, **(settings or {})}
            if name is not None:
                store.backend.effort(given)  # refused before anything is changed
            exact = replace(generation, approximate=None)
            self._opened.update(exact)  # whoever searches meanwhile compares all rows
            if name is None:
                store.backend.drop_approximate()
                return None
            measured = build_to_recall(store.backend, given, recall, say)
            self._opened.update(replace(exact, approximate=measured))
            return measured

    def info(self) -> dict[str, Any]:
        """Return what the index is: model, backend, fields, rows, generations, bytes, approximate search."""
        with self._opened.reading() as (generation, store):
            return inspection.info(self._opened.folder, self._opened.number, counted(generation, store), store)

    def check(self) -> dict[str, Any]:
        """Return whether its parts agree, "problems" in words, without reading every row.

        The recall of an approximate search is measured again, and kept with its date ("approximate").
        """
        with self._opened.writing() as (generation, store):
            found = inspection.check(store)
            if (before := generation.approximate) is not None:
                try:
                    measured = measured_again(store.backend, before)
                except InputError as error:  # too few rows are left, or what was kept is damaged
                    found["problems"].append(str(error))
                    return found
                self._opened.update(replace(generation, approximate=measured))
                found["approximate"] = measured
                found["problems"] += recall_problems(measured)
            return found

    def verify(self) -> dict[str, Any]:
        """Read every row, and return whether each is as it was written, "problems" in words."""
        with self._opened.writing() as (_, store):
            return inspection.verify(store)
