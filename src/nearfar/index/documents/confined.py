"""Reading of formats that a file can turn against its parser, in a process of its own with limits of time and memory.

HTML and PDF come from strangers. A file that makes a parser crash, hang or fill the memory ends that process alone.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from nearfar.index.documents.document import BadDocumentError, FileDocument

SILENCE = 60.0  # seconds of the processor for a page, after which a file is given up
LONGEST = 900.0  # seconds of the processor for a whole file
MEMORY = 3 << 30  # bytes of address space of the process
_WAITED = 20  # times as long by the clock, on a busy machine
_GIVEN_UP = "the process that read it {} (see the limits of time and memory); it may be damaged, or made to do harm"


class ConfinedReader:
    """Reads one file after the other in a process that is started when it is first needed, and after each crash."""

    def __init__(self, silence: float = SILENCE, longest: float = LONGEST, memory: int = MEMORY) -> None:
        self.silence, self.longest, self.memory = silence, longest, memory
        self._process: Any = None
        self._pipe: Connection | None = None

    def read(self, kind: str, content: bytes, note: Callable[[str], None]) -> Iterator[FileDocument]:
        """Yield the documents of a file. kind: "html", of which `content` is the bytes, or "pdf", its path.

        note: is told what is wrong with a part of the file.

        Errors: `BadDocumentError`, also where the process crashed or took too long.
        """
        pipe, whole = self._started(), False
        try:
            pipe.send_bytes(kind.encode())
            pipe.send_bytes(content)
            while True:
                if not pipe.poll(_WAITED * self.silence):
                    raise BadDocumentError(_GIVEN_UP.format("took too long"))
                found = json.loads(pipe.recv_bytes())
                if "text" in found:
                    place = found["starts"], found["lines"], found["page"]
                    yield FileDocument(found["text"], *place, share=found["share"])
                elif "note" in found:
                    note(found["note"])
                else:
                    break
            whole = True
            if found["problem"]:
                raise BadDocumentError(found["problem"])
        except (EOFError, OSError) as error:
            raise BadDocumentError(_GIVEN_UP.format(self._end())) from error
        finally:
            if not whole:
                self.close()

    def _end(self) -> str:
        """Return what became of the process."""
        self._process.join(_WAITED)
        return "took too long" if self._process.exitcode == -signal.SIGPROF else "ended"

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            assert self._pipe is not None
            self._pipe.close()
            self._process.kill()
            self._process.join()
            self._process.close()
            self._process = self._pipe = None

    def _started(self) -> Connection:
        from nearfar.data.harvest.run import hidden_main  # late: the process that is started need not import it

        if self._pipe is None:
            context = multiprocessing.get_context("spawn")  # a fork of a process that runs threads may hang
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(
                target=_serve, args=(theirs, self.silence, self.longest, self.memory), daemon=True
            )
            with hidden_main():
                self._process.start()
            theirs.close()
        return self._pipe


def _serve(pipe: Connection, silence: float, longest: float, memory: int) -> None:
    """Read files until the other end of the pipe is closed.

    The system ends the process by SIGPROF when a page has taken too much time of the processor, whatever it is doing.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    _limit_memory(memory)
    sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    with suppress(EOFError, OSError):
        while True:
            kind, content = pipe.recv_bytes().decode(), pipe.recv_bytes()
            until = time.process_time() + longest

            def send(found: dict[str, Any], until: float = until) -> None:
                signal.setitimer(signal.ITIMER_PROF, silence)
                if time.process_time() > until:
                    raise BadDocumentError(f"takes more than {longest:,.0f} s to be read; split it up")
                pipe.send_bytes(json.dumps(found).encode())

            signal.setitimer(signal.ITIMER_PROF, silence)
            problem = _answer(kind, content, send)
            signal.setitimer(signal.ITIMER_PROF, 0)
            pipe.send_bytes(json.dumps({"problem": problem}).encode())


def _answer(kind: str, content: bytes, send: Callable[[dict[str, Any]], None]) -> str:
    """Send what a file holds; return what is wrong with it, or nothing."""
    try:
        for one in _documents(kind, content, lambda line: send({"note": line})):
            place = {"starts": one.starts, "lines": one.lines, "page": one.page}
            send({"text": one.cell, **place, "share": one.share})
    except BadDocumentError as error:
        return str(error)
    except MemoryError:
        return "needs too much memory to be read; it may be damaged, or made to do harm"
    except RecursionError:
        return "is nested too deeply to be read"
    except (EOFError, BrokenPipeError):
        raise
    except Exception as error:  # a parser may raise anything
        return f"cannot be read ({type(error).__name__}: {str(error).strip()[:120]})"
    return ""


def _documents(kind: str, content: bytes, note: Callable[[str], None]) -> Iterator[FileDocument]:
    if kind == "pdf":
        from nearfar.index.documents.pdf_text import pdf_pages

        yield from pdf_pages(Path(os.fsdecode(content)), note)
    else:
        from nearfar.index.documents.html_text import html_document

        yield html_document(content)


def _limit_memory(memory: int) -> None:
    """Limit the memory of this process; some systems do not."""
    import resource

    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
