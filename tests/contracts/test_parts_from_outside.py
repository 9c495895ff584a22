"""Files that are dropped into their packages are under every contract test, without a line changed elsewhere.

The files are the skeletons of docs/write_your_own.md. pytest collects the contract tests anew, with these files on the
packages' paths, in a process of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

import pytest

from nearfar import registry
from tests import skeletons

ROOT = Path(__file__).resolve().parents[2]
PARTS = skeletons.parts()
# By package, contract tests that must have met the part: the one that tells most, and those of every part.
EVERY = ("test_has_one_name_everywhere", "test_its_defaults_pass_its_own_types", "test_every_setting_has_a_type")
DECISIVE = {
    "losses": ("test_equals_its_reference", "test_a_copy_changes_nothing", "test_names_the_row_without_a_positive"),
    "encoders": ("test_as_a_model_it_is_the_same_space", "test_a_vector_does_not_depend_on_its_batch"),
    "data": ("test_data_has_columns_or_is_a_task", "test_the_same_rows_have_the_same_fingerprint"),
    "augmentations": ("test_it_takes_some_kind_of_cells", "test_a_view_is_of_its_own_row"),
    "metrics": ("test_returns_the_values_it_explains", "test_a_second_call_returns_the_same"),
    "heads": ("test_a_head_returns_the_dimension_that_it_says", "test_a_trained_head_maps_each_row_alone"),
    "objectives": ("test_any_cut_of_a_batch_adds_up_to_the_same_update",),
    "evaluation.floors": ("test_a_floor_judges_what_it_serves",),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Return the outcome of each contract test by part and test; what failed is told in full."""
    folder = tmp_path_factory.mktemp("parts")
    skeletons.write(folder)
    wanted = " or ".join([*(name for _, name in PARTS), "share_a_value_name"])
    report = folder / "report.xml"
    plain = ["-q", "-n", "0", "-p", "no:cacheprovider", "-p", "tests.contracts.dropped_in", "-W", "error"]
    call = [sys.executable, "-m", "pytest", "tests/contracts", *plain, "-k", wanted, f"--junitxml={report}"]
    ignored = f"--ignore={Path(__file__).relative_to(ROOT)}"
    environment = {**os.environ, "NEARFAR_TEST_PARTS": str(folder)}
    environment.pop("PYTEST_XDIST_WORKER", None)
    done = subprocess.run([*call, ignored], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for case in ElementTree.parse(report).iter("testcase"):
        test, _, about = str(case.get("name")).partition("[")
        for _, name in PARTS:
            if re.search(rf"\b{name}\b", about):
                found[name][test] = case[0].tag if len(case) else "passed"
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("package", "name"), PARTS)
def test_a_dropped_in_part_passes_the_contract_of_its_package(
    outcomes: dict[str, dict[str, str]], package: str, name: str
) -> None:
    decisive = {*(EVERY if package in registry.PART_PACKAGES else ()), *DECISIVE[package]}
    assert {test: outcomes[name].get(test) for test in decisive} == dict.fromkeys(decisive, "passed")
    assert set(outcomes[name].values()) <= {"passed", "skipped"}  # such as a foreign form that it has not
