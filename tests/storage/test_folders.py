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
from nearfar.storage.folders import cache_folder, folder_aside, made, standing, write_text

unprivileged = pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def put(place: Path, text: str) -> None:
    with folder_aside(place) as aside:
        (aside / "deep").mkdir()
        (aside / "deep" / "file").write_text(text)


def held(place: Path) -> str:
    return (standing(place) / "deep" / "file").read_text()


def test_a_folder_is_written_and_replaced(tmp_path: Path) -> None:
    for text in ("one", "two"):
        put(tmp_path / "a", text)
        assert held(tmp_path / "a") == text
        assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o755


def test_an_error_leaves_the_old_one(tmp_path: Path) -> None:
    put(tmp_path / "a", "one")
    with pytest.raises(KeyError), folder_aside(tmp_path / "a"):
        raise KeyError
    with pytest.raises(RunError, match=r"a: cannot be written .*No space left"), folder_aside(tmp_path / "a"):
        raise OSError(28, "No space left on device")
    assert held(tmp_path / "a") == "one"
    assert names(tmp_path) == ["a"]


def killed_at_the_rename(place: Path, count: int) -> None:
    """Replace a folder, and be killed before the rename of that number."""
    replace, calls = Path.replace, []

    def or_die(self: Path, target: Path) -> Any:
        calls.append(1)
        if len(calls) == count:
            os.kill(os.getpid(), 9)
        return replace(self, target)

    Path.replace = or_die  # type: ignore[method-assign,assignment]
    put(place, "two")
    os._exit(0)


@pytest.mark.parametrize(("count", "left"), [(1, "one"), (2, "one"), (3, "two")])
def test_killed_at_any_moment_the_old_or_the_new_one_stands(tmp_path: Path, count: int, left: str) -> None:
    place = tmp_path / "a"
    put(place, "one")
    code = f"from tests.storage.test_folders import Path, killed_at_the_rename as k; k(Path({str(place)!r}), {count})"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], timeout=60)
    assert done.returncode == (-9 if count < 3 else 0)
    assert held(place) == left
    put(place, "three")
    assert held(place) == "three" == (place / "deep" / "file").read_text()


def test_what_a_crash_left_is_swept_when_it_is_old(tmp_path: Path) -> None:
    for name, age in ((".a-old", 2 * folders.ABANDONED), (".a-young", 0), (".b-old", 2 * folders.ABANDONED)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age, time.time() - age))
    put(tmp_path / "a", "one")
    assert names(tmp_path) == [".a-young", ".b-old", "a"]


def test_the_old_one_comes_back_when_the_new_one_cannot_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a", "one")
    replace = Path.replace

    def fail(self: Path, target: Path) -> Any:
        if self.name.startswith(".a-"):
            raise OSError(5, "Input/output error")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(RunError, match="Input/output error"):
        put(tmp_path / "a", "two")
    assert (tmp_path / "a" / "deep" / "file").read_text() == "one"


def test_a_text_is_written_whole_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_file_in_the_way_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="a file stands where a folder is needed"):
            made(folder)


def test_a_closed_place_is_the_users_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(folders.tempfile, "TemporaryFile", refuse)
    with pytest.raises(InputError, match="not writable"):
        made(tmp_path)
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="this is the cache, which NEARFAR_CACHE=FOLDER moves"):
        cache_folder("tokens")


@unprivileged
def test_a_really_closed_place(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="not writable"):
        made(tmp_path)


def test_the_cache_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "elsewhere"))
    assert cache_folder("tokens") == tmp_path / "elsewhere" / "tokens"
    assert (tmp_path / "elsewhere" / "tokens").is_dir()
