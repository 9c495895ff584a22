"""Tables: every format and compression gives back what was written, and splits leak nothing."""

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nearfar import registry
from nearfar.column import Column, chunks, content_id, content_ids, text_ids
from nearfar.contracts import Data
from nearfar.data.table import Table
from nearfar.data.tables import columns, files
from nearfar.data.tables.columns import ChunkedColumn
from nearfar.data.tables.row_locator import LocatedTable
from nearfar.data.tables.selection import Selection
from nearfar.errors import InputError

Rows = list[dict[str, Any]]
ROWS = [{"query": f"question {i}", "key": f"answer {i}"} for i in range(10)]


def cells(column: Column) -> list[Any]:
    return [cell for chunk in chunks(column, 3) for cell in chunk]


def compressed(data: bytes, compression: str) -> bytes:
    if compression == ".zst":
        return bytes(pa.compress(data, codec="zstd", asbytes=True))
    compress: dict[str, Callable[[bytes], bytes]] = {
        "": bytes,
        ".gz": gzip.compress,
        ".bz2": bz2.compress,
        ".xz": lzma.compress,
    }
    return compress[compression](data)


def encoded(rows: Rows, kind: str) -> bytes:
    if kind == "parquet":
        stream = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), stream)
        return stream.getvalue()
    if kind == "csv":
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()
    if kind == "tsv":
        return "".join("\t".join(row) + "\n" for row in [rows[0], *(row.values() for row in rows)]).encode()
    return "".join(json.dumps(row, ensure_ascii=i % 2 == 0) + "\n" for i, row in enumerate(rows)).encode()


def write(folder: Path, rows: Rows, name: str) -> Path:
    path = folder / name
    kind, _, compression = name.partition(".")[2].partition(".")
    path.write_bytes(compressed(encoded(rows, kind), f".{compression}" if compression else ""))
    return path


def texts(kind: str) -> st.SearchStrategy[str]:
    excluded = {"csv": "\0", "tsv": "\0\t\r\n"}.get(kind, "")
    free = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=excluded), min_size=1)
    return free | st.sampled_from(["NA", "null", "007", "1e5", "2020-01-01", '"', "'", '"a', 'a "b" c', "\u2028x\x85"])


@pytest.mark.parametrize("compression", ["", ".gz", ".bz2", ".xz", ".zst"])
@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "parquet"])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_was_written_comes_back(tmp_path: Path, kind: str, compression: str, data: st.DataObject) -> None:
    row: st.SearchStrategy[dict[str, Any]] = st.builds(dict, query=texts(kind), key=texts(kind))
    rows = data.draw(st.lists(row, min_size=1, max_size=8))
    table = Table(write(tmp_path, rows, f"rows.{kind}{compression}"))
    assert table.columns == ["query", "key"]
    assert len(table) == len(rows)
    for name in table.columns:
        assert cells(table.column(name)) == [row[name] for row in rows]
    assert table.fingerprint == Table(rows).fingerprint


def test_a_table_is_data_and_a_part() -> None:
    data: Data = Table(ROWS)
    assert data.columns == ["query", "key"]
    built = registry.build("data", {"name": "table", "path": ROWS, "heldout": "0.3", "seed": "3"})
    assert built.notes["heldout"] > 0


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv"])
def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"bom.{kind}"
    path.write_bytes(b"\xef\xbb\xbf" + encoded(ROWS, kind))
    assert Table(path).columns == ["query", "key"]


def test_a_file_is_decompressed_by_its_content_not_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "plain.csv").write_bytes(gzip.compress(encoded(ROWS, "csv")))
    (tmp_path / "named.csv.gz").write_bytes(encoded(ROWS, "csv"))
    assert len(Table(tmp_path / "plain.csv")) == len(Table(str(tmp_path / "named.csv.gz"))) == 10


def test_a_json_array_is_read_like_lines(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps(ROWS, indent=1))
    assert Table(tmp_path / "rows.json").fingerprint == Table(ROWS).fingerprint


def test_types_widen_and_columns_appear_far_into_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_BLOCK", 40)
    rows: Rows = [{"text": None, "score": 1}] * 5 + [{"text": "2020-01-01", "score": 2.5, "more": ["a"]}] * 5
    rows += [{"text": "x", "score": None}, {"text": "2021-01-01 10:00:00", "score": 3, "more": []}]
    table = Table(write(tmp_path, rows, "widening.jsonl"))
    assert table.columns == ["text", "score", "more"]
    assert cells(table.column("text")) == [row["text"] for row in rows]
    assert cells(table.column("score")) == [row["score"] for row in rows]
    assert cells(table.column("more")) == [row.get("more") for row in rows]


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_a_row_may_be_longer_than_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(files, "_BLOCK", 64)
    rows = [*ROWS, {"query": "q" * 3000, "key": "long"}, *ROWS]
    assert cells(Table(write(tmp_path, rows, f"long.{kind}")).column("query")) == [row["query"] for row in rows]


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('\n{"a": "x"}\n\n  \n{"a": "y"}\n\n')
    (tmp_path / "a.csv").write_text("a,b\n\nx,1\n\ny,2\n\n")
    (tmp_path / "a.tsv").write_bytes(b"a\tb\r\n\r\nx\t1\r\n\r\ny\t2")
    for name in ("a.jsonl", "a.csv", "a.tsv"):
        assert cells(Table(tmp_path / name).text("a")) == ["x", "y"], name


