"""How the process of the command line ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

SLOW_READER = """
import io, time
import pyarrow, pyarrow.csv
from nearfar import cli

class Slow(io.RawIOBase):
    reads = 0
    def readable(self):
        return True
    def read(self, size=-1):
        Slow.reads += 1
        if Slow.reads > 1:
            time.sleep(0.5)  # in a thread of Arrow's, while the process ends
        return b"a,b\\n1,2\\n" * 1000

def run():
    global reader
    options = pyarrow.csv.ReadOptions(block_size=4000)
    reader = pyarrow.csv.open_csv(pyarrow.PythonFile(Slow(), mode="r"), read_options=options)
    reader.read_next_batch()
    print("said")
    return 2

"""


def ended(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)


def test_a_librarys_thread_at_work_does_not_abort_the_process() -> None:
    """Python alone aborts here (code -6), or waits for ever for the thread: which of them is chance, so not asked."""
    found = ended(f"{SLOW_READER}\ncli.run = run\ncli.main()")
    assert (found.returncode, found.stdout, found.stderr) == (2, "said\n", "")


def test_what_is_registered_for_the_end_is_done() -> None:
    """Threads that are no daemons end first, then come the functions of `atexit`."""
    found = ended("""
import atexit, threading, time
from nearfar import cli

def work():
    time.sleep(0.2)
    print("thread")

def run():
    atexit.register(print, "registered")
    threading.Thread(target=work).start()
    return 1

cli.run = run
cli.main()
""")
    assert (found.returncode, found.stdout, found.stderr) == (1, "thread\nregistered\n", "")


@pytest.mark.parametrize(("words", "code"), [("list losses", 0), ("evaluate nothing nothing", 2)])
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_change_no_exit_code(words: str, code: int, closed: str) -> None:
    command = f"{sys.executable} -c 'from nearfar.cli import main; main()' {words} {closed}"
    assert subprocess.run(["sh", "-c", command], capture_output=True, timeout=120, check=False).returncode == code


def test_the_idle_threads_of_a_pool_hold_nothing_up() -> None:
    found = ended("""
from concurrent.futures import ThreadPoolExecutor
from nearfar import cli

pool = ThreadPoolExecutor(2)
pool.submit(int, 1).result()
cli.run = lambda: 0
cli.main()
""")
    assert (found.returncode, found.stderr) == (0, "")
