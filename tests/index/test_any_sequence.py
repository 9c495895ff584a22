"""After any sequence of writes an index agrees with a dict, with numpy and with BM25 over what is there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from nearfar.index.filters import Filter
from nearfar.index.index import Index
from nearfar.index.rows import Row, Value, Vectors
from nearfar.text.bm25 import Bm25
from tests.index.backends import SETTINGS
from tests.index.drawn import FIELDS, filters, rows_of_fields
from tests.index.filter_reference import mask

DIM = 4
ID = st.sampled_from("abcdefghijkl")
IDS = st.lists(ID, unique=True, min_size=1, max_size=5)
TEXTS = st.none() | st.lists(st.sampled_from(["fox", "goose", "hen", "fox goose"]), max_size=3).map(" ".join)


class CallSequence(RuleBasedStateMachine):
    """Writes to an index and to a dict of the same rows."""

    def __init__(self, arguments: Callable[[Path], dict[str, Any]]) -> None:
        super().__init__()
        self.scratch = tempfile.TemporaryDirectory()
        self.folder, self.rng = Path(self.scratch.name) / "i", np.random.default_rng(0)
        self.rows: dict[str, tuple[Row, Vectors]] = {}
        self.arguments = {"dim": DIM, "language": None, **arguments(Path(self.scratch.name))}
        self.index = Index.create(self.folder, None, fields=FIELDS, **self.arguments)
        self.reader = Index.open(self.folder)

    @rule(
        ids=IDS,
        texts=st.lists(TEXTS, min_size=5, max_size=5),
        fields=st.lists(rows_of_fields(), min_size=5, max_size=5),
    )
    def add(self, ids: list[str], texts: list[str | None], fields: list[dict[str, Value]]) -> None:
        drawn = self.rng.standard_normal((len(ids), DIM)).round(1).astype(np.float32) + np.float32(1e-3)
        given = [{"id": name, "text": text, **of_row} for name, text, of_row in zip(ids, texts, fields)]
        assert self.index.add(given, vectors=drawn) == len(ids)
        for name, text, of_row, vector in zip(ids, texts, fields, drawn):
            there: dict[str, Value] = {field: value for field, value in of_row.items() if value is not None}
            self.rows[name] = Row(name, text, there), vector / np.linalg.norm(vector)

    @rule(ids=IDS)
    def delete(self, ids: list[str]) -> None:
        assert self.index.delete(ids) == len(self.rows.keys() & set(ids))
        self.rows = {name: row for name, row in self.rows.items() if name not in ids}

    @rule(where=filters())
    def delete_what_matches(self, where: Filter) -> None:
        gone = self.matching(where)
        assert self.index.delete(where=where) == len(gone)
        self.rows = {name: row for name, row in self.rows.items() if name not in gone}

    @rule()
    def optimise(self) -> None:
        self.index.optimise()

    @rule()
    def reopen(self) -> None:
        self.index.close()
        self.index = Index.open(self.folder)

    @precondition(lambda self: self.rows)
    @rule(where=st.none() | filters(), k=st.integers(1, 14))
    def search(self, where: Filter | None, k: int) -> None:
        allowed = self.matching(where)
        query = self.rng.standard_normal(DIM).astype(np.float32)
        query /= np.linalg.norm(query)
        hits = self.reader.search(query, k=k, where=where)
        assert len(hits) == min(k, len(allowed))
        exact = {name: float(self.rows[name][1] @ query) for name in allowed}
        assert [hit.score for hit in hits] == pytest.approx(sorted(exact.values(), reverse=True)[:k], abs=2e-3)
        assert all(hit.score == pytest.approx(exact[hit.id], abs=2e-3) for hit in hits)
        assert [(-hit.score, hit.id) for hit in hits] == sorted((-hit.score, hit.id) for hit in hits)

    @precondition(lambda self: any(row.text is not None for row, _ in self.rows.values()))
    @rule(query=st.sampled_from(["fox", "goose hen", "hen"]), where=st.none() | filters())
    def search_words(self, query: str, where: Filter | None) -> None:
        names = sorted(name for name, (row, _) in self.rows.items() if row.text is not None)
        ranking = Bm25([str(self.rows[name][0].text) for name in names]).rank([query], 14)
        allowed = self.matching(where)
        expected = [names[row] for row in ranking.rows[0] if row >= 0 and names[row] in allowed]
        assert [hit.id for hit in self.reader.search(query, k=14, mode="words", where=where)] == expected

    @invariant()
    def both_have_the_same_rows(self) -> None:
        for index in (self.index, self.reader):
            assert index.count() == len(self.rows)
            assert index.ids() == sorted(self.rows)
        assert self.reader.get([*sorted(self.rows), "nobody"]) == [
            *(self.rows[name][0] for name in sorted(self.rows)),
            None,
        ]

    def matching(self, where: Filter | None) -> list[str]:
        names = list(self.rows)
        if where is None or not names:
            return names
        return [name for name, met in zip(names, mask(where, [self.rows[name][0].fields for name in names])) if met]

    def teardown(self) -> None:
        assert self.index.verify()["problems"] == []
        self.index.close()
        self.reader.close()
        self.scratch.cleanup()


@pytest.mark.parametrize("name", SETTINGS)
def test_any_sequence_of_calls(name: str) -> None:
    class OfBackend(CallSequence):
        def __init__(self) -> None:
            super().__init__(SETTINGS[name])

    run_state_machine_as_test(OfBackend, settings=settings(max_examples=8, stateful_step_count=12, deadline=None))
