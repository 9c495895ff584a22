"""Tables of far too many columns, and names that occur twice or are empty: one short answer in each format."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nearfar.column_names import repeated
from nearfar.data.table import Table
from nearfar.errors import InputError
from nearfar.positives.columns import Columns

NAMES = [f"c{i}" for i in range(12_000)]


def wide(folder: Path, suffix: str) -> Path:
    """Write a table of one row and far too many columns."""
    path, row = folder / f"wide{suffix}", dict.fromkeys(NAMES, "x")
    if suffix == ".parquet":
        pq.write_table(pa.table({name: ["x"] for name in NAMES}), path)
    elif suffix in (".csv", ".tsv"):
        mark = "," if suffix == ".csv" else "\t"
        path.write_text(mark.join(NAMES) + "\n" + mark.join(row.values()) + "\n")
    else:
        path.write_text(json.dumps([row] if suffix == ".json" else row) + "\n")
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".tsv", ".parquet"])
def test_too_many_columns_are_refused_by_their_number(suffix: str, tmp_path: Path) -> None:
    path = wide(tmp_path, suffix)
    with pytest.raises(InputError, match=r"has 12,000 columns, the most are 10,000") as error:
        Table(path)
    assert str(error.value).startswith(str(path)) and len(str(error.value)) < 400


def test_the_first_name_that_was_there_before() -> None:
    assert repeated([*NAMES, "c7", "c3"]) == "c7"
    assert repeated(NAMES) is None


def test_lists_of_texts_are_refused_by_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "sets.jsonl"
    path.write_text('{"set": ["how to sort", "use sorted"], "label": 1}\n{"set": ["a", "b", "c"], "label": 0}\n')
    with pytest.raises(InputError, match=r"the column 'set' holds lists of texts, and no column a query or a key"):
        Columns(Table(path))
    assert len(Columns(Table(path), query="set", key="set")) == 2 + 6
