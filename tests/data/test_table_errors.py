"""Every error about a table names the file, the row and its line, the column, and what to do."""

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nearfar.data.table import Table
from nearfar.data.tables import cells
from nearfar.errors import InputError, RunError
from tests.data.test_table import compressed

# What the file holds, and what the error must say besides the file's name, in order.
BROKEN: dict[str, tuple[str, bytes, list[str]]] = {
    "an empty file": ("a.jsonl", b"", ["the file is empty", "write at least one row"]),
    "an empty compressed file": ("a.csv.gz", gzip.compress(b""), ["the file is empty", "write at least one row"]),
    "only white space": ("a.jsonl", b" \n\n", ["the file is empty"]),
    "only a header": ("a.csv", b"query,key\n", ["holds no rows", "write at least one"]),
    "only a header in TSV": ("a.tsv", b"query\tkey", ["holds no rows", "write at least one"]),
    "an empty array": ("a.json", b"[]", ["holds no rows"]),
    "binary": ("a.csv", b"query,key\nx\0y,z\n", ["is a binary file", "zero byte at 11", ".jsonl, .json, .csv"]),
    "UTF-16": ("a.csv", "query,key\n".encode("utf-16"), ["is UTF-16", "iconv -f UTF-16 -t UTF-8 a.csv"]),
    "Latin-1 in CSV": (
        "a.csv",
        b"query,key\n\nx,y\nx,\xe9\n",
        ["row 2 (line 4)", "not UTF-8", "0xe9", "iconv -f LATIN1"],
    ),
    "Latin-1 in TSV": ("a.tsv", b"query\tkey\nx\ty\nx\t\xe9\n", ["row 2 (line 3)", "not UTF-8", "0xe9", "iconv"]),
    "Latin-1 in the header": ("a.csv", b"qu\xe9ry,key\nx,y\n", ["the header (line 1)", "not UTF-8", "iconv"]),
    "Latin-1 in JSON": ("a.jsonl", b'{"a": "x"}\n\n{"a": "\xe9"}\n', ["row 2 (line 3)", "not UTF-8", "0xe9", "iconv"]),
    "a broken object": (
        "a.jsonl",
        b'{"a": 1}\n\n{"a": \n',
        ["row 2 (line 3)", "not one JSON object", "one complete object"],
    ),
    "two values on a line": ("a.jsonl", b'{"a": 1} x\n', ["row 1 (line 1)", "Extra data", "one complete object"]),
    "a name twice": ("a.jsonl", b'{"a": 1, "a": 2}\n', ["row 1 (line 1)", "'a' occurs twice"]),
    "no object": ("a.jsonl", b'{"a": 1}\n"words"\n', ["row 2 (line 2)", "is text, not an object", "{'column': value"]),
    "nested too deeply": (
        "a.jsonl",
        b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}\n",
        ["line 1", "is nested more than 32 levels deep; flatten it"],
    ),
    "a number among texts": (
        "a.jsonl",
        b'{"a": "x"}\n\n{"a": 5}\n',
        ["row 2 (line 3), column 'a'", "holds a number where row 1 (line 1) has text", "one type"],
    ),
    "a number in lists of text": (
        "a.jsonl",
        b'{"a": ["x"]}\n{"a": ["y", 2]}\n',
        ["row 2 (line 2), column 'a[]'", "holds a number where row 1 (line 1) has text"],
    ),
    "half a surrogate pair": (
        "a.jsonl",
        b'{"a": "x"}\n{"a": "\\ud800"}\n',
        ["row 2 (line 2), column 'a'", "surrogate", "remove"],
    ),
    "a broken array": ("a.json", b'[{"a": 1},\n{"a" 2}]', ["not a JSON array", "line 2 column 6", "repair"]),
    "a number among texts in an array": ("a.json", b'[{"a": "x"}, {"a": 1}]', ["row 2, column 'a'", "holds a number"]),
    "too many fields": (
        "a.csv",
        b'q,k\n"x\ny",1\n\na,b,c\n',
        ["row 2 (line 5)", "has 3 fields, the columns are 2", "extra ','"],
    ),
    "too few fields": (
        "a.csv",
        b"q,k\nx,1\ny\n",
        ["row 2 (line 3)", "has 1 fields, the columns are 2", "missing fields"],
    ),
    "too many fields in TSV": ("a.tsv", b'q\tk\n"x\t1\n"y\t2\t3\n', ["row 2 (line 3)", "has 3 fields", "1 TABs"]),
    "a carriage return in TSV": ("a.tsv", b"q\tk\nx\t1\r2\n", ["row 1 (line 2)", "carriage return", "remove"]),
    "a stray quotation mark": (
        "a.csv",
        b'q,k\n"x,1\ny,2\n',
        ["line 2: no quotation mark closes the cell", "holds the rest of the file", "double a mark"],
    ),
    "a mark that nothing closes, in one column": ("a.csv", b'q\nx\n\n"y\nz\n', ["line 4: no quotation mark closes"]),
    "a mark that nothing closes, in the last column": (
        "a.csv",
        b'q,k\n"x\ny","z"\nx,"y\nz,1',
        ["line 4: no quotation mark closes"],
    ),
    "a mark in the last line that nothing closes": ("a.csv", b'q\nx\n"y', ["line 3: no quotation mark closes"]),
    "an escaped mark at the end": (
        "a.csv",
        b'q\n"x\\""\n',
        ["line 2: no quotation mark closes", "or escape='\\\\' if"],
    ),
    "semicolons": ("a.csv", b"query;key\nx;y\n", ["line 1", "';' seems to part the fields", "give delimiter=';'"]),
    "semicolons and commas": ("a.csv", b"query;key\nx, y;z\n", ["line 1", "';' seems to part", "delimiter=';'"]),
    "commas in TSV": ("a.tsv", b"query,key\nx,y\n", ["line 1", "',' seems to part the fields", "delimiter=','"]),
    "TABs in CSV": ("a.csv", b"query\tkey\nx\ty\n", ["line 1", "'\\t' seems to part the fields"]),
    "a quoted line break in TSV": (
        "a.tsv",
        b'query\tkey\n"line one\nline two"\tworld\n',
        ["row 1 (line 2)", "has 1 fields", "quoting=true reads quotation marks"],
    ),
    "a column twice": ("a.csv", b"q,q\nx,1\n", ["line 1", "column 'q' occurs twice", "its own name"]),
    "no columns": ("a.jsonl", b"{}\n{}\n", ["has no columns", "named values"]),
    "no Parquet": ("a.parquet", b"PAR1 nothing", ["is not a Parquet file", "write it again"]),
    "a compressed file cut off": (
        "a.csv.gz",
        gzip.compress(b"q,k\nx,1\n" * 99)[:-9],
        ["damaged or cut off", "copy or download"],
    ),
    "a short row of the STS benchmark": (
        "a.csv",
        b"g\tf\t2012\t1\t5.0\tx\ty\n\ng\tf\t2012\t1\t5.0\tx\n",
        ["row 2 (line 3)", "has 6 fields", "at least 7 (genre,", "repair"],
    ),
    "Latin-1 in lines of text": ("a.txt", b"x\n\n\xe9\n", ["line 3", "not UTF-8", "0xe9", "iconv -f LATIN1"]),
    "UTF-16 lines of text": ("a.txt", "words\n".encode("utf-16"), ["is UTF-16", "iconv -f UTF-16"]),
    "only white space in lines of text": ("a.txt", b"\n \n", ["the file is empty"]),
    "a document": ("a.md", b"# x", ["does not say what it holds", "a folder of such files"]),
    "an unknown name": ("a.docx", b"x", ["does not say what it holds", "rename it to .jsonl"]),
    "a pickle": ("a.pkl", b"x", [".pkl files are not read", "can run code", "save the table as .jsonl"]),
    "weights": ("a.bin.gz", b"x", [".bin files are not read", "can run code", "save the table as .jsonl"]),
}


