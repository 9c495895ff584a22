"""What the command line answers to bad input: exit codes, tracebacks, signals, memory and seconds, call by call.

    python benchmarks/bad_input.py [--rounds 3 --busy 2] [--only "Parquet"]
    python benchmarks/bad_input.py --repeat 200 --busy 2

Every call is a process of its own, forked from one that has imported the libraries (`_zygote`), so that signals, and
aborts while the interpreter is finalised, are seen. Exit code 1 where a call does not end as it should.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import Queue
from typing import Any, Self

from _bad_calls import Call, calls, good
from _machine import OFFLINE, RESULTS, bound, conclude, facts, tell
from rich.console import Console
from rich.table import Table

LIMIT_SECONDS = 300  # a call that takes longer is ended by a signal
LIMIT_BYTES = 24 << 30  # of address space; what a call really uses is measured
MEMORY_MB, SECONDS = 1024, 30  # asked of each call: memory beyond that of the libraries, seconds of a core
QUIET = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "NO_COLOR": "1", "COLUMNS": "100"}
CSV = {  # of files whose errors come while Arrow's threads are reading
    "b2.csv": "query;key\nhello, there;world\nsee you;later\n\n",
    "c2.csv": "query,key\ncaf\xe9,world\n\n",
    "d.tsv": 'query\tkey\n"He said ""hi"" to\tme"\tworld\nsee\tlater\n\n',
    "r.csv": "query,key\nhello,world\nsee,later,x\n",
}
LINKS = {  # names of what is right, and where it lies
    "models": "models",
    "bert": "models/transformer",
    "masked": "models/masked",
    "causal": "models/causal",
    "good run": "run",
}
Answer = dict[str, Any]


class Zygote:
    """The process that forks a child for each call."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("_zygote.py")
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([sys.executable, script], env=os.environ | OFFLINE | QUIET, **pipes)

    def __enter__(self) -> Self:
        """Wait until the libraries are imported; `mb` is what they need."""
        self.mb = float(self._answer()["mb"])
        return self

    def __exit__(self, *_: object) -> None:
        with self.process:  # closes its pipes, by which it ends, and waits for that
            pass

    def run(self, words: Sequence[str], folder: Path, stdin: str = "") -> Answer:
        """Run a call in a folder and return its exit code (negative: the signal), streams, memory and seconds."""
        assert self.process.stdin is not None
        streams = {name: folder.parent / f"{folder.name}.{name}" for name in ("stdin", "stdout", "stderr")}
        streams["stdin"].write_text(stdin, encoding="utf-8", errors="surrogateescape")
        call: dict[str, Any] = {"words": words, "folder": str(folder)} | {
            name: str(path) for name, path in streams.items()
        }
        call |= {"limit_bytes": LIMIT_BYTES, "limit_seconds": LIMIT_SECONDS}
        call |= {"environment": {"NEARFAR_CACHE": f"{folder}.cache"}}
        self.process.stdin.write(json.dumps(call) + "\n")
        self.process.stdin.flush()
        answer = self._answer()
        answer["mb"] = max(0.0, answer["mb"] - self.mb)
        for name in ("stdout", "stderr"):
            answer[name] = streams[name].read_text(encoding="utf-8", errors="replace").replace(str(folder), "HERE")
        return answer

    def _answer(self) -> Answer:
        assert self.process.stdout is not None
        answer: Answer = json.loads(self.process.stdout.readline())
        return answer


@contextmanager
def busy(number: int) -> Iterator[None]:
    """Keep as many processes busy meanwhile."""
    loop = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"  # it ends with us, however we end
    loops = [subprocess.Popen([sys.executable, "-c", loop]) for _ in range(number)]
    try:
        yield
    finally:
        for one in loops:
            one.kill()
            one.wait()


def meet(zygote: Zygote, call: Call, right: Path, place: Path) -> Answer:
    """Make a bad input beside what is right, run its call, and return what came of it."""
    folder = place / "here"
    folder.mkdir()
    shutil.copy(right / "pairs.jsonl", folder)
    shutil.copytree(right / "run" / "model", folder / "model")
    for name, target in LINKS.items():
        (folder / name).symlink_to(right / target)
    try:
        call.make(folder)
        answer = zygote.run(call.words, folder, call.stdin)
        answer["harmless"] = call.harmless or call.words[0] == "audit"  # whose answer says what is wrong
        answer["exploded"] = (folder / "exploded").exists()
    finally:
        for path in place.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return answer


