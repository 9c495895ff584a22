"""Whatever bytes a file holds, it is read or refused in two lines: no traceback, signal, panic, or memory without end.

NEARFAR_FUZZ is how many damaged forms of each file are read; `make fuzz` takes 2,000.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.children import Nursery
from tests.fuzz.mutations import Mutation, drawn, mutated
from tests.fuzz.targets import TARGETS, write_all

COUNT = int(os.environ.get("NEARFAR_FUZZ", "6"))
BATCH = min(COUNT, 400)  # of one child
pytestmark = [pytest.mark.timeout(0 if COUNT > BATCH else 300)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fuzz") / "files"
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEARFAR_CACHE", str(root.parent / "cache"))
        write_all(root)
    return root


@pytest.fixture(scope="module")
def nursery(files: Path) -> Iterator[Nursery]:
    process = Nursery(files)
    yield process
    process.close()


@pytest.mark.parametrize("target", TARGETS)
@settings(
    max_examples=-(-COUNT // BATCH),
    deadline=None,
    database=None,
    phases=[Phase.generate],  # a fault is made smaller below, as each try takes a process
    suppress_health_check=list(HealthCheck),
)
@given(seed=st.integers(0, 2**40))
def test_damaged_files_are_read_or_refused(target: str, seed: int, files: Path, nursery: Nursery) -> None:
    inputs = [[], *(drawn(f"{target} {seed} {i}") for i in range(BATCH))]  # the first is the good file
    answer = nursery.read(target, inputs)
    assert answer.read + answer.refused + len(answer.faults) == len(inputs)
    for number, fault in answer.faults.items():
        smallest = smaller(inputs[number], target, nursery)
        data = mutated((files / target).read_bytes(), smallest)
        place = Path(tempfile.mkdtemp(prefix="nearfar-fuzz-")) / Path(target).name
        place.write_bytes(data)
        pytest.fail(f"{target}: {smallest}\n{place} holds the {len(data)} bytes\n{fault}", pytrace=False)


def smaller(mutations: list[Mutation], target: str, nursery: Nursery) -> list[Mutation]:
    """Return as few of the mutations as still are a fault."""
    for i in range(len(mutations)):
        rest = [*mutations[:i], *mutations[i + 1 :]]
        if nursery.read(target, [rest]).faults:
            return smaller(rest, target, nursery)
    return mutations
