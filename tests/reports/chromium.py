"""A page as a headless Chromium leaves it."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-component-update",
    "--disable-background-networking",
    "--disable-sync",
)


def chromium() -> str:
    """Return where Chromium is; the test is skipped where there is none."""
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
    )
    if not found:
        pytest.skip("no Chromium is installed")
    return found


def dumped(page: str, folder: Path, window: str = "1000,900") -> str:
    """Return what a page is once its scripts have run; the test is skipped where there is no Chromium."""
    file = folder / "page.html"
    file.write_text(page, encoding="utf-8")
    words = [
        chromium(),
        *FLAGS,
        f"--window-size={window}",
        f"--user-data-dir={folder / 'profile'}",
        "--dump-dom",
        file.as_uri(),
    ]
    return subprocess.run(words, capture_output=True, text=True, timeout=240, check=True).stdout


def title(page: str) -> str:
    """Return the title of a page."""
    found = re.search(r"<title>(.*?)</title>", page, re.DOTALL)
    return "" if found is None else html.unescape(found[1])
