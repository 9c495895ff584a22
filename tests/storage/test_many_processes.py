"""Four processes that fill the same cache, or replace the same folder, at the same moment: all end with the right one.

Each process starts its work of a round when all have come to it.
"""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar.column import ListColumn
from nearfar.data.python_packages import PythonPackages
from nearfar.data.table import Table
from nearfar.encoders.frozen_projection import FrozenProjection
from nearfar.encoders.static import Static
from nearfar.mining.search import DistinctTexts, embed_cached
from nearfar.model import Model
from nearfar.storage.column_cache import SIZES_FILE, cached_folder
from nearfar.storage.folders import complete_folder, write_folder_atomically
from tests.contracts.samples import packages, write_lines

PROCESSES = 4
TEXTS = [f"text {i} of word{i % 7} and word{i % 5}" for i in range(400)]


def at_once(target: Callable[[Path, Barrier], None], folder: Path) -> None:
    """Call a function in four processes; raise the errors of all."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["nearfar.data.table", "nearfar.encoders.frozen_projection", "nearfar.mining.search"]
    )
    barrier = context.Barrier(PROCESSES, timeout=60)
    processes = [context.Process(target=_called, args=(target, folder, barrier, i)) for i in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        process.kill()
    errors = [path.read_text() for path in folder.glob("error-*")]
    assert not errors, "\n".join(errors)
    assert [process.exitcode for process in processes] == [0] * PROCESSES


def _called(target: Callable[[Path, Barrier], None], folder: Path, barrier: Barrier, number: int) -> None:
    os.environ |= {"NEARFAR_CACHE": str(folder / "cache"), "HF_DATASETS_CACHE": str(folder / "tables")}
    try:
        target(folder, barrier)
    except BaseException:
        (folder / f"error-{number}").write_text(traceback.format_exc())
        barrier.abort()
        raise


def rounds(barrier: Barrier, count: int) -> Iterator[int]:
    """Yield the numbers of rounds that all processes begin together."""
    for i in range(count):
        barrier.wait()
        yield i


def left_over(folder: Path) -> list[Path]:
    """Return temporary files and folders, and backups."""
    return [path for path in folder.rglob("*") if path.name.startswith(".") or path.suffix == ".part"]


def write(folder: Path, text: str) -> None:
    for name in "abc":
        (folder / name).write_text(text)


def replace_folders(folder: Path, barrier: Barrier) -> None:
    """Replace one folder again and again: no file of it is ever half a one."""
    for i in rounds(barrier, 20):
        text = f"{os.getpid()} {i} " * 2000 + "end"
        with write_folder_atomically(folder / "model") as new:
            write(new, text)
        with suppress(FileNotFoundError):  # another is replacing it
            assert (complete_folder(folder / "model") / "c").read_text().endswith("end")


def fill_folders(folder: Path, barrier: Barrier) -> None:
    """Fill entries of a cache, then again after one process has damaged them."""
    for i in rounds(barrier, 20):
        fill(f"entry {i}")
        if barrier.wait() == 0:
            (fill(f"entry {i}") / "b").write_text("half")
        barrier.wait()
        fill(f"entry {i}")


def fill(text: str) -> Path:
    """Return the entry of a text, after a look that it is right."""
    found = cached_folder(("test",), ListColumn("text", [text]), lambda new: write(new, text))
    assert {path.read_text() for path in found.iterdir() if path.name != SIZES_FILE} == {text}
    return found


def fill_caches(folder: Path, barrier: Barrier) -> None:
    """Read a table, train a tokenizer, tokenise, embed for mining and for a frozen encoder, harvest."""
    for i in rounds(barrier, 2):
        table = Table(folder / f"{i}.jsonl")
        column = table.column("text")
        assert column.read(0, len(column)) == [f"{i} {text}" for text in TEXTS]
        encoder = Static(dim=16, vocabulary=300)
        encoder.prepare([column])
        store = encoder.store(column)
        assert len(store) == len(TEXTS)
        inputs = encoder.inputs(column.read(0, len(column)))
        read, made = store[np.arange(len(TEXTS))], inputs
        assert np.array_equal(encoder(read).detach().numpy(), encoder(made).detach().numpy())
        model = Model(encoder)
        vectors = embed_cached(model, DistinctTexts.of(column)[0], "key")
        assert np.array_equal(np.asarray(vectors), model.embed(column.read(0, len(column)), role="key"))
        frozen = FrozenProjection(encoder)
        kept = frozen.store(column)[np.arange(len(TEXTS))]
        own = frozen.inputs(column.read(0, len(column)))
        assert np.abs(frozen(kept).detach().numpy() - frozen(own).detach().numpy()).max() < 1e-2  # in bf16, where fast
        data = PythonPackages(
            paths=sorted((folder / f"packages{i}").iterdir()),
            heldout=0,
            unseen=0,
            workers=1,
            progress=False,
        )
        assert len(data) > 0
        mine = folder / f"harvest-{i}-{os.getpid()}"
        mine.write_text(str(data.fingerprint))


@pytest.mark.slow
def test_folders_replaced_at_once_are_whole(tmp_path: Path) -> None:
    at_once(replace_folders, tmp_path)
    assert len({path.read_text() for path in (tmp_path / "model").iterdir()}) == 1
    assert left_over(tmp_path) == []


def test_a_cache_filled_at_once_is_right_for_all(tmp_path: Path) -> None:
    at_once(fill_folders, tmp_path)
    assert left_over(tmp_path) == []


@pytest.mark.slow
def test_every_cache_filled_at_once_is_right_for_all(tmp_path: Path) -> None:
    for i in range(2):
        write_lines(tmp_path / f"{i}.jsonl", [{"text": f"{i} {text}"} for text in TEXTS])
        packages(tmp_path / f"packages{i}")
    at_once(fill_caches, tmp_path)
    for i in range(2):
        assert len({path.read_text() for path in tmp_path.glob(f"harvest-{i}-*")}) == 1
    assert left_over(tmp_path) == []


def test_what_a_process_reads_is_not_changed_by_another(tmp_path: Path) -> None:
    """A memory-mapped file of an entry that is written again keeps its content."""
    folder: Any = tmp_path / "entry"
    with write_folder_atomically(folder) as new:
        np.arange(8).tofile(new / "a")
    mapped = np.memmap(folder / "a", np.int64, "r")
    with write_folder_atomically(folder) as new:
        np.zeros(8, np.int64).tofile(new / "a")
    assert mapped.tolist() == list(range(8))
