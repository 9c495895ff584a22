"""Mining a table: texts, not rows; a cache by model; the table that is written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from nearfar.column import ListColumn, content_id
from nearfar.data.beir import Beir
from nearfar.data.table import Table
from nearfar.encoders.static import Static
from nearfar.errors import InputError
from nearfar.mining.controls import Controls
from nearfar.mining.mine import SUFFIXES, TableForm, check_table_file, mine, write_table
from nearfar.mining.search import MiningResult
from nearfar.model import Model
from nearfar.positives.columns import Columns
from nearfar.positives.relations.decisions import Decisions
from tests.contracts.samples import beir


class Axis:
    """A model on the unit circle: the number in a text is its vector's angle in degrees."""

    dim = 2

    def __init__(self, fingerprint: str = "axis") -> None:
        self.fingerprint = fingerprint
        self.calls: list[tuple[str, list[str]]] = []

    def embed(self, cells: Sequence[str], role: Any = None) -> Any:
        self.calls.append((role, list(cells)))
        angle = np.radians([float(cell.split()[-1]) for cell in cells])
        return np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))


def table(*rows: tuple[str, str]) -> Columns:
    return Columns(Table([{"query": q, "key": k} for q, k in rows]))


def negatives_of(hard: MiningResult) -> dict[str, list[str]]:
    """Return each query's negatives."""
    places = np.arange(len(hard.queries))
    rows = [row[row >= 0] for row in hard.mined.rows]
    return {query: hard.keys.texts(row) for query, row in zip(hard.queries.texts(places), rows)}


def test_copies_and_all_known_answers_are_no_negatives() -> None:
    rows = table(("q 0", "k 1"), ("q 0", "k 3"), ("q 50", "k 1"), ("q 50", "q 50"), ("q 0", "k 1"), ("k 3", "k 60"))
    hard = mine(Axis(), rows, Controls(negatives=9))
    assert negatives_of(hard) == {"q 0": ["q 50", "k 60"], "q 50": ["k 60", "k 3"], "k 3": ["k 1", "q 50"]}
    assert len(hard.pairs[0]) == 5  # the repeated pair counts once


def test_distinct_texts_are_embedded_once_by_role() -> None:
    model = Axis()
    mine(model, table(("q 0", "k 1"), ("q 0", "k 2"), ("q 9", "k 1")))
    assert model.calls == [("query", ["q 0", "q 9"]), ("key", ["k 1", "k 2"])]


def test_the_cache_is_by_model_role_and_texts() -> None:
    rows = table(("q 0", "k 1"), ("q 9", "k 8"))
    first = mine(Axis(), rows)
    again = Axis()
    assert negatives_of(mine(again, rows)) == negatives_of(first)
    assert again.calls == []
    trained = Axis("trained further")
    mine(trained, rows)
    assert len(trained.calls) == 2
    mine(again, table(("q 0", "k 1"), ("q 9", "k 7")))
    assert again.calls == [("key", ["k 1", "k 7"])]


def test_a_truncated_cache_file_is_replaced(tmp_path: Path) -> None:
    rows = table(("q 0", "k 1"), ("q 9", "k 8"))
    first = negatives_of(mine(Axis(), rows))
    for path in (tmp_path / "cache" / "vectors").glob("*/vectors"):
        path.write_bytes(path.read_bytes()[:-1])
    model = Axis()
    assert negatives_of(mine(model, rows)) == first
    assert len(model.calls) == 2


def test_vectors_of_a_model_without_fingerprint_are_not_cached(tmp_path: Path) -> None:
    model = Axis()
    del model.fingerprint
    mine(model, table(("q 0", "k 1"), ("q 9", "k 8")))
    assert not (tmp_path / "cache").exists()


def test_documents_of_a_corpus_are_candidates() -> None:
    corpus = ListColumn("text", ["c 2", "k 1", "", "c 40", "c 2"])
    hard = mine(Axis(), table(("q 0", "k 1")), Controls(negatives=5), corpus=corpus)
    assert negatives_of(hard) == {"q 0": ["c 2", "c 40"]}


def test_decisions() -> None:
    ids = {text: np.array([content_id(text)]) for text in ("q 0", "k 2", "k 5", "k 9", "elsewhere")}
    decisions = Decisions(dropped=(ids["q 0"], ids["k 2"]), positive=(ids["q 0"], ids["k 5"]))
    rows = table(("q 0", "k 1"), ("q 2", "k 2"), ("q 4", "k 5"), ("q 9", "k 9"))
    hard = mine(Axis(), rows, Controls(negatives=3), decisions=decisions)
    assert negatives_of(hard)["q 0"] == ["k 9"]
    assert negatives_of(hard)["q 4"] == ["k 2", "k 1", "k 9"]
    assert hard.keys.texts(hard.mined.lowest_positive[:1]) == ["k 5"]  # margins are measured from it
    other = Decisions(dropped=(ids["elsewhere"], ids["k 2"]), positive=(ids["q 0"], ids["elsewhere"]))
    assert negatives_of(mine(Axis(), rows, decisions=other)) == negatives_of(mine(Axis(), rows))


