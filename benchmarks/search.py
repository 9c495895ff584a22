"""Search side by side: build, recall@10, queries a second, memory; ours, LanceDB and pgvector, faiss and usearch.

python benchmarks/search.py [--sets real clustered] [--rounds 3] [--work FOLDER] [--only exact faiss] [--quick]
python benchmarks/search.py --pairs 1000 --kills 20

real: 100,000 sentences embedded by MiniLM, 384 dimensions; clustered: 1,000,000 vectors of 128. Each has 512 queries
that are held out. All run on one processor in one thread. Each cell is a fresh process, contestants take turns, figures
are medians over rounds. Approximate indexes are at the effort that reaches recall@10 0.99: of LanceDB and pgvector as
`Index.approximate` finds it on rows, of the peers on the very queries that they are judged by. With --work what was
measured is kept, so that a run that was stopped goes on; take another folder after a change of the code. --pairs and
--kills run the contract tests at size, in place of the table: random filters and k against numpy on every backend, and
writers and builds that are killed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from _machine import RESULTS, Bound, bound, conclude, facts, fresh, once, tell
from _search_contestants import EXACT, GRAPHS, Task, build, is_here, measure, one_thread
from _search_data import SIZES, files, truth
from rich.table import Table

ROOT = Path(__file__).parents[1]
Runs = dict[str, dict[str, Any]]  # by contestant: "build", and "rounds" of what was measured
TESTS = {
    "pairs": ["tests/index/test_backends.py", "-k", "agrees_with_numpy or finds_the_rows"],
    "kills": ["tests/index/test_processes.py", "tests/index/documents/test_build_index.py", "-k", "killed"],
}


def child(what: str, task: Task) -> Task:
    """Do what a fresh process is asked for."""
    return build(task) if what == "build" else measure(task)


def table_of(name: str, given: argparse.Namespace, work: Path, server: Task | None) -> Runs:
    """Build every contestant of a set once, then measure all in turns."""
    rows = given.rows or SIZES[name][0]
    keys, queries = files(work, name, rows)
    shared: Task = {"keys": str(keys), "queries": str(queries), "truth": str(truth(work, name, rows))}
    shared |= {"seconds": given.seconds}
    found: Runs = {}
    for called, kind in {**EXACT, **GRAPHS}.items():
        wanted = not given.only or any(word in called for word in given.only)
        if not is_here(kind) or not wanted or any(word in called for word in given.without):
            continue
        stem = f"{name}-{rows}-{called.replace(', ', '-').replace(' ', '_')}"
        place = (Path(server["host"]).parent if server and "pgvector" in called else work) / f"built-{stem}"
        task = {**shared, **kind, "place": str(place), "limit": given.build_limit}
        if "pgvector" in called:
            if server is None:
                continue
            task["server"] = server
        held = {**kind, "limit": given.build_limit, **task.get("server", {})}  # a server's tables end with it
        made = once(work, f"build-{stem}", held, partial(_fresh, "build", task))
        tell(f"{name}: {called}: " + made.get("left_out", f"built in {made.get('seconds', 0):,.1f} s"))
        found[called] = {"build": made, "rounds": [], "task": {**task, "effort": made.get("effort")}, "stem": stem}
    for turn in range(given.rounds):
        for called, one in found.items():
            if "left_out" in one["build"]:
                continue
            kept = {"turn": turn, "seconds": given.seconds, "effort": one["task"]["effort"]}
            run = once(work, f"run-{one['stem']}", kept, partial(_fresh, "measure", one["task"]))
            one["rounds"].append(run)
            told = f"{run['per_second_1']:,.1f} and {run['per_second_64']:,.1f} queries/s, recall {run['recall']:.4f}"
            tell(f"{name}, round {turn + 1}: {called}: {told}")
    return {called: {"build": one["build"], "rounds": one["rounds"]} for called, one in found.items()}


def _fresh(what: str, task: Task) -> Task:
    """Do something in a fresh process, and give up after the limit of a build."""
    try:
        return fresh(__file__, {"what": what, "task": task}, task["limit"] if what == "build" else None)
    except subprocess.TimeoutExpired:
        return {"left_out": f"not built in {task['limit']:,.0f} s"}


def middle(one: dict[str, Any], what: str) -> float:
    """Return the median over rounds."""
    return statistics.median(float(run[what]) for run in one["rounds"]) if one["rounds"] else float("nan")


def shown(name: str, rows: int, found: Runs) -> Table:
    """Return a set's table."""
    table = Table(title=f"{name}: {rows:,} x {SIZES[name][1]}, k 10, one thread")
    columns = (
        "build s",
        "recall@10",
        "queries/s, 1",
        "queries/s, 64",
        "Index.search, 1",
        "peak MB",
        "disk MB",
        "effort",
    )
    for column in ("", *columns):
        table.add_column(column, justify="right" if column else "left")
    for called, one in found.items():
        made = one["build"]
        if "left_out" in made:
            table.add_row(called, f"left out: {made['left_out']}")
            continue
        memory = f"{middle(one, 'peak_mb'):,.0f}"
        if all("server_mb" in run for run in one["rounds"]):
            memory += f" + {middle(one, 'server_mb'):,.0f}"
        whole = (
            f"{middle(one, 'rows_per_second_1'):,.1f}" if all("rows_per_second_1" in r for r in one["rounds"]) else ""
        )
        effort = _effort(made["approximate"]) if "approximate" in made else made.get("effort") or ""
        table.add_row(
            called, f"{made['seconds']:,.1f}", f"{middle(one, 'recall'):.4f}", f"{middle(one, 'per_second_1'):,.1f}",
            f"{middle(one, 'per_second_64'):,.1f}", whole, memory, f"{made['bytes'] / 1e6:,.0f}",
            str(effort),
        )  # fmt: skip
    return table


