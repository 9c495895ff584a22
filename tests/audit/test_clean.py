"""Cleaning: dropped rows are logged, kept rows and other splits are unchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nearfar.audit.audit import audit
from nearfar.audit.clean import clean, rows_to_drop
from nearfar.audit.findings import Drop
from nearfar.data.table import Table
from nearfar.errors import InputError
from tests.audit.test_audit import folder, sentence
from tests.contracts.samples import write_lines


def rows(n: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"text": sentence(first + i), "n": i, "tags": ["x"] * (i % 3), "half": i / 2} for i in range(n)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    train, test = rows(20), rows(6, 100)
    train[4]["text"] = train[1]["text"]
    train[6]["text"] = " "
    train[8]["text"] = sentence(2).upper()
    test[3]["text"] = train[11]["text"]
    test[4]["text"] = test[5]["text"]
    (tmp_path / "data").mkdir()
    return folder(tmp_path / "data", train=train, test=test)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_folder_keeps_its_splits(data: Path, tmp_path: Path) -> None:
    counts = clean(data, audit(data), tmp_path / "out")
    assert counts["dropped"] == {"exact duplicate": 1, "empty": 1, "leak": 1}
    assert (counts["rows"], counts["kept"]) == (20, 17)
    kept = [row["n"] for row in lines(tmp_path / "out" / "train.jsonl")]
    assert kept == [i for i in range(20) if i not in (4, 6, 11)]
    assert lines(tmp_path / "out" / "test.jsonl") == lines(data / "test.jsonl")
    log = lines(tmp_path / "out.dropped.jsonl")
    assert [(line["row"], line["what"]) for line in log] == [(5, "exact duplicate"), (7, "empty"), (12, "leak")]
    assert "row 2" in log[0]["why"]
    assert "test row 4" in log[2]["why"]
    again = audit(tmp_path / "out")
    assert {drop.what for drop in again.drops} == {"near duplicate"}


def test_near_copies_go_when_asked(data: Path, tmp_path: Path) -> None:
    assert clean(data, audit(data), tmp_path / "out", near=True)["dropped"]["near duplicate"] == 1


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_file_holds_the_training_rows_as_they_were(data: Path, tmp_path: Path, kind: str) -> None:
    clean(data, audit(data), out := tmp_path / f"out.{kind}")
    kept = [row for i, row in enumerate(lines(data / "train.jsonl")) if i not in (4, 6, 11)]
    written = lines(out) if kind == "jsonl" else pq.read_table(out).to_pylist()
    assert written == kept


def test_a_parquet_folder_stays_one(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    table = pa.table({"text": [sentence(i % 5) for i in range(8)], "n": pa.array(range(8), pa.int8())})
    pq.write_table(table, tmp_path / "data" / "train.parquet")
    clean(tmp_path / "data", audit(tmp_path / "data"), tmp_path / "out")
    written = pq.read_table(tmp_path / "out" / "train.parquet")
    assert written.schema.field("n").type == pa.int8()
    assert written.column("n").to_pylist() == [0, 1, 2, 3, 4]


def test_csv_takes_no_lists(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="CSV holds no lists"):
        clean(data, audit(data), tmp_path / "out.csv")
    flat = [{"text": sentence(i % 5)} for i in range(6)]
    clean(Table(flat), audit(Table(flat)), tmp_path / "out.csv")
    assert len(Table(tmp_path / "out.csv")) == 5


def test_a_copy_stays_where_what_it_repeats_goes() -> None:
    drops = [Drop(1, "exact duplicate", "", 0), Drop(3, "near duplicate", "", 2), Drop(0, "empty", "")]
    assert set(rows_to_drop(drops)) == {0, 3}


def test_refusals(data: Path, tmp_path: Path) -> None:
    result = audit(data)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("kept")
    for out, words in {
        tmp_path / "out.xlsx": "unknown kind",
        data: "the data itself",
        tmp_path / "full": "not empty",
    }.items():
        with pytest.raises(InputError, match=words):
            clean(data, result, out)
    assert (tmp_path / "full" / "file").read_text() == "kept"
    same = Table([{"text": " "}, {"text": "\t"}])
    with pytest.raises(InputError, match="all 2 rows would go"):
        clean(same, audit(same, column="text"), tmp_path / "none.jsonl")
    assert not (tmp_path / "none.jsonl").exists()


def test_beir_folders_are_not_cleaned(tmp_path: Path) -> None:
    write_lines(tmp_path / "corpus.jsonl", [{"_id": str(i), "text": sentence(i % 3)} for i in range(5)])
    result = audit(tmp_path)
    assert result.kind == "BEIR folder"
    with pytest.raises(InputError, match="judged"):
        clean(tmp_path, result, tmp_path / "out")
