"""What is LanceDB's own: places and columns of any name, versions, and two writers without a lock."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearfar.errors import InputError
from nearfar.index.backends.lance import Lance
from nearfar.index.backends.lance_filter import column
from nearfar.index.index import Index
from nearfar.index.rows import Rows

ROOT = Path(__file__).parents[2]
WRITER = """
import sys
from pathlib import Path
import numpy as np
from nearfar.index.backends.lance import Lance
from nearfar.index.rows import Rows
table = Lance.open(Path(sys.argv[1]), 2, {}, {})
print(flush=True)
sys.stdin.readline()
vectors = np.full((100, 2), 0.5**0.5, np.float32)
table.upsert(Rows([f"{n}" for n in range(100)], vectors, [sys.argv[2]] * 100, {}))
"""


@pytest.fixture
def installed() -> None:
    pytest.importorskip("lancedb", reason="the extra lance is not installed")


@given(st.text(min_size=1), st.text(min_size=1))
def test_no_two_fields_share_a_column(one: str, other: str) -> None:
    first, second = (text.encode("utf-8", "replace").decode() for text in (one, other))
    assert (column(first) == column(second)) == (first == second)
    assert all(letter in "abcdefghijklmnopqrstuvwxyz0123456789_" for letter in column(first))


@pytest.mark.usefixtures("installed")
def test_a_place_may_be_called_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for place in (Path("s3:") / "bucket", tmp_path / "a b%41#ü?x=1 'q'"):
        made = Lance.create(place, 2, {}, {})
        made.upsert(Rows(["a"], np.eye(2, dtype=np.float32)[:1], ["t"], {}))
        assert Lance.open(place, 2, {}, {}).count() == 1
        assert (place / "rows.lance").is_dir()
        made.close()


@pytest.mark.usefixtures("installed")
def test_writers_that_share_no_lock_leave_one_row_of_an_id(tmp_path: Path) -> None:
    Lance.create(tmp_path / "rows", 2, {}, {}).close()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "rows"), name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )
        for name in "ab"
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()  # it has opened the table
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=240)
        assert writer.returncode == 0
    table = Lance.open(tmp_path / "rows", 2, {}, {})
    assert table.count() == len(set(table.ids())) == 100
    table.close()


@pytest.mark.usefixtures("installed")
def test_damage_is_one_line(tmp_path: Path) -> None:
    table = Lance.create(tmp_path / "rows", 2, {}, {})
    table.upsert(Rows(["a"], np.eye(2, dtype=np.float32)[:1], ["t"], {}))
    table.close()
    for path in (tmp_path / "rows").rglob("*.lance"):
        if path.is_file():
            path.write_bytes(b"x" * 10)
    with pytest.raises(InputError, match=r"cannot be read by LanceDB") as error:
        Lance.open(tmp_path / "rows", 2, {}, {}).ids()
    assert "\n" not in str(error.value)
    assert ".rs:" not in str(error.value)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("wrong", [{"precision": "int8"}, {"storage_options": "x"}])
def test_settings_that_cannot_be_are_refused(wrong: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lance"):
        Lance.create(tmp_path / "rows", 2, {}, wrong)


def test_without_its_package_the_fix_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with pytest.raises(InputError, match=r"pip install 'nearfar\[lance\]'"):
        Index.create(tmp_path / "i", None, dim=3, backend="lance")