def test_a_delimiter_and_a_header_can_be_given(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x;1\ny;2\n")
    table = Table(tmp_path / "a.txt", delimiter=";", header=["text", "score"])
    assert cells(table.text("text")) == ["x", "y"]
    assert table.numbers("score").tolist() == [1, 2]
    with pytest.raises(InputError, match="delimiter ';;' is not one plain character"):
        Table(tmp_path / "a.txt", delimiter=";;")


def test_a_folder_is_its_files_by_split(tmp_path: Path) -> None:
    write(tmp_path, ROWS[:3], "train-00000-of-00002.jsonl")
    write(tmp_path, ROWS[3:5], "train-00001-of-00002.jsonl.gz")
    write(tmp_path, ROWS[5:], "dev.jsonl")
    (tmp_path / "README.md").write_text("words")
    table = Table(tmp_path)
    assert table.splits == ["validation", "train"]
    assert cells(table.column("query")) == [row["query"] for row in ROWS[:5]]
    assert len(table.split("validation")) == 5
    assert table.where(3) == f"{tmp_path / 'train-00001-of-00002.jsonl.gz'}: row 1 (line 1)"


def test_data_sets_of_the_datasets_library(tmp_path: Path) -> None:
    import datasets

    data = datasets.Dataset.from_list(ROWS)
    assert Table(data).fingerprint == Table(ROWS).fingerprint
    shuffled = data.select([7, 2, 5])
    assert cells(Table(shuffled).column("key")) == ["answer 7", "answer 2", "answer 5"]
    datasets.DatasetDict({"train": data, "test": shuffled}).save_to_disk(str(tmp_path / "saved"))
    saved = Table(str(tmp_path / "saved"))
    assert (saved.splits, len(saved), len(saved.split("test"))) == (["train", "test"], 10, 3)
    data.save_to_disk(str(tmp_path / "one"))
    assert Table(tmp_path / "one").fingerprint == Table(ROWS).fingerprint
    assert Table(tmp_path / "one").where(2) == f"{tmp_path / 'one'}: row 3"


def test_a_hub_name_goes_to_load_dataset_which_never_runs_code(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    calls: list[Any] = []

    def load(name: str, config: str | None, **options: Any) -> Any:
        calls.append((name, config, options.get("trust_remote_code", False)))
        return datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)})

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert len(Table("owner/name", config="pair")) == 10
    assert calls == [("owner/name", "pair", False)]


def test_the_fingerprint_is_of_the_content() -> None:
    rows: Rows = [{"a": "x", "b": [1.5, None], "c": {"d": True, "e": None}, "f": ["p", "q"]}, {"a": None, "b": None}]
    once = pa.Table.from_pylist(rows)
    cut = pa.concat_tables([once.slice(0, 1), once.slice(1, 1)])
    import datasets

    assert Table(datasets.Dataset(once)).fingerprint == Table(datasets.Dataset(cut)).fingerprint
    assert len({Table([{"a": a}]).fingerprint for a in ("x", "y", None, "", 1, 1.5, True)}) == 7
    assert Table([{"a": "xy"}, {"a": ""}]).fingerprint != Table([{"a": "x"}, {"a": "y"}]).fingerprint
    assert Table([{"a": "x", "b": "y"}]).fingerprint != Table([{"a": "y", "b": "x"}]).fingerprint


def test_lists_are_flattened_with_offsets() -> None:
    table = Table(
        [{"q": "a", "neg": ["x", "y"]}, {"q": "b", "neg": []}, {"q": "c", "neg": None}, {"q": "d", "neg": ["z"]}]
    )
    column, offsets = table.lists("neg")
    assert cells(column) == ["x", "y", "z"]
    assert offsets.tolist() == [0, 2, 2, 2, 3]
    assert offsets.dtype == np.int64
    column, offsets = table.lists("q")
    assert (cells(column), offsets.tolist()) == (["a", "b", "c", "d"], [0, 1, 2, 3, 4])


