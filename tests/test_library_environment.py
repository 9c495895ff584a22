"""What libraries read from the environment is set where nearfar is imported, unless a user has chosen a value."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

ONEDNN, OLDER = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_PRIMITIVE_CACHE_CAPACITY"  # caches of products are small
PLANS = "LRU_CACHE_CAPACITY"  # of torch
TURNS, POLICY = "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"  # threads that wait for each other sleep soon
DEFAULTS = {ONEDNN: "128", PLANS: "128", TURNS: "10000"}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, DEFAULTS),
        ({ONEDNN: "7"}, DEFAULTS | {ONEDNN: "7"}),
        ({OLDER: "9"}, {OLDER: "9", PLANS: "128", TURNS: "10000"}),
        ({PLANS: "5"}, DEFAULTS | {PLANS: "5"}),
        ({TURNS: "30"}, DEFAULTS | {TURNS: "30"}),
        ({POLICY: "ACTIVE"}, {ONEDNN: "128", PLANS: "128", POLICY: "ACTIVE"}),
    ],
)
def test_a_value_that_the_user_chose_is_kept(given: dict[str, str], kept: dict[str, str]) -> None:
    names = (OLDER, ONEDNN, PLANS, TURNS, POLICY)
    environment = {name: value for name, value in os.environ.items() if name not in names} | given
    script = f"import json, os, nearfar; print(json.dumps({{n: os.environ[n] for n in {names} if n in os.environ}}))"
    found = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(found) == kept


def test_importing_nearfar_loads_no_torch() -> None:
    """The libraries read their values when torch loads them, so that must come later."""
    script = "import sys, nearfar, nearfar.cli; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "False"
