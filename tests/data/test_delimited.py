"""Delimited files: their form, quotation marks that are read or told, and blocks that end where a record does."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nearfar.column import chunks
from nearfar.data.table import Table
from nearfar.data.tables import files
from nearfar.errors import InputError

CELLS = st.lists(st.sampled_from(['"', ",", "\n", "\r\n", "a", " ", ";", "\\"]), max_size=6).map("".join)


def cells(table: Table, name: str) -> list[Any]:
    return [cell for block in chunks(table.column(name)) for cell in block]


def write(folder: Path, content: bytes, name: str = "a.csv") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6))
@pytest.mark.parametrize("block", [1, 7, files._BLOCK])
def test_what_python_writes_comes_back_however_it_is_cut(
    rows: list[tuple[str, str]], block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_BLOCK", block)
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerows([("q", "k"), *rows])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = Table(write(tmp_path, text.getvalue().encode()))
    assert list(zip(cells(table, "q"), cells(table, "k"), strict=True)) == rows


def test_the_first_line_may_name_the_delimiter(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbfsep=;\r\nquery;key\r\nhello, there;world\r\n\r\nsee;\r\n")
    table = Table(path)
    assert (cells(table, "query"), cells(table, "key")) == (["hello, there", "see"], ["world", ""])
    with pytest.raises(InputError, match=r"row 2 \(line 5\), column 'key': is empty"):
        table.text("key")
    assert cells(Table(path, delimiter=";"), "key") == ["world", ""]
    assert cells(Table(write(tmp_path, b"sep=,\na;b\nc;d\n")), "a;b") == ["c;d"]


def test_a_file_of_one_column_may_hold_any_marks(tmp_path: Path) -> None:
    assert cells(Table(write(tmp_path, b"a;b\nx;y\n"), delimiter=","), "a;b") == ["x;y"]
    path = write(tmp_path, b"Well, this is text\nx, y\n", "a.tsv")
    assert cells(Table(path), "Well, this is text") == ["x, y"]


def test_quoted_cells_without_quoting_are_told_by_row_each_time(tmp_path: Path) -> None:
    path = write(tmp_path, b'query\tkey\nx\ty\n\n"He said ""hi"""\t"\n"see"\t"5"\n', "d.tsv")
    said = (
        r"d\.tsv: row 2 \(line 4\), column 'query': 1 cells seem to be in quotation marks.*quoting=true.*quoting=false"
    )
    for _ in range(2):
        with pytest.warns(UserWarning, match=said):
            assert cells(Table(path), "query") == ["x", '"He said ""hi"""', '"see"']
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cells(Table(path, quoting=False), "query")[1] == '"He said ""hi"""'
        spoken = write(tmp_path, b'q\n"I was there," he said, "and left."\n"Go."\n', "s.tsv")
        assert cells(Table(spoken), "q")[1] == '"Go."'
        lines = write(tmp_path, b'query\tkey\n"one\ntwo"\tworld\n"a ""b"""\tx\n', "l.tsv")
        assert cells(Table(lines, quoting=True), "query") == ["one\ntwo", 'a "b"']
        assert cells(Table(write(tmp_path, b'q\n"x"\n'), quoting=False), "q") == ['"x"']


def test_marks_behind_a_backslash_are_told_and_read(tmp_path: Path) -> None:
    path = write(tmp_path, b'query,key\nplain,x\n"say \\"hi\\" now","world, peace"\n')
    said = r"row 2 \(line 3\): a quotation mark seems to be escaped by a backslash.*escape='\\'"
    for _ in range(2):
        with pytest.warns(UserWarning, match=said):
            Table(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = Table(path, escape="\\")
        assert (cells(table, "query"), cells(table, "key")) == (["plain", 'say "hi" now'], ["x", "world, peace"])
        code = write(tmp_path, b'code,n\n"print(""\\""a\\"""")","C:\\"\nprint(\\"b\\"),2\n', "c.csv")
        assert cells(Table(code), "code") == ['print("\\"a\\"")', 'print(\\"b\\")']
    with pytest.raises(InputError, match=r"escape 'ab' is not one plain character"):
        Table(path, escape="ab")
    with pytest.raises(InputError, match="leave it out"):
        Table(path, escape="\\", quoting=False)


def test_a_cell_that_holds_too_much_is_refused_by_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_BLOCK", 64)
    monkeypatch.setattr("nearfar.data.tables.delimited.LONGEST_ROW", 500)
    path = write(tmp_path, b'q\nx\n"' + b"y\n" * 500 + b'"\n')
    with pytest.raises(InputError, match=r"line 3: a cell that a quotation mark opens holds more than"):
        Table(path)


def test_a_file_whose_every_cell_is_in_marks_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, b'"q"\t"k"\n"x"\t"y"\n', "all.tsv")
    with pytest.warns(UserWarning, match=r"row 1 \(line 2\), column '\"q\"': 1 cells seem to be in quotation marks"):
        Table(path)
    assert cells(Table(path, quoting=True), "q") == ["x"]


def test_an_error_ends_the_process_by_its_exit_code(tmp_path: Path) -> None:
    """A thread of Arrow's streaming reader, which was reading on, aborted about every second process (exit 134)."""
    (tmp_path / "a.csv").write_text("query,key\nx,y,z\n" + "some,text\n" * 2_000_000)
    call = "import sys; from nearfar.data.table import Table\ntry: Table('a.csv')\nexcept ValueError: sys.exit(2)"
    runs = [subprocess.Popen([sys.executable, "-c", call], cwd=tmp_path, stderr=subprocess.PIPE) for _ in range(4)]
    assert [(run.communicate()[1], run.returncode) for run in runs] == [(b"", 2)] * 4