def says(error: pytest.ExceptionInfo[InputError], *parts: str) -> None:
    message = str(error.value)
    assert re.search(".*".join(map(re.escape, parts)), message, re.DOTALL), message
    assert message.count("\n") < 2, message


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file(tmp_path: Path, name: str) -> None:
    file, content, parts = BROKEN[name]
    path = tmp_path / file
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        Table(path)
    says(error, f"{path}: ", *parts)


@pytest.mark.parametrize("kind", [".gz", ".bz2", ".xz", ".zst"])
def test_a_damaged_compressed_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.csv{kind}"
    whole = compressed(b"".join(b"%d,%d\n" % (i, i * i) for i in range(30_000)), kind)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError) as error:
        Table(path)
    says(error, str(path), "damaged or cut off", "copy or download it again")


def test_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "questions.jsonl").write_text("{}")
    for path in (tmp_path / "question.jsonl", str(tmp_path / "question.jsonl")):
        with pytest.raises(InputError) as error:
            Table(path)
        says(error, f"{tmp_path / 'question.jsonl'}: no such file; did you mean", "questions.jsonl", "check the path")


def test_a_link_that_leads_to_no_file(tmp_path: Path) -> None:
    for name, target in (("itself.jsonl", "itself.jsonl"), ("gone.csv", "../nothing.csv")):
        (tmp_path / name).symlink_to(target)
        with pytest.raises(InputError) as error:
            Table(tmp_path / name)
        says(error, f"{tmp_path / name}: a link to '{target}', which leads to no file", "give the file itself")


