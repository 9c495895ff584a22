"""Pairs of sentences that are labelled as the same or not, such as the Microsoft Research paraphrase corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nearfar import tasks
from nearfar.data.table import Table
from nearfar.data.tables.clusters import pair_clusters
from nearfar.errors import InputError, nearest

_USUAL = {"first": ("sentence1", "#1 String"), "second": ("sentence2", "#2 String"), "label": ("label", "Quality")}


class LabelledPairs:
    """A task of pairs that are the same or not, from a table with the columns `sentence1`, `sentence2` and `label`.

    `path` is whatever a Table reads, or a Table. The label is 1 for the same, 0 for different. Of a path with several
    splits the rows of "test" are judged, else those of "validation" (files named dev, val or validation), else the
    first; thresholds are chosen on those of "validation", unless these are judged, or else on those of "train". The
    original files of the Microsoft Research paraphrase corpus (`#1 String`, `#2 String`, `Quality`; Dolan & Brockett
    2005) are recognised by their columns.

    Args:
        path: the pairs. first, second, label: the names of the columns.
        split: the rows to judge by. dev: the rows that thresholds are chosen on; "none" for no thresholds.

    Errors: `InputError`: those of Table; a missing column or split; a label that is neither 0 nor 1, by row.

        task = LabelledPairs("mrpc/").task()
        len(task.same), len(task.dev.same)  # 1725, 500

    When not to use it: for pairs with grades; see `similarity`.
    """

    def __init__(
        self,
        path: str | Path | list[dict[str, Any]] | Any,
        first: str | None = None,
        second: str | None = None,
        label: str | None = None,
        split: str | None = None,
        dev: str | None = None,
    ) -> None:
        self._table = path if isinstance(path, Table) else Table(path)
        splits = self._table.splits
        self.split = split or next((name for name in ("test", "validation") if name in splits), splits[0])
        others = [name for name in ("validation", "train") if name in splits and name != self.split]
        self.dev = None if dev == "none" else dev or next(iter(others), None)
        self._names = self._columns({"first": first, "second": second, "label": label})

    @staticmethod
    def recognised(columns: list[str]) -> bool:
        """Return whether the names of columns alone say that they hold such pairs."""
        return any({usual[i] for usual in _USUAL.values()} <= set(columns) for i in range(2))

    def _columns(self, given: dict[str, str | None]) -> dict[str, str]:
        known, names = self._table.columns, {}
        for role, name in given.items():
            usual = _USUAL[role]
            names[role] = name or next((one for one in usual if one in known), usual[0])
            if names[role] not in known:
                raise InputError(
                    f"{self._table.where()}: no column {names[role]!r} for the {role}; name it with {role}=...; "
                    f"{nearest(names[role], known)}"
                )
        return names

    def task(self) -> tasks.PairLabels:
        """Return the pairs and labels, (n,) each; pairs that share a sentence, directly or not, are a cluster."""
        dev = None if self.dev is None else self._pairs(self.dev, None)
        return self._pairs(self.split, dev)

    def _pairs(self, split: str, dev: tasks.PairLabels | None) -> tasks.PairLabels:
        table = self._table.split(split)
        first, second = table.text(self._names["first"]), table.text(self._names["second"])
        labels = table.numbers(self._names["label"])  # (n,)
        for row, value in enumerate(labels.tolist()):
            if value not in (0, 1):
                raise InputError(
                    f"{table.where(row)}, column {self._names['label']!r}: {value:g} is neither 1 (the same) nor 0; "
                    "name a column of labels, or judge grades with nf.data.Similarity"
                )
        clusters = pair_clusters(first, second)
        notes: dict[str, Any] = {"split": split, "pairs": len(labels), "clusters": int(clusters.max()) + 1}
        if dev is not None:
            notes["thresholds are chosen on"] = {"split": self.dev, "pairs": len(dev.same)}
        name = Path(table.where()).name.partition(".")[0]
        return tasks.PairLabels(name, first, second, labels == 1, clusters, dev, notes)