def said(answer: Answer) -> str:
    """Return what a call said of the input: its error, else its warnings."""
    lines = [line for line in answer["stderr"].splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("nearfar: ") and not line.startswith("nearfar: warning")]
    warned = [line for line in lines if "warning" in line]
    return "\n".join(errors or warned or lines[-1:])


def faults(answer: Answer) -> list[str]:
    """Return what is wrong with an answer, whatever the input was."""
    text, code = answer["stderr"] + answer["stdout"], answer["exit"]
    lines = [line for line in answer["stderr"].splitlines() if not re.match(r"(nearfar: )?warning: ", line)]
    found = {
        f"ended by signal {-code}": code < 0,
        "a traceback": "Traceback (most recent call last)" in text or "panicked at" in text,
        f"exit code {code}": code > 0 and code != 2,
        "more than two lines": code == 2 and not (1 <= len(lines) <= 2 or "".join(lines).startswith("Usage:")),
        "an answer beside the error": code == 2 and bool(answer["stdout"]),
        "nothing was said": code == 0 and not said(answer) and not answer.get("harmless"),
        "control characters": bool(re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)),
        f"more than {MEMORY_MB} MB": answer["mb"] > MEMORY_MB,
        f"more than {SECONDS} s": answer["cpu"] > SECONDS,
        "code was run": bool(answer.get("exploded")),
    }
    return [name for name, is_so in found.items() if is_so]


def row_of(call: Call, rounds: list[Answer]) -> dict[str, Any]:
    """Return what is kept of a call's rounds."""
    first = rounds[0]
    wrong = sorted({fault for answer in rounds for fault in faults(answer)})
    if any((answer["exit"], said(answer)) != (first["exit"], said(first)) for answer in rounds):
        wrong.append("another answer in another round")
    return {
        "command": call.command,
        "kind": call.kind,
        "damage": call.damage[:100],
        "exits": [answer["exit"] for answer in rounds],
        "mb": round(max(answer["mb"] for answer in rounds)),
        "cpu": round(max(answer["cpu"] for answer in rounds), 2),
        "seconds": round(max(answer["seconds"] for answer in rounds), 2),
        "said": said(first)[:400],
        "faults": wrong,
    }


def summary(rows: list[dict[str, Any]], by: str) -> Table:
    """Return the table of the rows by command or by kind."""
    table = Table(title=f"bad input by {by}")
    names = (by, "calls", "exit 2", "exit 0", "exit 1", "signals", "tracebacks", "MB beyond", "CPU s", "seconds")
    for name in names:
        table.add_column(name, justify="left" if name == by else "right")
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row[by]].append(row)
    for name, members in [*groups.items(), ("all", rows)]:
        codes = Counter(code for row in members for code in row["exits"])
        signals = sum(count for code, count in codes.items() if code < 0 or code > 127)
        broken = sum("a traceback" in row["faults"] for row in members)
        most = [max(row[field] for row in members) for field in ("mb", "cpu", "seconds")]
        counts = [len(members), codes[2], codes[0], codes[1], signals, broken]
        largest = (str(most[0]), f"{most[1]:.1f}", f"{most[2]:.1f}")
        table.add_row(name, *map(str, counts), *largest, end_section=name == list(groups)[-1])
    return table


def answers(todo: list[tuple[int, Call]], right: Path, place: Path, given: argparse.Namespace) -> list[Answer]:
    """Return the answers to calls, each with its round, some at a time, beside busy processes."""
    free: Queue[tuple[Zygote, Path]] = Queue()

    def met(numbered: tuple[int, Call]) -> Answer:
        turn, call = numbered
        zygote, folder = free.get()
        try:
            answer = meet(zygote, call, right, folder)
        finally:
            free.put((zygote, folder))
        if given.verbose or faults(answer):
            result = ", ".join(faults(answer)) or f"exit code {answer['exit']}"
            tell(f"{turn} / {call.name}: {result}, {answer['seconds']:.1f} s\n    {said(answer)[:300]}")
        return answer

    with busy(given.busy), ExitStack() as stack:
        for i, zygote in enumerate([Zygote() for _ in range(given.jobs)]):  # all import at once
            (folder := place / str(i)).mkdir()
            free.put((stack.enter_context(zygote), folder))
        return list(stack.enter_context(ThreadPoolExecutor(given.jobs)).map(met, todo))


