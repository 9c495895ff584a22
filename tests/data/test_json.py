"""JSON by the line and as arrays: arrays of texts are pairs, columns in one object and deep nesting are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearfar.column import chunks
from nearfar.data.table import Table
from nearfar.data.tables.json_nesting import DEEPEST, deep_line, depth
from nearfar.errors import InputError
from nearfar.positives.columns import Columns


def write(folder: Path, text: str | bytes, name: str = "a.jsonl") -> Path:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / name


def test_an_array_of_texts_a_line_is_a_query_its_key_and_negatives(tmp_path: Path) -> None:
    path = write(tmp_path, '["how to sort", "use sorted"]\n\n["how to open", "use \\u00e9", "open it", "no"]\n')
    table = Table(path)
    assert table.columns == ["query", "key", "negative"]
    assert [cell for block in chunks(table.text("key")) for cell in block] == ["use sorted", "use \u00e9"]
    negatives, offsets = table.lists("negative")
    assert (negatives.read(0, 2), offsets.tolist()) == (["open it", "no"], [0, 0, 2])
    assert table.where(1) == f"{path}: row 2 (line 3)"
    pairs = Table(write(tmp_path, '["how to sort", "use sorted"]\r\n["how to open", "use open"]', "b.jsonl"))
    assert pairs.columns == ["query", "key"]
    assert len(Columns(pairs)) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '["a", "b"]\n\n["c"]\n',
            r"row 2 \(line 3\) is an array of 1, where line 1 is an array of texts; write \[query, key",
        ),
        ('["a", "b"]\n{"query": "c"}\n', r"row 2 \(line 2\) is no array, where line 1 is an array of texts"),
        ('["a", 1]\n["b", 2]\n', r"row 1 \(line 1\) is an array of 2, where"),
        ('["a", "b"]\n["c", \n', r"row 2 \(line 2\) is not one JSON array"),
        (b'["a", "b"]\n["c", "\xe9"]\n', r"row 2 \(line 2\) is not UTF-8 text \(byte 0xe9\)"),
        (
            '{"query": ["a", "b", "c"], "key": ["d", "e", "f"]}',
            "is one JSON object of columns \\('query', 'key', 3 cells each\\)",
        ),
        (
            '{"query": {"0": "a", "1": "b"}, "key": {"0": "c", "1": "d"}}',
            r"is one JSON object of columns \('query', 'key', 2 cells",
        ),
        (
            '{\n "query": ["a", "b"],\n "key": ["c", "d"]\n}',
            r"of columns \('query', 'key', 2 cells each\), not one object a row",
        ),
        (
            '{\n "data": [\n {"query": "a"}]}',
            r"is one JSON object that holds rows as 'data'; write one object a line, as jq -c '\.data\[\]' does",
        ),
    ],
)
def test_what_is_no_object_a_line_is_said(text: str | bytes, said: str, tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.json"):
        with pytest.raises(InputError, match=said):
            Table(write(tmp_path, text, name))


def test_one_row_may_hold_lists(tmp_path: Path) -> None:
    for row in ({"set": ["a", "b"]}, {"query": "a", "pos": ["b"], "neg": ["c"]}, {"pos": ["b"], "neg": ["c", "d"]}):
        assert len(Table(write(tmp_path, json.dumps(row)))) == 1


def nested(levels: int, opening: str = "[", closing: str = "]") -> str:
    return '{"a": ' + opening * (levels - 1) + closing * (levels - 1) + "}"


@pytest.mark.parametrize("levels", [33, 500, 5000, 100_000])
@pytest.mark.parametrize("marks", ["[]", '{"a":0}'])
def test_deep_nesting_is_refused_by_line_before_it_is_parsed(levels: int, marks: str, tmp_path: Path) -> None:
    opening, closing = (marks[0], marks[1]) if marks == "[]" else ('{"a":', "}")
    row = nested(levels, opening, closing).replace('{"a":}', "{}")
    said = "is nested more than 32 levels deep; flatten it"
    with pytest.raises(InputError, match="a.jsonl: line 3 " + said):
        Table(write(tmp_path, '{"a": []}\n\n' + row))
    with pytest.raises(InputError, match="a.json: line 1 " + said):
        Table(write(tmp_path, f"[{row}]", "a.json"))
    with pytest.raises(InputError, match="a.jsonl: line 2 " + said):
        Table(write(tmp_path, '["a", "b"]\n' + "[" * levels + "]" * levels))


def test_the_process_survives_deep_nesting_in_every_place(tmp_path: Path) -> None:
    write(tmp_path, nested(20_000))
    call = "from nearfar.data.table import Table; Table('a.jsonl')"
    done = subprocess.run([sys.executable, "-c", call], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "InputError: a.jsonl: line 1 is nested more than 32 levels deep" in done.stderr.splitlines()[-1]


def test_rows_of_python_are_not_nested_deeply_either() -> None:
    row: Any = "x"
    for _ in range(20_000):
        row = [row]
    with pytest.raises(InputError, match="row 2 is nested more than 32 levels deep"):
        Table([{"a": "x"}, {"a": row}])


def test_thirty_two_levels_and_any_number_of_lists_are_read(tmp_path: Path) -> None:
    assert len(Table(write(tmp_path, nested(32) + "\n" + nested(2)))) == 2
    rows = {"a": [[i] for i in range(500)], "b": "[" * 500 + '\\"' + "{" * 500}
    assert Table(write(tmp_path, json.dumps(rows), "b.jsonl")).column("b").read(0, 1) == [rows["b"]]


JSON = st.recursive(
    st.none() | st.text(st.sampled_from('[]{}"\\a\n')),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(value=JSON, levels=st.integers(0, DEEPEST + 2))
def test_depth_is_that_of_the_value(value: Any, levels: int) -> None:
    def naive(cell: Any) -> int:
        if isinstance(cell, dict | list):
            return 1 + max(map(naive, cell.values() if isinstance(cell, dict) else cell), default=0)
        return 0

    for _ in range(levels):
        value = [value]
    text = "\n".join(['{"a": 1}', json.dumps(value)]).encode()
    assert deep_line(text) == (1 if naive(value) > DEEPEST else None)
    assert deep_line(json.dumps(value, indent=1).replace("\n", "\n\n").encode()) is None or naive(value) > DEEPEST
    assert depth(value) == min(naive(value), DEEPEST + 1)


def test_an_object_over_many_lines_is_counted_as_a_whole(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a.jsonl: line 33 is nested more than 32 levels deep"):
        Table(write(tmp_path, '{"a":\n' + "[\n" * 20_000 + "]\n" * 20_000 + "}"))