def test_paths_that_cannot_be() -> None:
    with pytest.raises(InputError, match="the path is empty; give a file"):
        Table("")
    with pytest.raises(InputError, match=r"xx: cannot be read \(File name too long\); check the file"):
        Table("x" * 5000)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(InputError) as error:
        Table(tmp_path / "pipe.csv")
    says(error, str(tmp_path / "pipe.csv"), "is not a regular file", "give .jsonl")


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.csv"
    path.write_text("q,k\nx,1\n")

    def refuse(*arguments: Any, **settings: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # the superuser may read everything, so the mode alone tests nothing
    with pytest.raises(InputError) as error:
        Table(path)
    says(error, str(path), "permission denied", "chmod u+r a.csv")


def test_a_folder_without_tables(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        Table(tmp_path)
    says(error, str(tmp_path), "the folder holds no table", "put .jsonl")


def test_a_folder_of_unlike_files(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("q,k\nx,1\n")
    (tmp_path / "b.csv").write_text("q,key\nx,1\n")
    with pytest.raises(InputError) as error:
        Table(tmp_path)
    says(error, str(tmp_path / "b.csv"), "columns q, key", str(tmp_path / "a.csv"), "q, k", "same columns")
    (tmp_path / "b.csv").unlink()
    (tmp_path / "b.jsonl").write_text('{"q": 1, "k": "x"}\n')
    with pytest.raises(InputError) as error:
        Table(tmp_path)
    says(error, str(tmp_path / "a.csv"), "other types", "same types")


def test_a_damaged_saved_data_set(tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text("{}")
    with pytest.raises(InputError) as error:
        Table(tmp_path)
    says(error, str(tmp_path), "damaged", "save it again")


def test_a_hub_name_without_a_network() -> None:
    with pytest.raises(InputError) as error:
        Table("no-such-owner/no-such-data")
    says(error, "no-such-owner/no-such-data: is no file or folder here", "could be loaded", "the connection")


def test_what_is_no_table() -> None:
    import datasets

    for thing in (5, datasets.Dataset.from_list([{"a": 1}]).to_iterable_dataset()):
        with pytest.raises(InputError) as error:
            Table(thing)
        says(error, f"a {type(thing).__name__} is no table", "give a path, a list of dictionaries")


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        ([], ["holds no rows"]),
        ([{"a": "x"}, "y"], ["row 2 is text, not an object"]),
        ([{"a": "x"}, {"a": 1}], ["row 2, column 'a': holds a number where row 1 has text"]),
        ([{"a": "x"}, {"a": "\ud800"}], ["row 2, column 'a': holds half a surrogate pair"]),
        ([{1: "x"}], ["row 1: the column name 1 is not text"]),
        ([{"a": object()}], ["do not make a table", "use plain values"]),
    ],
)
def test_rows_that_make_no_table(rows: list[Any], parts: list[str]) -> None:
    with pytest.raises(InputError) as error:
        Table(rows)
    says(error, "the list of rows: ", *parts)


def test_a_missing_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("question,answer\nx,1\n")
    table = Table(tmp_path / "a.csv")
    for method in (table.column, table.text, table.lists, table.numbers):
        with pytest.raises(InputError) as error:
            method("questoin")
        says(error, f"{tmp_path / 'a.csv'}: no column 'questoin'; did you mean 'question'? known: answer, question")
    (tmp_path / "b.csv").write_text("question;answer\nx;1\n")
    assert Table(tmp_path / "b.csv", delimiter=",").columns == ["question;answer"]


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        (None, "is null; write some text or remove the row"),
        ("", "is empty; write some text or remove the row"),
        (" \u3000\t", "is only white space; write some text or remove the row"),
        ("\u200b\ufeff ", "is only invisible characters; write some text or remove the row"),
        ("\xad", "is only invisible characters; write some text or remove the row"),
        ("x" * 60, "holds 0.0 MB of text, the most is 0 MB; shorten it"),
    ],
)
def test_a_cell_that_is_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: Any, problem: str) -> None:
    monkeypatch.setattr(cells, "LONGEST_CELL", 50)
    path = tmp_path / "a.jsonl"
    rows = [
        {"q": "x", "n": ["x"]},
        {"q": "y", "n": ["x", "y", cell] if cell is not None else ["x", "y", None]},
        {"q": cell},
    ]
    path.write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    with pytest.raises(InputError) as error:
        Table(path).text("q")
    says(error, f"{path}: row 3 (line 5), column 'q': {problem}")
    with pytest.raises(InputError) as error:
        Table(path).lists("n")
    says(error, f"{path}: row 2 (line 3), column 'n': element 3 {problem}")