def measure(given: argparse.Namespace, right: Path, place: Path) -> int:
    """Run all calls, `rounds` times, print tables, keep the JSON; return the exit code."""
    machine, console = facts(), Console()
    chosen = [call for call in calls() if re.search(given.only, call.name)][:: given.every]
    todo = [(turn + 1, call) for turn in range(given.rounds) for call in chosen]
    found = answers(todo, right, place, given)
    rows = [row_of(call, found[i :: len(chosen)]) for i, call in enumerate(chosen)]
    console.print(summary(rows, "command"), summary(rows, "kind"))
    for row in rows:
        if row["faults"]:
            name = " / ".join(row[field] for field in ("command", "kind", "damage"))
            console.print(f"{name}: {', '.join(row['faults'])}", markup=False, highlight=False)
            console.print(f"    {row['said'][:300]}", markup=False, highlight=False)
    exits = Counter(code for row in rows for code in row["exits"])
    held = [
        bound("bad inputs", len(rows), 300, least=True),
        bound("of them with a fault", sum(bool(row["faults"]) for row in rows), 0, least=False),
        bound("largest memory beyond the libraries', MB", max(row["mb"] for row in rows), MEMORY_MB, least=False),
        bound("longest answer, seconds of a core", max(row["cpu"] for row in rows), SECONDS, least=False),
    ]
    settings = {name: getattr(given, name) for name in ("rounds", "busy", "jobs", "every", "only")}
    measured = {"machine": machine, "settings": settings, "rows": rows}
    measured |= {"exits": {str(code): count for code, count in sorted(exits.items())}, "bounds": held}
    conclude(given.out, "bad_input", measured)
    return int(any(row["faults"] for row in rows))


def repeat(given: argparse.Namespace, right: Path, place: Path) -> int:
    """Run the errors of CSV and TSV files again and again; return the exit code."""
    machine, console = facts(), Console()
    made = [
        Call("evaluate", "CSV", name, ("evaluate", "model", name), lambda folder, n=name, t=text: _latin(folder / n, t))  # type: ignore[misc]
        for name, text in CSV.items()
    ]
    todo = [(turn // len(made) + 1, made[turn % len(made)]) for turn in range(given.repeat)]
    exits: dict[str, Counter[int]] = defaultdict(Counter)
    for (_, call), answer in zip(todo, answers(todo, right, place, given), strict=True):
        exits[call.damage][answer["exit"]] += 1
    wrong = sum(count for counts in exits.values() for code, count in counts.items() if code != 2)
    held = [bound("runs that do not end by exit code 2", wrong, 0, least=False)]
    for name, counts in exits.items():
        console.print(f"{name}: {', '.join(f'exit {code}: {count}' for code, count in counts.items())}")
    rows = [{"file": name, "exits": {str(code): n for code, n in counts.items()}} for name, counts in exits.items()]
    settings = {"repeat": given.repeat, "busy": given.busy, "jobs": given.jobs}
    measured = {"machine": machine, "settings": settings, "rows": rows, "bounds": held}
    conclude(given.out, "bad_input_repeated", measured)
    return int(wrong > 0)


def _latin(path: Path, text: str) -> int:
    return path.write_bytes(text.encode("latin-1"))


def main() -> int:
    """Make what is right once, then measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1, help="times that every call is made")
    parser.add_argument("--busy", type=int, default=0, help="processes that keep cores busy meanwhile")
    parser.add_argument("--jobs", type=int, default=1, help="calls at a time")
    parser.add_argument("--every", type=int, default=1, help="3 takes every third call")
    parser.add_argument("--only", default="", help="a regular expression of names: command / kind / damage")
    parser.add_argument("--repeat", type=int, default=0, help="instead: this many runs of the errors of CSV and TSV")
    parser.add_argument("--verbose", action="store_true", help="show what each call said")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        right, place = Path(temporary) / "right", Path(temporary) / "place"
        right.mkdir()
        place.mkdir()
        os.environ["NEARFAR_CACHE"] = str(Path(temporary) / "cache")
        good(right)
        return repeat(given, right, place) if given.repeat else measure(given, right, place)


if __name__ == "__main__":
    sys.exit(main())
