"""Contrastive losses, forward and backward: ours and the peers', as functions of embeddings, in one run.

python benchmarks/loss.py --sizes 256 1024 4096 16384 65536 --rounds 3
python benchmarks/loss.py --contests nt-xent --sizes 4096
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from _forms import CONTESTS, DIM, SCALE, Compute, vectors
from _machine import RESULTS, Bound, PeakMemory, bound, conclude, facts, free_memory_mb, fresh, tell
from rich.table import Table
from torch import Tensor

PRECISIONS = ("fp32", "bf16")
METRIC_LEARNING = ("metric-learning", "metric-learning NTXent", "metric-learning SupCon")
NEEDS = {"open_clip": "open_clip", "lightly": "lightly"}
NEEDS |= dict.fromkeys(("sentence-transformers", "sentence-transformers, dot"), "sentence_transformers")
NEEDS |= dict.fromkeys(METRIC_LEARNING, "pytorch_metric_learning")
GROWTH = {"metric-learning NTXent": 3}  # of memory and time with n, where it is not the square: all pairs by all rows
PROMISES = {  # by contest and n: the most of the best peer's time
    ("both ways", 256): 1.0,
    ("both ways", 16_384): 0.35,
    ("nt-xent", 16_384): 0.30,
}
CLOSE = 1.3  # times the fastest peer's first time: one call in one process does not yet say which is the best
BIG, BIG_MB = 65_536, 1024.0  # rows at which ours may take so much
TIMED_S, WARM_S = 1.0, 3.0  # timed for at least so long; a call beyond the second is not made twice to warm up
EXACT_AT = 512  # rows at which gradients are compared with float64
Row = dict[str, Any]


def call(compute: Compute, q: Tensor, k: Tensor, precision: str) -> tuple[float, float]:
    """Return the seconds that forward and backward took, and the loss."""
    q.grad = k.grad = None
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        loss = compute(q, k)
    loss.backward()
    return time.perf_counter() - start, loss.item()


def measure(contest: str, form: str, n: int, precision: str, repeats: int) -> Row:
    """Return seconds and extra memory of forward and backward, in this process; each view has n / views rows."""
    make, rows = CONTESTS[contest].make[form], n // CONTESTS[contest].views
    small = vectors(8)
    call(make(8), small[0], small[1], precision)  # libraries load and threads start: no one's memory
    compute, (q, k) = make(rows), vectors(rows)
    with PeakMemory() as memory:  # around the warm-up, too: what the heap keeps from it counts
        first, value = call(compute, q, k, precision)
        seconds = [] if first < WARM_S else [first]
        while len(seconds) < repeats or (sum(seconds) < TIMED_S and len(seconds) < 300):
            if seconds and first > WARM_S:
                break
            seconds.append(call(compute, q, k, precision)[0])
    return {"seconds": seconds, "extra_mb": memory.extra_mb, "memory": memory.how, "value": value}


def gradient_errors(contest: str) -> dict[str, dict[str, float]]:
    """Return how far each contestant's gradient is from ours in float64, relative, at a size that all can.

    Along the sphere: some normalise what is on it already, which takes away what points out of it.
    """
    rows = EXACT_AT // CONTESTS[contest].views
    exact = vectors(rows, torch.float64)
    CONTESTS[contest].make["ours"](rows)(*exact).backward()
    found: dict[str, dict[str, float]] = {}
    for form in present(contest):
        for precision in PRECISIONS:
            tried = vectors(rows)
            call(CONTESTS[contest].make[form](rows), tried[0], tried[1], precision)
            pairs = [(along_sphere(a), along_sphere(b)) for a, b in zip(tried, exact)]
            found.setdefault(form, {})[precision] = max(float((a - b).norm() / b.norm()) for a, b in pairs)
    return found


def along_sphere(x: Tensor) -> Tensor:
    """Return the gradient of unit vectors (n, d) without its part along each of them."""
    grad = torch.zeros_like(x) if x.grad is None else x.grad
    return grad - (grad * x).sum(1, keepdim=True).detach() * x.detach()


def child(**task: Any) -> Row:
    """Do what a fresh process is asked for."""
    return measure(**task) if "n" in task else gradient_errors(**task)


def compare(contest: str, n: int, repeats: int, rounds: int, seen: dict[Any, Row]) -> Iterator[Row]:
    """Yield a row for each precision. Ours and the peers that may be best take turns, so that noise hits all alike.

    seen: what was measured at smaller sizes, by contestant: what would not fit is predicted from it, and skipped.
    """
    for precision in PRECISIONS:
        runs: dict[str, list[Row]] = {}
        skipped: dict[str, str] = {}
        for form in present(contest):
            key = contest, form, precision
            why = _too_much(form, seen.get(key), n) if form != "ours" else None
            if why:
                skipped[form] = why
                tell(f"{contest}, n = {n:,}, {precision}, {form}: skipped, {why}")
                continue
            runs[form] = [_run(contest, form, n, precision, repeats)]
            seen[key] = {"n": n, **runs[form][0]}
        own = CONTESTS[contest].own
        peers = {form: min(found[0]["seconds"]) for form, found in runs.items() if form != "ours" and form not in own}
        near = [form for form, seconds in peers.items() if seconds < CLOSE * min(peers.values())]
        for _ in range(rounds if near else 0):
            for form in ("ours", *near):
                runs[form].append(_run(contest, form, n, precision, repeats))
        found = {form: _median(several) for form, several in runs.items()}
        best = min(near, key=lambda form: float(found[form]["seconds"])) if near else None
        yield _row(contest, n, precision, best, found, skipped)


def _row(contest: str, n: int, precision: str, best: str | None, found: dict[str, Row], skipped: dict[str, str]) -> Row:
    ours = found["ours"]
    for form, other in found.items():
        if abs(ours["value"] - other["value"]) > 1e-2 * abs(other["value"]):
            raise SystemExit(f"{contest}, n = {n}, {precision}: {form} says {other['value']}, ours {ours['value']}")
    row: Row = {"contest": contest, "n": n, "precision": precision, "best peer": best, "found": found}
    row["skipped"] = skipped
    if best:
        row["time_ratio"] = ours["seconds"] / found[best]["seconds"]
        row["memory_ratio"] = ours["extra_mb"] / max(found[best]["extra_mb"], 0.1)  # a tiny n takes none
    return row


def present(contest: str) -> list[str]:
    """Return the contestants that are installed."""
    there = {form: find_spec(NEEDS.get(form, "torch")) is not None for form in CONTESTS[contest].make}
    for form in (form for form, found in there.items() if not found):
        tell(f"{contest}: {form} is left out, {NEEDS[form]} is not installed (make bench installs the peers)")
    return [form for form, found in there.items() if found]


def _too_much(form: str, before: Row | None, n: int) -> str | None:
    """Predict memory and time from a smaller size; say why not, if they are too much."""
    if before is None or before["n"] >= n:
        return None
    grown = (n / before["n"]) ** GROWTH.get(form, 2)
    memory, seconds = before["extra_mb"] * grown / 1024, min(before["seconds"]) * grown
    if memory * 1024 > 0.9 * free_memory_mb():
        return f"predicted {memory:,.0f} GB"
    return f"predicted {seconds:,.0f} s" if seconds > 300 else None


def _run(contest: str, form: str, n: int, precision: str, repeats: int) -> Row:
    task = {"contest": contest, "form": form, "n": n, "precision": precision, "repeats": repeats}
    result = fresh(__file__, task)
    tell(f"{contest}, n = {n:,}, {precision}, {form}: {min(result['seconds']):.4f} s, {result['extra_mb']:,.0f} MB")
    return result


def _median(runs: list[Row]) -> Row:
    seconds = [s for run in runs for s in run["seconds"]]
    middle = statistics.median(statistics.median(run["seconds"]) for run in runs)
    return {
        "seconds": middle,
        "fastest": min(seconds),
        "slowest": max(seconds),
        "extra_mb": statistics.median(run["extra_mb"] for run in runs),
        "memory": runs[0]["memory"],
        "value": runs[0]["value"],
    }


def bounds(rows: list[Row]) -> list[Bound]:
    found = []
    for row in rows:
        where = f"{row['contest']}, n = {row['n']:,}, {row['precision']}"
        limit = PROMISES.get((row["contest"], row["n"]))
        if limit is not None and row["best peer"]:
            found.append(bound(f"{where}: time, ours / {row['best peer']}", row["time_ratio"], limit, least=False))
        if row["n"] == BIG and row["contest"] == "both ways":
            found.append(bound(f"{where}: extra MB", row["found"]["ours"]["extra_mb"], BIG_MB, least=False))
    return found


def table(contest: str, rows: list[Row], wrong: dict[str, dict[str, float]]) -> Table:
    title = f"{CONTESTS[contest].title}, d = {DIM}, scale {SCALE:g}: forward and backward, medians"
    shown = Table(title=title)
    for name in ("n", "precision", "contestant", "s", "ours / it", "extra MB", "gradient error"):
        shown.add_column(name, justify="left" if name in ("precision", "contestant") else "right")
    for row in rows:
        ours = row["found"]["ours"]["seconds"]
        for form, one in row["found"].items():
            mark = " *" if form == row["best peer"] else ""
            ratio = "" if form == "ours" else f"{ours / one['seconds']:.2f}"
            error = f"{wrong.get(form, {}).get(row['precision'], float('nan')):.1e}"
            cells = f"{row['n']:,}", row["precision"], form + mark, f"{one['seconds']:.4f}", ratio
            shown.add_row(*cells, f"{one['extra_mb']:,.0f}", error)
        for form, why in row["skipped"].items():
            shown.add_row(f"{row['n']:,}", row["precision"], form, "skipped", "", why, "")
        shown.add_section()
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--contests", nargs="+", choices=list(CONTESTS), default=list(CONTESTS))
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 1024, 4096, 16_384, 65_536], help="rows n")
    parser.add_argument("--repeats", type=int, default=3, help="timed calls a process, at least, after one to warm up")
    parser.add_argument("--rounds", type=int, default=2, help="further processes for ours and the best peer, in turns")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child(**json.loads(given.child))))
        return
    machine = facts()
    settings = {"dim": DIM, "scale": SCALE, "repeats": given.repeats, "rounds": given.rounds}
    for contest in given.contests:
        wrong, seen = fresh(__file__, {"contest": contest}), {}  # type: ignore[var-annotated]
        sizes = [n for n in sorted(given.sizes) if n < BIG or contest == "both ways"]
        rows = [row for n in sizes for row in compare(contest, n, given.repeats, given.rounds, seen)]
        kept = bounds(rows)
        measured = {"machine": machine, "settings": settings, "rows": rows, "gradient_errors": wrong, "bounds": kept}
        name, shown = f"loss-{contest.replace(' ', '-')}", table(contest, rows, wrong)
        conclude(given.out, name, measured, shown, "* the best peer", width=110)


if __name__ == "__main__":
    main()
