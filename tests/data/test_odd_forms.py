"""Files of an odd form, in each format: read to the right values, or refused in one line that says the fix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nearfar.data.beir import Beir
from nearfar.data.similarity import Similarity
from nearfar.data.table import Table
from nearfar.errors import InputError, listed

LINES = {
    "a.jsonl": '{"query": "one", "key": "two"}\n{"query": "three", "key": "four"}\n',
    "a.json": '[{"query": "one", "key": "two"},\n{"query": "three", "key": "four"}]\n',
    "arrays.jsonl": '["one", "two"]\n["three", "four"]\n',
    "a.csv": "query,key\none,two\nthree,four\n",
    "a.tsv": "query\tkey\none\ttwo\nthree\tfour\n",
    "a.txt": "one and two\nthree and four\n",
    "sts-test.csv": "main\tf\t2012\t1\t4.5\tone\ttwo\nmain\tf\t2012\t2\t1.5\tthree\tfour\n",
}


def write(folder: Path, name: str, text: str | bytes) -> Path:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / name


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16", "utf-32"])
def test_other_encodings_are_named_with_the_command_that_converts(name: str, encoding: str, tmp_path: Path) -> None:
    path = write(tmp_path, name, LINES[name].encode(encoding))
    spelling = {"utf-16-le": "UTF-16LE", "utf-16-be": "UTF-16BE"}.get(encoding, encoding.upper())
    with pytest.raises(InputError, match=rf"is {spelling} text; convert it: iconv -f {spelling} -t UTF-8 {name} > "):
        Table(path)


def test_a_document_in_another_encoding_is_named(tmp_path: Path) -> None:
    write(tmp_path, "a.md", "words and \u6f22\u5b57 more words".encode("utf-16-le"))
    with pytest.raises(InputError, match=r"a\.md: is UTF-16LE text; convert it: iconv -f UTF-16LE"):
        Table(tmp_path)


@pytest.mark.parametrize("name", ["arrays.jsonl", "a.csv", "a.tsv", "a.txt", "sts-test.csv"])
def test_lines_that_end_with_carriage_returns_alone_are_refused(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, name, LINES[name].replace("\n", "\r"))
    with pytest.raises(InputError, match=r"its lines end with carriage returns alone; convert it: tr '\\r' '\\n' < "):
        Table(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_carriage_return_is_white_space_of_json(name: str, tmp_path: Path) -> None:
    table = Table(write(tmp_path, name, LINES[name].replace("\n", "\r")))
    assert table.column("key").read(0, len(table)) == ["two", "four"]


def test_a_carriage_return_in_a_long_first_line_is_text(tmp_path: Path) -> None:
    long = "a\r" + "b" * 100_000
    assert Table(write(tmp_path, "a.txt", f"{long}\nc\n")).column("text").read(0, 2) == [long, "c"]


def test_a_long_first_line_of_texts_is_read(tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(100_000)]
    table = Table(write(tmp_path, "a.jsonl", json.dumps(texts) + '\n["one", "two"]\n'))
    assert table.column("query").read(0, 2) == ["text 0", "one"]
    assert table.column("negative").read(0, 2) == [texts[2:], []]


@pytest.mark.parametrize("rows", ['[{"a": "x", "a": "y"}]', '{"a": "x", "a": "y"}\n'], ids=["array", "lines"])
def test_a_name_twice_in_an_object_is_refused(rows: str, tmp_path: Path) -> None:
    path = write(tmp_path, "a.json" if rows[0] == "[" else "a.jsonl", rows)
    with pytest.raises(InputError, match="the name 'a' occurs twice"):
        Table(path)


ROUNDED: dict[str, list[Any]] = {
    "beyond 64 bits": [2**63, 2**63 + 1],
    "below zero": [-(2**70) - 1, 1],
    "beside a fraction": [2**53 + 1, 0.5],
    "of 5,000 digits": ["9" * 5000],
}


@pytest.mark.parametrize("kind", ROUNDED)
def test_whole_numbers_that_would_be_rounded_are_refused(kind: str, tmp_path: Path) -> None:
    rows = ['{"id": 1, "label": 2}', "", *(f'{{"id": {number}, "label": 3}}' for number in ROUNDED[kind])]
    with pytest.raises(InputError, match=r"row [23], column 'id': holds a whole number of too many digits") as error:
        Table(write(tmp_path, "a.jsonl", "\n".join(rows)))
    assert len(str(error.value)) < 300


def test_whole_numbers_of_64_bits_and_floats_are_read(tmp_path: Path) -> None:
    rows = [{"id": 2**63 - 1, "x": 1e300}, {"id": -(2**63), "x": 2**60}]
    table = Table(write(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))
    assert table.column("id").read(0, 2) == [2**63 - 1, -(2**63)]
    assert table.column("x").read(0, 2) == [1e300, 2**60]


def test_whole_numbers_beyond_64_bits_in_an_array_name_their_row(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"row 2, column 'id': holds a whole number of too many digits"):
        Table(write(tmp_path, "a.json", json.dumps([{"id": 1}, {"id": 2**64}])))


def beir(folder: Path, ids: list[str], score: str = "1") -> Path:
    """Write a BEIR folder whose ids are JSON as it is given."""
    rows = "".join(f'{{"_id": {one}, "text": "text {i}"}}\n' for i, one in enumerate(ids))
    for name in ("corpus.jsonl", "queries.jsonl"):
        write(folder, name, rows)
    header = "query-id\tcorpus-id\tscore\n"
    write(folder, "qrels.tsv", header + "".join(f"{one}\t{one}\t{score}\n" for one in ids))
    return folder


def test_ids_of_a_beir_folder_keep_their_digits(tmp_path: Path) -> None:
    task = Beir(beir(tmp_path, [str(2**53 + i) for i in range(5)])).task()
    assert list(task.document_ids) == [str(2**53 + i) for i in range(5)]
    assert task.relevance == {i: {i: 1} for i in range(5)}


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ([str(2**63 + i) for i in range(3)], r"corpus\.jsonl: row 2, column '_id': holds a whole number of too many"),
        ([str(2**63)], r"row 1 \(line 1\), column '_id': 9\.\d+e\+18 is no text and no whole number of 64 bits"),
        (
            ["true", "false"],
            r"row 1 \(line 1\), column '_id': True is no text and no whole number",
        ),
        (["[1]", "[2]"], r"row 1 \(line 1\), column '_id': \[1\] is no text and no whole"),
    ],
    ids=["beyond 64 bits", "one beyond 64 bits", "truth values", "lists"],
)
def test_ids_that_are_none_are_refused(ids: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        Beir(beir(tmp_path, ids)).task()
    with pytest.raises(InputError, match=said):
        Beir.corpus(tmp_path)


@pytest.mark.parametrize("score", ["1e300", str(2**63), str(2**31)])
def test_a_grade_beyond_all_measure_is_refused(score: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"qrels\.tsv: row 1 \(line 2\), column 'score': \S+ is too large; grades are"):
        Beir(beir(tmp_path, ["1", "2"], score)).task()


def test_mixed_line_ends_give_the_same_rows(tmp_path: Path) -> None:
    for name, text in LINES.items():
        (tmp_path / "mixed").mkdir(exist_ok=True)
        plain, mixed = write(tmp_path, name, text), write(tmp_path / "mixed", name, text.replace("\n", "\r\n", 1))
        one, other = Table(plain), Table(mixed)
        assert [one.column(c).read(0, 9) for c in one.columns] == [other.column(c).read(0, 9) for c in other.columns]


def test_the_sts_benchmark_with_many_more_fields_is_read(tmp_path: Path) -> None:
    text = LINES["sts-test.csv"].replace("\n", "\tx" * 100_000 + "\n")
    assert Similarity(write(tmp_path, "sts-test.csv", text)).task().scores.tolist() == [4.5, 1.5]


def test_a_blank_name_is_listed_in_quotation_marks() -> None:
    assert listed(["", " ", "a"]) == "'', ' ', a"


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv", "a.txt", "a.parquet"])
def test_a_folder_where_a_file_is_meant_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match="the folder holds no table"):
        Table(tmp_path / name)


def test_folders_in_the_place_of_files_of_a_beir_folder_are_refused(tmp_path: Path) -> None:
    beir(tmp_path, ["1", "2"])
    (tmp_path / "qrels.tsv").unlink()
    (tmp_path / "qrels.tsv").mkdir()
    with pytest.raises(InputError, match=r"qrels\.tsv: is not a regular file"):
        Beir(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        {"query": "a", "key": "b", "ids": [18446744073709551614, 18446744073709551615]},
        {"query": "a", "key": "b", "of": {"id": 18446744073709551614}},
        {"query": "a", "key": "b", "of": [{"ids": [18446744073709551614]}]},
    ],
)
def test_whole_numbers_inside_lists_and_objects_are_not_rounded(line: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", json.dumps({"query": "c", "key": "d"}) + "\n" + json.dumps(line) + "\n")
    with pytest.raises(InputError, match=r"a.jsonl: row 2, column '(ids|of)'"):
        Table(path)


def test_large_floats_inside_objects_are_read(tmp_path: Path) -> None:
    cell = {"id": 9007199254740993, "weight": 1e300}
    path = write(tmp_path, "a.jsonl", json.dumps({"query": "a", "key": "b", "of": cell}) + "\n")
    assert Table(path).column("of").read(0, 1) == [cell]


def test_the_fields_of_an_object_are_no_columns(tmp_path: Path) -> None:
    fields = {f"f{i}": pa.array([i]) for i in range(10_001)}
    table = pa.table(
        {"query": ["a"], "key": ["b"], "of": pa.StructArray.from_arrays(list(fields.values()), list(fields))}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    assert Table(tmp_path / "a.parquet").column("query").read(0, 1) == ["a"]
