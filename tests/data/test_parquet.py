"""Parquet files that are damaged: one error of one line, with the row where there is one."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nearfar.data.table import Table
from nearfar.data.tables.parquet import _sizes
from nearfar.errors import InputError

BYTES = pa.array([b"near", b"far \xd2\xd2", b"key"])
BAD = pa.Array.from_buffers(pa.string(), 3, BYTES.buffers())


@pytest.mark.parametrize("coded", [True, False])
@pytest.mark.parametrize("form", ["plain", "list", "object"])
def test_a_text_that_is_not_utf_8_is_refused_by_its_row(form: str, coded: bool, tmp_path: Path) -> None:
    forms = {
        "plain": BAD,
        "list": pa.ListArray.from_arrays([0, 1, 2, 3], BAD),
        "object": pa.StructArray.from_arrays([BAD], ["text"]),
    }
    pq.write_table(pa.table({"text": forms[form]}), tmp_path / "a.parquet", use_dictionary=coded)
    with pytest.raises(InputError, match=r"a.parquet: row 2 has a bad cell .*UTF8.*; write text as UTF-8"):
        Table(tmp_path / "a.parquet")


def test_a_damaged_page_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"text": [f"near {i}" for i in range(500)]}), path, compression="none", use_dictionary=False
    )
    data = path.read_bytes()
    path.write_bytes(data[:4] + b"\xff" * 40 + data[44:])
    with pytest.raises(InputError, match="damaged") as caught:
        Table(path)
    assert len(str(caught.value).splitlines()) == 1


def test_an_index_beyond_the_dictionary_is_damage() -> None:
    values = pa.DictionaryArray.from_arrays(pa.array([0, 5]), pa.array(["a", "b"]), safe=False)
    with pytest.raises(pa.ArrowInvalid, match="beyond the dictionary"):
        _sizes(values)