def _effort(measured: dict[str, Any]) -> str:
    names = ("ef", "ef_search", "probes")
    name = next(name for name in names if name in measured["settings"])
    return f"{measured['settings'][name]} (on rows: {measured['recall']:.4f})"


def bounds_of(name: str, found: Runs) -> list[Bound]:
    """Hold a set against what was promised."""
    ours, peer = found.get("exact, float32"), found.get("faiss flat")
    if not (ours and peer and ours["rounds"] and peer["rounds"]):
        return []
    held = [bound(f"{name}: exact, recall@10", middle(ours, "recall"), 1.0, least=True)]
    for batch in (1, 64):
        what = f"per_second_{batch}"
        ratios = [one[what] / other[what] for one, other in zip(ours["rounds"], peer["rounds"])]
        words = f"{name}: exact, queries a second at {batch}, times faiss flat"
        held.append(bound(words, statistics.median(ratios), 1.0, least=True))
    return held


def at_size(what: str, count: int) -> dict[str, Any]:
    """Run contract tests with so many pairs or kills; return what they say."""
    setting = {f"NEARFAR_{what.upper()}": str(count), "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    words = [sys.executable, "-m", "pytest", "-q", "--timeout=0", "-p", "no:cacheprovider", *TESTS[what]]
    began = time.perf_counter()
    done = subprocess.run(words, cwd=ROOT, env=os.environ | setting, capture_output=True, text=True, check=False)
    last = (done.stdout.strip().splitlines() or [done.stderr[-300:]])[-1]
    tell(f"{what} {count:,}: {last}")
    if done.returncode:
        tell(done.stdout[-3000:])
    return {"count": count, "green": done.returncode == 0, "said": last, "seconds": time.perf_counter() - began}


def main_table(given: argparse.Namespace) -> tuple[dict[str, Any], list[Table]]:
    """Measure; return the figures and their tables."""
    found: dict[str, Runs] = {}
    with tempfile.TemporaryDirectory() as scratch:
        work = given.work or Path(scratch)
        server = _server(given)
        for name in given.sets:
            found[name] = table_of(name, given, work, server)
    held = [b for name, runs in found.items() for b in bounds_of(name, runs)]
    tables = [shown(name, given.rows or SIZES[name][0], runs) for name, runs in found.items()]
    return {"runs": found, "bounds": held}, tables


def _server(given: argparse.Namespace) -> Task | None:
    """Start a PostgreSQL server as the tests do; None where pgvector does not take part or is not installed."""
    if given.only and not any("pgvector".startswith(word) or word in "pgvector, hnsw" for word in given.only):
        return None
    sys.path.insert(0, str(ROOT))
    import pytest

    try:
        from tests.index.postgres_server import server

        return server()
    except pytest.skip.Exception as skipped:
        tell(f"pgvector is left out: {skipped}")
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="*", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--rounds", type=int, default=3, help="fresh processes of each contestant, taking turns")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each speed, at least")
    parser.add_argument("--rows", type=int, help="fewer rows than the sets have")
    parser.add_argument("--build-limit", type=float, default=1800.0, help="seconds after which a build is given up")
    parser.add_argument("--only", nargs="+", help="contestants whose name has one of these words")
    parser.add_argument("--without", nargs="+", default=[], help="and none of these")
    parser.add_argument("--pairs", type=int, help="random filters and k against numpy, on every backend")
    parser.add_argument("--kills", type=int, help="writers and builds that are killed, on every backend")
    parser.add_argument("--quick", action="store_true", help="2,000 rows, a moment each, to see that everything runs")
    parser.add_argument("--work", type=Path, help="folder that keeps vectors, indexes and what each process found")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child(**json.loads(given.child))))
        return
    if given.quick:
        given.rows, given.rounds, given.seconds = 2000, 1, 0.1
    one_thread()
    measured: dict[str, Any] = {"machine": facts(), "threads": 1}
    measured["settings"] = {
        name: getattr(given, name) for name in ("rounds", "seconds", "rows", "build_limit", "quick")
    }
    wanted = {what: getattr(given, what) for what in TESTS if getattr(given, what)}
    tables: list[Table] = []
    if wanted:
        measured |= {what: at_size(what, count) for what, count in wanted.items()}
    else:
        found, tables = main_table(given)
        measured |= found
    conclude(given.out, "search", measured, *tables, width=140)


if __name__ == "__main__":
    main()
