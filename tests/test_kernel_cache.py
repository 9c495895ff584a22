"""oneDNN's and torch's caches of products are small where nearfar is imported, unless a user has chosen a size."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

OURS, OLDER = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_PRIMITIVE_CACHE_CAPACITY"
PLANS = "LRU_CACHE_CAPACITY"  # of torch


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, (None, "128", "128")),
        ({OURS: "7"}, (None, "7", "128")),
        ({OLDER: "9"}, ("9", None, "128")),
        ({PLANS: "5"}, (None, "128", "5")),
    ],
)
def test_a_size_that_the_user_chose_is_kept(given: dict[str, str], kept: tuple[str | None, ...]) -> None:
    names = (OLDER, OURS, PLANS)
    environment = {name: value for name, value in os.environ.items() if name not in names} | given
    script = f"import os, nearfar; print(tuple(os.environ.get(name) for name in {names}))"
    found = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert found.strip() == str(kept)