def test_a_cell_over_ten_megabytes_says_its_size() -> None:
    with pytest.raises(InputError) as error:
        Table([{"a": "x"}, {"a": "é" * 6_000_000}]).text("a")
    says(error, "row 2, column 'a': holds 12.0 MB of text, the most is 10 MB; shorten it")


def test_a_cell_that_is_not_unicode() -> None:
    import datasets
    import pyarrow as pa

    broken = pa.array([b"x", b"\xff"], pa.binary()).view(pa.string())
    table = Table(datasets.Dataset(pa.table({"a": broken})))
    with pytest.raises(InputError) as error:
        table.text("a")
    says(error, "the data set: row 2, column 'a': is not UTF-8 text")


def test_rows_of_a_split_are_named_by_their_place_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("q,k\n" + "".join(f"q{i},\n" for i in range(40)))
    out = Table(path, heldout=5, heldout_by=["q"]).split("heldout")
    row = int(out.text("q").read(0, 1)[0][1:])
    with pytest.raises(InputError) as error:
        out.text("k")
    says(error, f"{path}: row {row + 1} (line {row + 2}), column 'k': is empty")


def test_a_column_of_another_type() -> None:
    table = Table([{"n": 1, "t": "x", "l": [1]}])
    with pytest.raises(InputError) as error:
        table.text("n")
    says(error, "row 1, column 'n': holds '1'", "int64, not text", "name another column: n (int64), t (string)")
    with pytest.raises(InputError) as error:
        table.lists("l")
    says(error, "row 1, column 'l'", "not text or lists of text", "name another column")
    with pytest.raises(InputError) as error:
        table.numbers("l")
    says(error, "row 1, column 'l'", "not numbers", "name another column")


@pytest.mark.parametrize("cell", ["high", "nan", "1e999", "", "1,5"])
def test_a_score_that_is_no_number(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(f"q\ts\nx\t1\n\ny\t{cell}\n")
    with pytest.raises(InputError) as error:
        Table(path).numbers("s")
    says(error, f"{path}: row 2 (line 4), column 's': {cell!r} is not a", "number; write one")


def test_a_score_that_is_null_or_infinite(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"s": 1.5, "i": 1}\n{"s": NaN, "i": null}\n')
    table = Table(path)
    with pytest.raises(InputError) as error:
        table.numbers("s")
    says(error, f"{path}: row 2 (line 2), column 's': nan is not a finite number")
    with pytest.raises(InputError) as error:
        table.numbers("i")
    says(error, f"{path}: row 2 (line 2), column 'i': null is not a finite number")


@pytest.mark.parametrize("heldout", [-0.1, 1.5, float("nan"), float("inf"), 3, 10])
def test_a_held_out_size_that_cannot_be(heldout: float) -> None:
    with pytest.raises(InputError) as error:
        Table([{"q": "a"}, {"q": "b"}, {"q": "c"}], heldout=heldout)
    says(error, "the list of rows: heldout=")


def test_holding_out_needs_text() -> None:
    with pytest.raises(InputError) as error:
        Table([{"n": i} for i in range(9)], heldout=2)
    says(error, "heldout needs columns of text, these hold 'n' int64", "numbers in quotation marks")
    with pytest.raises(InputError) as error:
        Table([{"q": "same"} for _ in range(9)], heldout=2)
    says(error, "the list of rows: heldout=2 of 9 rows: none can be held out", "column 'q'", "heldout=0")


def test_a_split_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    for name in ("train", "heldout"):
        (tmp_path / f"{name}.csv").write_text("q,k\nx,1\ny,2\n")
    with pytest.raises(InputError, match=r"has a split 'heldout' already; leave heldout=0\.5 out"):
        Table(tmp_path, heldout=0.5)


def test_a_row_is_named_without_its_line_when_the_file_has_gone(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("q,k\nx,\n")
    table = Table(tmp_path / "a.csv")
    (tmp_path / "a.csv").unlink()
    assert table.where(0) == f"{tmp_path / 'a.csv'}: row 1"


def test_an_unknown_split() -> None:
    with pytest.raises(InputError) as error:
        Table([{"q": "a"}]).split("heldout")
    says(error, "no split 'heldout'; known: train; heldout=0.1 keeps a tenth of the rows back")


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    (tmp_path / "a.csv").write_text("q,k\nfull,1\n")
    with pytest.raises(RunError, match=r"the disk is full.*HF_DATASETS_CACHE"):
        Table(tmp_path / "a.csv")
    monkeypatch.undo()
    assert len(Table(tmp_path / "a.csv")) == 1


def test_the_datasets_library_is_not_imported_before_a_table_is_read() -> None:
    code = "import sys, nearfar.data.table, nearfar.data.beir; assert 'datasets' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
