"""Places: what can be written where; the errors name the path, and how the cache is moved."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from nearfar.errors import InputError
from nearfar.storage.places import cache_folder, ensure_folder

unprivileged = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


def test_a_file_of_the_folders_name_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="a file stands where a folder is needed"):
            ensure_folder(folder)


def test_a_denied_permission_is_an_input_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(InputError, match="not writable"):
        ensure_folder(tmp_path)
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="this is the cache, which NEARFAR_CACHE=FOLDER moves"):
        cache_folder("tokens")


@unprivileged
def test_a_really_denied_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="not writable"):
        ensure_folder(tmp_path)


def test_the_cache_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "elsewhere"))
    assert cache_folder("tokens") == tmp_path / "elsewhere" / "tokens"
    assert (tmp_path / "elsewhere" / "tokens").is_dir()
