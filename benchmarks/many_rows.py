"""`nearfar train static` on a table of very many short pairs: how soon it begins, and what memory it holds.

python benchmarks/many_rows.py --rows 5000000 [--work DIR]

The words are random, and drawn as words are (the i-th is i times rarer than the first); a key shares half of its
query's words. The first run reads the table, learns the tokenizer and tokenises; the second finds all that in
the caches.
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
from pathlib import Path
from typing import Any

import numpy as np
from _machine import OFFLINE, RESULTS, bound, conclude, facts, tell

LIMIT_MB, LIMIT_S = 3_000, 60
WORDS, SIDE, BLOCK, EVERY_S = 50_000, 8, 100_000, 0.2


def write_table(path: Path, rows: int, seed: int) -> None:
    """Write rows of random words to a Parquet file, block by block."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    random = np.random.default_rng(seed)
    letters, sizes = np.array(list("abcdefghijklmnopqrstuvwxyz")), random.integers(3, 10, WORDS)
    words = pa.array(sorted({"".join(random.choice(letters, size)) for size in sizes}))
    join: Any = pc.binary_join_element_wise
    schema = pa.schema([("query", pa.string()), ("key", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, BLOCK):
            n = min(BLOCK, rows - start)
            drawn = (len(words) ** random.random((3 * SIDE // 2, n))).astype(np.int64) - 1  # word i, as 1 / (i + 1)
            taken = [words.take(pa.array(line)) for line in drawn]
            sides = [join(*side, " ") for side in (taken[:SIDE], taken[-SIDE:])]
            writer.write_table(pa.table(sides, schema=schema))


def memory(pid: int) -> dict[str, float]:
    """Return a process's memory in MB: its peak, what it holds now, and what of it no file backs."""
    names = {"VmHWM:": "peak_mb", "VmRSS:": "now_mb", "RssAnon:": "own_mb"}
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:  # it has ended, or this is no Linux
        return {}
    fields = (line.split() for line in lines)
    return {names[parts[0]]: int(parts[1]) / 2**10 for parts in fields if parts and parts[0] in names}


def train(recipe: str, settings: list[str], out: Path, env: dict[str, str]) -> dict[str, Any]:
    """Train by a recipe in a fresh process; return when it began, and what memory it held."""
    options = ["--out", str(out), "--baseline", "none", "--quiet", "--json"]
    began = time.time()
    process = subprocess.Popen(
        [sys.executable, "-c", "from nearfar.cli import main; main()", "train", recipe, *settings, *options],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    seen: list[dict[str, float]] = []
    while process.poll() is None:
        if found := memory(process.pid):
            seen.append({"time": time.time(), **found})
        time.sleep(EVERY_S)
    said, complaint = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"nearfar train failed:\n{complaint.strip()[-3000:]}")
    events = [json.loads(line) for line in (out / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    first, last = (next(e["time"] for e in order if e["event"] == "step") for order in (events, events[::-1]))
    steady = [sample for sample in seen if first <= sample["time"] <= last] or seen[-1:]
    return {
        "seconds to the first step": first - began,
        "seconds": time.time() - began,
        "peak_mb": max(sample["peak_mb"] for sample in seen),
        "own_peak_mb": max(sample["own_mb"] for sample in seen),
        "steady_mb": statistics.median(sample["now_mb"] for sample in steady),
        "steady_own_mb": statistics.median(sample["own_mb"] for sample in steady),
        **{name: json.loads(said)[name] for name in ("pairs", "train_pairs_per_second")},
    }


def measure(given: argparse.Namespace, folder: Path) -> None:
    machine, table = facts(), folder / f"rows-{given.rows}.parquet"
    if not table.exists():
        tell(f"writing {given.rows:,} rows")
        write_table(table, given.rows, seed=0)
    caches = {"NEARFAR_CACHE": str(folder / "cache"), "HF_DATASETS_CACHE": str(folder / "datasets")}
    env = os.environ | OFFLINE | caches
    settings = [f"data.path={table}", f"training.steps={given.steps}", f"data.heldout={given.heldout}", *given.set]
    runs = {}
    for name in ("first", "second"):
        runs[name] = train("static", settings, folder / f"run-{given.rows}-{name}", env)
        tell(f"{name} run: {', '.join(f'{what} {value:,.1f}' for what, value in runs[name].items())}")
    warm = runs["second"]
    kept = [
        bound("steady memory, MB", warm["steady_mb"], LIMIT_MB, least=False),
        bound("seconds to the first step, tokens known", warm["seconds to the first step"], LIMIT_S, least=False),
    ]
    asked = {"rows": given.rows, "steps": given.steps, "heldout": given.heldout, "set": given.set}
    found = {"machine": machine, "settings": asked, "runs": runs, "bounds": kept}
    conclude(given.out, "many_rows", found)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--heldout", type=int, default=2_000, help="rows to judge by")
    parser.add_argument("--set", action="append", default=[], help="a setting of the recipe, as path=value")
    parser.add_argument("--work", type=Path, help="folder that keeps the table and the caches, to measure again")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.work or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        measure(given, folder)


if __name__ == "__main__":
    main()
