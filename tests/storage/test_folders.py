"""Atomic writes: at every crash the old or the new file or folder is complete; errors name the path."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nearfar.errors import InputError, RunError
from nearfar.storage import folders
from nearfar.storage.folders import complete_folder, write_folder_atomically, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(folder: Path, text: str) -> None:
    with write_folder_atomically(folder) as temporary:
        (temporary / "deep").mkdir()
        (temporary / "deep" / "file").write_text(text)


def read(folder: Path) -> str:
    return (complete_folder(folder) / "deep" / "file").read_text()


def test_a_folder_is_written_and_replaced(tmp_path: Path) -> None:
    for text in ("one", "two"):
        write(tmp_path / "a", text)
        assert read(tmp_path / "a") == text
        assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o755


def test_an_error_leaves_the_old_folder(tmp_path: Path) -> None:
    write(tmp_path / "a", "one")
    with pytest.raises(KeyError), write_folder_atomically(tmp_path / "a"):
        raise KeyError
    full = r"a: cannot be written .*No space left"
    with pytest.raises(RunError, match=full), write_folder_atomically(tmp_path / "a"):
        raise OSError(28, "No space left on device")
    assert read(tmp_path / "a") == "one"
    assert names(tmp_path) == ["a"]


def kill_at_rename(folder: Path, count: int) -> None:
    """Replace a folder and kill this process just before its rename number `count`."""
    replace, calls = Path.replace, []

    def replace_or_die(self: Path, target: Path) -> Any:
        calls.append(1)
        if len(calls) == count:
            os.kill(os.getpid(), 9)
        return replace(self, target)

    Path.replace = replace_or_die  # type: ignore[method-assign,assignment]
    write(folder, "two")
    os._exit(0)


@pytest.mark.parametrize(("count", "left"), [(1, "one"), (2, "one"), (3, "two")])
def test_killed_at_any_moment_the_old_or_the_new_folder_is_complete(tmp_path: Path, count: int, left: str) -> None:
    place = tmp_path / "a"
    write(place, "one")
    code = f"from tests.storage.test_folders import Path, kill_at_rename as k; k(Path({str(place)!r}), {count})"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], timeout=60)
    assert done.returncode == (-9 if count < 3 else 0)
    assert read(place) == left
    write(place, "three")
    assert read(place) == "three" == (place / "deep" / "file").read_text()


def test_what_a_crash_left_is_removed_when_it_is_old(tmp_path: Path) -> None:
    old = 2 * folders.ABANDONED_AFTER  # seconds
    for name, age in ((".a.new-aaaaaold", old), (".a.new-aaayoung", 0), (".b.new-aaaaaold", old)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age, time.time() - age))
    (tmp_path / ".a.new-aaaawork").mkdir()
    (tmp_path / ".a.new-aaaawork" / "vectors").touch()  # of which one was written just now
    for name, age in ((".a.new-aaaawork", old), (".a.new-aaayoung", -old)):  # and the clock has jumped back since
        os.utime(tmp_path / name, (time.time() - age, time.time() - age))
    own = tmp_path / ".a-backup"  # somebody's own folder
    own.mkdir()
    os.utime(own, (time.time() - old, time.time() - old))
    write(tmp_path / "a", "one")
    assert names(tmp_path) == [".a-backup", ".a.new-aaaawork", ".a.new-aaayoung", ".b.new-aaaaaold", "a"]


def test_the_old_folder_comes_back_when_the_rename_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a", "one")
    replace = Path.replace

    def fail(self: Path, target: Path) -> Any:
        if self.name.startswith(".a.new-"):
            raise OSError(5, "Input/output error")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(RunError, match="Input/output error"):
        write(tmp_path / "a", "two")
    assert (tmp_path / "a" / "deep" / "file").read_text() == "one"


def test_a_text_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_text(path, json.dumps("ü"))
    assert json.loads(path.read_text(encoding="utf-8")) == "ü"
    assert path.stat().st_mode & 0o777 == 0o644
    monkeypatch.setattr(
        folders, "_sync_file", lambda path: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(RunError, match=r"a\.json: cannot be written \(No space left on device\); free space"):
        write_text(path, "new")
    assert names(tmp_path) == ["a.json"]
    assert json.loads(path.read_text(encoding="utf-8")) == "ü"


def test_writers_make_the_folder_that_they_write_into(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "text", "one")
    assert (tmp_path / "a" / "b" / "text").read_text() == "one"
    write(tmp_path / "c" / "d", "two")
    assert (tmp_path / "c" / "d" / "deep" / "file").read_text() == "two"
    with pytest.raises(InputError, match="text: a file stands where a folder is needed"):
        write_text(tmp_path / "a" / "b" / "text" / "more", "three")
