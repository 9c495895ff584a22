"""Small files that stand for much more are refused at a stated size, with little memory."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nearfar.data.table import Table
from nearfar.data.tables import files, json_arrays, parquet, store
from nearfar.errors import InputError

READ = """
import json, resource, sys
import nearfar.data.table, datasets, pyarrow.json, pyarrow.csv, pyarrow.parquet
nearfar.data.tables.store.LARGEST_SURE = 300 << 20
resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
def peak():  # in megabytes; getrusage would count the parent's memory, too
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
start, said = peak(), {}
for name in sys.argv[1:]:
    try:
        said[name] = str(len(nearfar.data.table.Table(name)))
    except ValueError as error:
        said[name] = str(error)
print(json.dumps([said, peak() - start]))
"""
MEGABYTE = b"x" * (1 << 20)
TOO_LONG = "holds more than 67 MB, the most of a row"


def packed(path: Path, start: bytes, times: int, end: bytes, piece: bytes = MEGABYTE) -> None:
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(start)
        for _ in range(times):
            file.write(piece)
        file.write(end)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_one_field_of_a_gigabyte_in_each_format_is_refused_in_little_memory(tmp_path: Path) -> None:
    lines = b"y\n" * (1 << 19)
    packed(tmp_path / "a.txt.gz", b"a\n", 400, b"\n")
    packed(tmp_path / "a.jsonl.gz", b'{"text": "a"}\n{"text": "', 400, b'"}\n')
    packed(tmp_path / "pairs.jsonl.gz", b'["a", "b"]\n["', 400, b'", "b"]\n')
    packed(tmp_path / "a.csv.gz", b"query,key\na,b\nc,", 400, b"\n")
    packed(tmp_path / "quoted.csv.gz", b'query,key\na,b\nc,"', 400, b'"\n')
    packed(tmp_path / "lines.csv.gz", b'query,key\na,b\nc,"', 400, b'"\n', lines)
    packed(tmp_path / "header.csv.gz", b"query,", 400, b"\na,b\n")
    packed(tmp_path / "a.tsv.gz", b"query\tkey\na\tb\nc\t", 400, b"\n")
    packed(tmp_path / "a.json.gz", b'[{"text": "', 400, b'"}]')
    packed(tmp_path / "a.parquet.gz", b"PAR1", 700, b"")
    pq.write_table(dictionary(["z" * 3_000_000], 10_000), tmp_path / "cells.parquet", compression="zstd")
    pq.write_table(dictionary(["z" * 100_000_000], 2), tmp_path / "cell.parquet", compression="zstd")
    for path in tmp_path.iterdir():
        assert path.stat().st_size < 12_000_000, path
    files = sorted(path.name for path in tmp_path.iterdir())
    done = subprocess.run(
        [sys.executable, "-c", READ, *files], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=300
    )
    said, megabytes = json.loads(done.stdout)
    assert said.pop("a.json.gz").startswith("a.json.gz: the JSON array holds more than 268 MB")
    assert said.pop("a.parquet.gz").startswith("a.parquet.gz: holds a Parquet file of more than 536 MB")
    assert "stands for more than" in said.pop("cells.parquet")
    assert said == {
        "a.csv.gz": f"a.csv.gz: line 3 {TOO_LONG}; shorten it or split it up",
        "a.jsonl.gz": f"a.jsonl.gz: line 2 {TOO_LONG}; shorten it or split it up",
        "a.tsv.gz": f"a.tsv.gz: line 3 {TOO_LONG}; shorten it or split it up",
        "a.txt.gz": f"a.txt.gz: line 2 {TOO_LONG}; shorten it or split it up",
        "cell.parquet": f"cell.parquet: row 1 {TOO_LONG}; shorten it or split it up",
        "header.csv.gz": f"header.csv.gz: line 1 {TOO_LONG}; shorten it or split it up",
        "lines.csv.gz": f"lines.csv.gz: line 3: a cell that a quotation mark opens {TOO_LONG}; shorten it or split it "
        "up",
        "pairs.jsonl.gz": f"pairs.jsonl.gz: line 2 {TOO_LONG}; shorten it or split it up",
        "quoted.csv.gz": f"quoted.csv.gz: line 3 {TOO_LONG}; shorten it or split it up",
    }
    print(megabytes)
    assert megabytes < 1600


def dictionary(values: list[str], rows: int) -> pa.Table:
    indices: Any = pa.array(np.arange(rows, dtype=np.int32) % len(values))
    return pa.table({"text": pa.DictionaryArray.from_arrays(indices, pa.array(values))})


def test_a_copy_far_larger_than_its_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(dictionary(["z" * 100_000], 400), path)
    assert Table(path).text("text").read(399, 400) == ["z" * 100_000]
    monkeypatch.setattr(store, "LARGEST_SURE", 10_000_000)
    monkeypatch.setattr(store, "_VERSION", "another")
    monkeypatch.setattr(parquet, "_BATCH", 5_000_000)
    with pytest.raises(InputError, match=r"a.parquet: stands for more than 0\.0 GB, over 200 times its 0\.0 MB"):
        Table(path)


def test_what_a_parquet_file_says_of_itself_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"n": pa.array([1] * 1001)}), path)
    monkeypatch.setattr(parquet, "MOST_ROWS", 1000)
    with pytest.raises(InputError, match=r"a.parquet: stands for more than .* rows, the most that are read"):
        Table(path)
    monkeypatch.setattr(parquet, "MOST_ROWS", 2000)
    monkeypatch.setattr(parquet, "LARGEST_COLUMN", 10)
    with pytest.raises(InputError, match=r"of one column in one row group, the most that is read"):
        Table(path)


@pytest.mark.parametrize("rows", [0, 1, 30])
def test_parquet_comes_back_in_parts_of_any_size(rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_ROWS", 7)
    monkeypatch.setattr(parquet, "_NESTED_ROWS", 7)
    monkeypatch.setattr(parquet, "_BATCH", 20)
    cells: list[dict[str, Any]] = [
        {"text": "abc"[: i % 4] if i % 5 else None, "list": ["u", "v" * i][: i % 3], "object": {"n": i, "t": "q" * i}}
        for i in range(rows)
    ]
    plain = {
        "text": pa.string(),
        "list": pa.list_(pa.string()),
        "object": pa.struct([("n", pa.int64()), ("t", pa.string())]),
    }
    pq.write_table(
        pa.Table.from_pylist(cells, pa.schema(list(plain.items()))), tmp_path / "a.parquet", row_group_size=11
    )
    if not rows:
        with pytest.raises(InputError, match="holds no rows"):
            Table(tmp_path / "a.parquet")
        return
    table = Table(tmp_path / "a.parquet")
    for name in plain:
        assert table.column(name).read(0, rows) == [row[name] for row in cells]


def test_a_json_array_has_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_arrays, "LARGEST_ARRAY", 20)
    (tmp_path / "a.json").write_text('[{"text": "a"}, {"text": "b"}]')
    with pytest.raises(InputError, match=r"the JSON array holds more than 0 MB.*write one object a line"):
        Table(tmp_path / "a.json")


@pytest.mark.parametrize("length", [99, 101])
def test_the_bound_of_a_row_counts_what_was_read_before(
    length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line whose beginning lies in one block and whose end in the next."""
    monkeypatch.setattr(files, "LONGEST_ROW", 100)
    monkeypatch.setattr(files, "_BLOCK", 60)
    (tmp_path / "a.tsv").write_bytes(b"short\n" + b"x" * (length - 1) + b"\n")
    if length > 100:
        with pytest.raises(InputError, match=r"a\.tsv: line 2 holds more than"):
            list(files.line_blocks(tmp_path / "a.tsv"))
    else:
        assert b"".join(files.line_blocks(tmp_path / "a.tsv")).count(b"\n") == 2
