"""oneDNN's cache of products is small in every process that imports nearfar, unless its user has chosen a size."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

OURS, OLDER = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_PRIMITIVE_CACHE_CAPACITY"


@pytest.mark.parametrize(
    ("given", "kept"), [({}, (None, "128")), ({OURS: "7"}, (None, "7")), ({OLDER: "9"}, ("9", None))]
)
def test_a_size_that_the_user_chose_is_kept(given: dict[str, str], kept: tuple[str | None, str | None]) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in (OURS, OLDER)} | given
    script = f"import os, nearfar; print((os.environ.get({OLDER!r}), os.environ.get({OURS!r})))"
    found = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert found.strip() == str(kept)
