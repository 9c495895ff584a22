"""A process that imports the libraries once and forks a child for each call of the command line.

A child ends as a real process does: it leaves the loop and runs `nearfar.cli.main`, which ends the process. Calls
come in as lines of JSON, answers go out so.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import resource
import signal
import sys
import time
from typing import Any

LATE = ("transformers.models.bert.modeling_bert", "datasets", "bm25s", "ir_measures", "jinja2", "rich.progress")
RARE = ("nearfar.evaluation.mteb_encoder",)  # no command imports it, and it is large


def serve() -> dict[str, Any] | None:
    """Answer calls until there are no more (None); in a child return the call that it is to run."""
    while line := sys.stdin.readline():
        call: dict[str, Any] = json.loads(line)
        began = time.perf_counter()
        child = os.fork()
        if child == 0:
            return call
        _, status, used = os.wait4(child, 0)
        code = os.waitstatus_to_exitcode(status)
        answer = {"exit": code, "mb": used.ru_maxrss / 2**10, "seconds": time.perf_counter() - began}
        print(json.dumps(answer | {"cpu": used.ru_utime + used.ru_stime}), flush=True)
    return None


def idle_mb() -> float:
    """Return the memory of a child that does nothing; what a call has beyond it is its own, or pages of the libraries.

    Not the memory of this process: its peak, while it imported, is above what its children begin with.
    """
    child = os.fork()
    if child == 0:
        os._exit(0)
    return os.wait4(child, 0)[2].ru_maxrss / 2**10


def become(call: dict[str, Any]) -> None:
    """Make this child the process of a call: its words, folder, streams and limits."""
    resource.setrlimit(resource.RLIMIT_AS, (call["limit_bytes"], call["limit_bytes"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(call["limit_seconds"])  # a call that hangs ends by this signal
    os.environ.update(call["environment"])
    os.chdir(call["folder"])
    for stream, path in ((0, call["stdin"]), (1, call["stdout"]), (2, call["stderr"])):
        file = os.open(path, os.O_RDONLY if stream == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, stream)
        os.close(file)
    sys.argv = ["nearfar", *call["words"]]


def warm() -> None:
    """Import all of nearfar, and what it imports late, and start no thread, which a fork would lose."""
    import nearfar

    for module in pkgutil.walk_packages(nearfar.__path__, "nearfar."):
        if module.name not in RARE:
            importlib.import_module(module.name)
    for name in LATE:
        with contextlib.suppress(ImportError):  # an extra that is not installed
            importlib.import_module(name)


if __name__ == "__main__":
    warm()
    gc.freeze()  # what was imported is not copied by each child
    print(json.dumps({"mb": idle_mb()}), flush=True)
    given = serve()
    if given is not None:
        become(given)
        from nearfar import cli

        cli.main()