def test_a_dropped_pair_of_the_data_is_not_written_and_no_negative() -> None:
    dropped = np.array([content_id("q 4")]), np.array([content_id("k 5")])
    none = np.empty(0, np.int64)
    rows = table(("q 0", "k 1"), ("q 4", "k 5"), ("q 4", "k 2"), ("q 9", "k 9"))
    hard = mine(Axis(), rows, Controls(negatives=3), decisions=Decisions(dropped=dropped, positive=(none, none)))
    assert hard.dropped == 1
    assert negatives_of(hard)["q 4"] == ["k 1", "k 9"]  # k 5 would be the nearest
    assert ("q 4", "k 5") not in set(zip(*hard.texts(hard.distinct)))
    assert len(hard.distinct) == 3
    with pytest.raises(InputError, match="the decisions drop all 1 pairs"):
        mine(Axis(), table(("q 4", "k 5")), decisions=Decisions(dropped=dropped, positive=(none, none)))


def test_a_rescorer_gets_texts() -> None:
    scored: list[tuple[str, str]] = []

    def rescore(queries: list[str], texts: list[str]) -> Any:
        scored.extend(zip(queries, texts))
        return np.array([-float(text.split()[-1]) for text in texts], np.float32)

    rows = table(("q 0", "k 1"), ("q 9", "k 8"), ("q 4", "k 5"))
    hard = mine(Axis(), rows, Controls(negatives=2, absolute_margin=1.0), rescore=rescore)
    assert negatives_of(hard) == {"q 0": ["k 5", "k 8"], "q 9": [], "q 4": ["k 8"]}
    assert set(scored) == {(f"q {q}", f"k {k}") for q in (0, 9, 4) for k in (1, 8, 5)}


def test_real_model_and_progress() -> None:
    rows = table(("a red fox", "the fox is red"), ("a grey goose", "grey is the goose"), ("a stone", "stones lie"))
    encoder = Static(dim=16, vocabulary=300)
    encoder.prepare(list(rows.views.values()))
    steps: list[tuple[int, int]] = []
    hard = mine(Model(encoder), rows, Controls(negatives=2), advance=lambda *step: steps.append(step))
    assert steps == [(3, 3)]
    assert (np.sort(hard.mined.rows, 1) == [[1, 2], [0, 2], [0, 1]]).all()


def test_beir_folder(tmp_path: Path) -> None:
    folder = beir(tmp_path)
    task = Beir(folder).task()
    encoder = Static(dim=16, vocabulary=300)
    encoder.prepare([task.queries, task.documents])
    hard = mine(Model(encoder), task, Controls(negatives=50))
    for query in range(len(task.queries)):
        relevant = {d for d, grade in task.relevance[query].items() if grade > 0}
        answers = {task.documents.read(d, d + 1)[0] for d in relevant}
        assert not answers & set(negatives_of(hard)[task.queries.read(query, query + 1)[0]])


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("form", ["lists", "triplets"])
def test_a_written_table_is_read_with_recognised_columns(tmp_path: Path, suffix: str, form: TableForm) -> None:
    rows = table(("q 0", "k 1"), ("q 0", "k 3"), ("q 50", "k 49"), ("q 90", "k 80"))
    hard = mine(Axis(), rows, Controls(negatives=2, relative_margin=0.0))
    out = tmp_path / f"mined{suffix}"
    count = write_table(hard, out, form)
    lists = {("q 0", "k 1"): ["k 49", "k 80"], ("q 0", "k 3"): ["k 49", "k 80"], ("q 50", "k 49"): ["k 80", "k 3"]}
    lists[("q 90", "k 80")] = ["k 49", "k 3"]
    expected: list[Any] = [[q, k, negatives] for (q, k), negatives in lists.items()]
    if form == "triplets":
        expected = [[q, k, text] for q, k, negatives in expected for text in negatives]
    read = pq.read_table(out).to_pylist() if suffix == ".parquet" else map(json.loads, out.read_text().splitlines())
    assert [list(row.values()) for row in read] == expected
    assert count == len(expected)
    columns = Columns(Table(out))
    assert len(columns) == len(expected)
    batch = columns.batch(np.arange(len(columns)))
    assert list(batch.rows) == ["query", "key", "negative negative"]
    assert len(batch.rows["negative negative"]) == 8
    assert list(tmp_path.glob(".mined*")) == []


def test_examples_without_negatives_are_left_out(tmp_path: Path) -> None:
    hard = mine(Axis(), table(("q 0", "k 1"), ("q 9", "k 30")), Controls(absolute_margin=0.0))
    assert write_table(hard, tmp_path / "a.jsonl") == 1
    assert json.loads((tmp_path / "a.jsonl").read_text()) == {"query": "q 0", "key": "k 1", "negative": ["k 30"]}


def test_bad_paths_and_positives(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.jsonl or \.parquet"):
        check_table_file(tmp_path / "a.csv")
    with pytest.raises(InputError, match="pairs of a query and a key"):
        mine(Axis(), object())  # type: ignore[arg-type]
