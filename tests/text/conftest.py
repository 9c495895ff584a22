from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.conftest import one_thread

__all__ = ["one_thread"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