@given(lengths=st.lists(st.integers(0, 4), min_size=12, max_size=40), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_lists_of_a_split_are_those_of_its_rows(lengths: list[int], seed: int) -> None:
    rows = [{"q": f"q{i}", "neg": [f"n{i}.{j}" for j in range(n)]} for i, n in enumerate(lengths)]
    by_query = {row["q"]: row["neg"] for row in rows}
    table = Table(rows, heldout=3, seed=seed)
    for split in (table, table.split("heldout")):
        column, offsets = split.lists("neg")
        flat = cells(column)
        for i, query in enumerate(cells(split.column("q"))):
            assert flat[offsets[i] : offsets[i + 1]] == by_query[query]


def test_numbers_are_read_from_text() -> None:
    rows = [{"t": " 1.5", "i": 1, "b": True}, {"t": "-2e3 ", "i": 2, "b": False}, {"t": "+7", "i": 3, "b": True}]
    table = Table(rows)
    assert table.numbers("t").tolist() == [1.5, -2000, 7]
    assert table.numbers("i").tolist() == [1, 2, 3]
    assert table.numbers("b").tolist() == [1, 0, 1]


def test_blank_text_may_be_allowed() -> None:
    table = Table([{"a": "x"}, {"a": None}, {"a": " "}])
    assert cells(table.text("a", empty=True)) == ["x", "", " "]


def test_the_held_out_rows_depend_on_the_seed_and_count() -> None:
    rows = [{"query": f"q{i}", "key": f"k{i}"} for i in range(200)]
    assert Table(rows, heldout=20).notes == {"train": 180, "heldout": 20}
    assert 20 < Table(rows, heldout=0.25).notes["heldout"] < 80
    split = [Table(rows, heldout=20, seed=seed).split("heldout") for seed in (0, 0, 1)]
    assert split[0].fingerprint == split[1].fingerprint != split[2].fingerprint
    assert split[0].fingerprint == Table([rows[i] for i in map(rows.index, _dicts(split[0]))]).fingerprint


def _dicts(table: Table) -> Rows:
    return [dict(zip(table.columns, row)) for row in zip(*(cells(table.column(name)) for name in table.columns))]


TEXTS = ["near", "", None, " \u3000", "\u00e9", "near"]
LISTS = [["a", "b"], ["near", None], None, ["", "c"], []]


@pytest.mark.parametrize("cells", [TEXTS * 4, LISTS * 4])
def test_contents_are_those_of_the_cells_however_rows_are_picked(cells: list[Any]) -> None:
    source = Selection(LocatedTable.single("rows", pa.table({"text": cells})))
    some = Selection(source.source, np.array([1, 2, 5, 6, 7, 13]))
    for fill in (None, ""):
        for rows in (source, some):
            column = rows.column("text", fill) if isinstance(cells[0], str) else rows.flattened("text", fill)[0]
            expected = [content_id(cell) for cell in column.read(0, len(column))]
            assert content_ids(column).tolist() == expected and len(expected) > 3


def test_a_text_is_hashed_once_however_often_its_column_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[int] = []

    def counting(texts: Any) -> Any:
        found = list(texts)
        hashed.append(len(found))
        return text_ids(found)

    monkeypatch.setattr(columns, "text_ids", counting)
    monkeypatch.setattr(ChunkedColumn, "read", lambda *_: pytest.fail("a cell is read"))
    table = Table([{"query": f"question {i}", "key": f"answer {i}"} for i in range(50)], heldout=0.2)
    for part in (table, table.split("heldout"), table):
        assert len(content_ids(part.text("query"))) == len(part) == len(content_ids(part.column("key")))
    assert sum(hashed) == 100  # both columns of 50, when rows were held out


def test_labels_decide_nothing() -> None:
    rows = [{"split": "train", "label": f"kind {i % 9}", "text": f"review {i}"} for i in range(1000)]
    assert Table(rows, heldout=50).notes == {"train": 950, "heldout": 50}
    named = Table(rows, heldout=300, heldout_by=["label"])  # named by the user, labels are held out whole
    assert not set(cells(named.column("label"))) & set(cells(named.split("heldout").column("label")))
    with pytest.raises(InputError, match=r"column 'label'.*stays together"):
        Table([{"label": "one"}] * 1000, heldout=0.1)  # the only text there is


def test_blank_cells_are_no_shared_text() -> None:
    rows = [{"query": f"q{i}", "key": ""} for i in range(20)] + [{"query": None, "key": " "}]
    table = Table(rows, heldout=5)
    assert table.notes == {"train": 16, "heldout": 5}
    assert None in cells(table.column("query"))


COUNTS = {
    "B-mrpc/msr-para-train.tsv.gz": (3576, "Quality"),
    "B-mrpc/msr-para-val.tsv.gz": (500, "Quality"),
    "B-mrpc/msr-para-test.tsv.gz": (1725, "Quality"),
    "C-nl2bash/pairs.jsonl.gz": (12607, "id"),
    "C-trecqa/train.csv.gz": (4718, "qtext"),
    "G-climate-fever/climate-fever.jsonl.gz": (1535, "claim_id"),
    "B-sts12-16/sts12-16-scored.jsonl.gz": (13278, "year"),
    "B-stsb/sts-train.csv.gz": (5749, "genre"),
}


@pytest.mark.parametrize("name", COUNTS)
def test_real_files_keep_every_row(shared_data: Path, name: str) -> None:
    table = Table(shared_data / name, split_column=None)
    assert (len(table), table.columns[0]) == COUNTS[name]


def test_a_real_file_without_a_header(shared_data: Path) -> None:
    table = Table(shared_data / "G-liar" / "train.tsv.gz", header=[f"c{i}" for i in range(14)])
    assert len(table) == 10269
