"""One process at a time writes a folder or a file; the lock of a process that has ended holds nobody up."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nearfar.errors import InputError
from nearfar.storage import locks
from nearfar.storage.locks import alone, beside, inside

HOLD = """
import sys
from pathlib import Path
from nearfar.storage.locks import alone
with alone(Path(sys.argv[1]), Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(place: Path, lock: Path) -> Iterator[subprocess.Popen[str]]:
    """Hold a lock in another process."""
    command = [sys.executable, "-c", HOLD, str(place), str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def pretend(lock: Path, **facts: Any) -> None:
    """Leave a lock file as a killed process does, which was of another process, host or boot."""
    with alone(lock.parent, lock):
        content = json.loads(lock.read_text())
    lock.write_text(json.dumps(content | facts))


def test_a_second_process_is_refused_and_told_who_where_and_since_when(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with holder(run, inside(run)) as process:
        began = json.loads(inside(run).read_text())["began"]
        said = f"run: process {process.pid} on {os.uname().nodename} has been writing here since {began}; wait until"
        with pytest.raises(InputError) as refused, alone(run, inside(run)):
            pass
        assert said in str(refused.value)
        with alone(tmp_path / "other", inside(tmp_path / "other")), alone(run / "a", beside(run / "a")):
            pass  # other places are free
        assert process.stdin is not None
        process.stdin.close()
        process.wait(20)
    assert names(run) == []  # it leaves nothing behind
    with alone(run, inside(run)):
        assert names(run) == [".lock"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_process_that_died_is_taken_over(tmp_path: Path, number: signal.Signals) -> None:
    file = tmp_path / "vectors.npy"
    with holder(file, beside(file)) as process:
        process.send_signal(number)
        process.wait(20)
    assert names(tmp_path) == [".vectors.npy.lock"]
    with alone(file, beside(file)):
        assert json.loads(beside(file).read_text())["process"] == os.getpid()
    assert names(tmp_path) == []


def test_a_recycled_process_id_or_a_restarted_machine_holds_nobody_up(tmp_path: Path) -> None:
    pretend(tmp_path / "lock", process=1)  # which runs, and is another process by now
    with alone(tmp_path, tmp_path / "lock"):
        pass
    pretend(tmp_path / "lock", boot="an earlier one")
    with alone(tmp_path, tmp_path / "lock"):
        pass
    pretend(tmp_path / "lock", host="another-container")
    with alone(tmp_path, tmp_path / "lock"):
        pass


def test_the_lock_of_another_machine_is_refused_with_what_to_delete(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    pretend(lock, process=7, host="far", boot="of far")
    before = lock.read_text()
    with (
        pytest.raises(InputError, match=rf"process 7 on far .* if it runs no more, delete {lock}"),
        alone(tmp_path, lock),
    ):
        pass
    assert lock.read_text() == before
    lock.unlink()
    with alone(tmp_path, lock):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_of_the_system_the_file_alone_decides(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", fail)
    lock = tmp_path / "lock"
    with alone(tmp_path, lock):
        assert lock.exists()
    pretend(lock)  # nobody can say whether it still runs
    with pytest.raises(InputError, match=f"if it runs no more, delete {lock}"), alone(tmp_path, lock):
        pass


@pytest.mark.parametrize("content", ["{", "[" * 900, "[1]", "null", "{}", '{"process": 1}', "\0\xff" * 800])
def test_a_damaged_lock_file_is_refused_with_what_to_delete(tmp_path: Path, content: str) -> None:
    """It may be a file of somebody else's, or of a machine that nobody can name."""
    lock = tmp_path / "lock"
    lock.write_text(content)
    with pytest.raises(InputError, match=rf"{lock}: no lock file .* delete it|delete {lock}"), alone(tmp_path, lock):
        pass
    assert lock.read_text() == content


def test_an_empty_lock_file_holds_nobody_up(tmp_path: Path) -> None:
    """Its process ended before it wrote who it was."""
    (tmp_path / "lock").touch()
    with alone(tmp_path, tmp_path / "lock"):
        assert json.loads((tmp_path / "lock").read_text())["process"] == os.getpid()


def test_what_is_no_plain_file_is_refused_and_stays(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "folder", "pipe"):
        with pytest.raises(InputError, match=f"{name}: no lock file .* delete it"), alone(tmp_path, tmp_path / name):
            pass
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_thread_may_take_its_lock_again_and_another_thread_may_not(tmp_path: Path) -> None:
    lock, said = tmp_path / "lock", []

    def other() -> None:
        try:
            with alone(tmp_path, lock):
                said.append("held")
        except InputError as error:
            said.append(str(error))

    with alone(tmp_path, lock):
        with alone(tmp_path, tmp_path / "." / "lock"):
            pass
        assert lock.exists()
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(said) == 1 and f"process {os.getpid()}" in said[0]
    assert not lock.exists()


def test_a_rank_that_is_not_the_first_takes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with alone(tmp_path, tmp_path / "lock"):
        assert names(tmp_path) == []


def test_a_lock_that_was_deleted_meanwhile_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its holder ends between our opening it and our locking it: the file that we have locked then has no name."""
    lock, flock = tmp_path / "lock", locks._flock

    def late(descriptor: int) -> bool | None:
        monkeypatch.setattr(locks, "_flock", flock)
        lock.unlink()
        return flock(descriptor)

    monkeypatch.setattr(locks, "_flock", late)
    with alone(tmp_path, lock):
        assert lock.exists()


@pytest.mark.parametrize("content", ["notes of somebody's", '{"a": 1}'])
def test_a_file_of_somebody_elses_is_no_lock_file_and_stays(tmp_path: Path, content: str) -> None:
    place = tmp_path / "mine.jsonl"
    beside(place).write_text(content)
    with pytest.raises(InputError, match=r"no lock file .* move or delete it"), alone(place, beside(place)):
        pass
    assert beside(place).read_text() == content


def test_a_link_to_another_file_is_no_lock_file(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.touch()
    os.link(victim, inside(tmp_path))
    with pytest.raises(InputError, match="no lock file"), alone(tmp_path, inside(tmp_path)):
        pass
    assert victim.read_text() == ""


def test_a_link_and_what_it_leads_to_are_one_place(tmp_path: Path) -> None:
    (tmp_path / "real.npy").touch()
    link = tmp_path / "link.npy"
    link.symlink_to("real.npy")
    assert beside(link) == beside(tmp_path / "real.npy")
