"""Several processes write and are killed: no acknowledged row is lost, none is double, and words agree."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar.index.index import Index
from tests.index.backends import SETTINGS
from tests.index.writer import DIM, own_word, text_of, vectors_of

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("NEARFAR_KILLS", "2"))  # of writers, on each backend
COLD = """
import sys
import numpy as np
from nearfar.index.index import Index
with Index.open(sys.argv[1]) as index:
    words = index.search("ofb", mode="words", where="part >= 0")
    near = index.search(np.ones(8, np.float32), k=3, where="part = 0")
    like = index.search(like=near[0].id)
assert words and len(near) == 3 and like
print(*(name for name in ("torch", "transformers", "datasets", "pandas", "pyarrow") if name in sys.modules))
"""


def start(*words: str) -> subprocess.Popen[str]:
    places = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places)), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True, env=environment)


@pytest.fixture(params=SETTINGS)
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with Index.create(tmp_path / "i", None, dim=DIM, **SETTINGS[request.param](tmp_path)) as made:
        yield made


def assert_rows_are_those_of(index: Index, ids: set[str]) -> None:
    assert index.ids() == sorted(ids)
    assert index.count() == len(ids)
    assert index.verify()["problems"] == []
    some = sorted(ids)[:: max(1, len(ids) // 20)]
    assert np.allclose(index.vectors(some), vectors_of(some), atol=1e-3)
    for name in some:
        row = index.get(name)
        assert row is not None
        assert row.text == text_of(name)
        assert index.search(own_word(name), mode="words", k=1)[0].id == name
        assert index.search(vectors_of([name])[0], k=1)[0].id == name
    found = [hit.id for hit in index.search("ofd", k=10_000, mode="words")]
    assert sorted(found) == sorted(name for name in ids if "ofd" in text_of(name).split())


def test_four_writers_of_the_same_ids_leave_one_row_of_each(index: Index) -> None:
    writers = [start("-m", "tests.index.writer", str(index.folder), "same", "3", "100") for _ in range(4)]
    for writer in writers:
        writer.communicate(timeout=120)
        assert writer.returncode == 0
    # The last writer's last call deletes its second part, and every writer adds it before.
    kept = {f"same-{part}-{i}" for part in (0, 1, 2) for i in range(100)}
    rows = set(index.ids())
    assert {name for name in kept if "-1-" not in name} <= rows <= kept
    assert_rows_are_those_of(index, rows)


def test_a_reader_sees_what_another_process_has_said_is_written(index: Index) -> None:
    assert index.count() == 0
    writer = start("-m", "tests.index.writer", str(index.folder), "w", "2", "5")
    assert writer.stdout is not None
    for part in range(2):
        assert writer.stdout.readline() == f"added {part}\n"
        assert index.get(f"w-{part}-4") is not None
        assert index.search(own_word(f"w-{part}-4"), k=1, mode="words")[0].id == f"w-{part}-4"
    writer.communicate(timeout=60)


def test_killed_writers_lose_nothing_that_was_acknowledged(index: Index) -> None:
    rng, certain, gone, open_ = np.random.default_rng(0), set[str](), set[str](), set[str]()
    for turn in range(KILLS):
        writer = start("-m", "tests.index.writer", str(index.folder), f"t{turn}", "1000", "40")
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(int(rng.integers(2, 9)))]
        time.sleep(rng.uniform(0, 0.05))  # it is somewhere in its next call
        os.kill(writer.pid, signal.SIGKILL)
        lines += writer.stdout.readlines()  # what it had said before it died
        writer.wait(timeout=60)
        writer.stdout.close()
        added = [int(line.split()[1]) for line in lines if line.startswith("added")]
        deleted = [int(line.split()[1]) for line in lines if line.startswith("deleted")]
        ids = {part: {f"t{turn}-{part}-{i}" for i in range(40)} for part in range(max(added) + 2)}
        certain |= {name for part in added for name in ids[part]}
        gone |= {name for part in deleted for name in ids[part]}
        last = max(added)
        open_ |= ids[last + 1]  # may be there as a whole
        if last % 3 == 2 and last - 1 not in deleted:
            open_ |= ids[last - 1]  # may be deleted
        index.add([{"id": "own", "text": text_of("own"), "part": -1}], vectors=vectors_of(["own"]))
        rows = set(index.ids()) - {"own"}
        assert certain - gone - open_ <= rows <= (certain | open_) - gone
        for part in (last + 1, last - 1):
            there = len(ids.get(part, set()) & rows)
            assert there in (0, 40)
        assert_rows_are_those_of(index, {*rows, "own"})


def test_cold_search_does_without_torch(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", None, dim=DIM) as index:
        ids = [f"{n}" for n in range(50)]
        index.add([{"id": name, "text": text_of(name), "part": 0} for name in ids], vectors=vectors_of(ids))
    process = start("-c", COLD, str(tmp_path / "i"))
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output.split() == []
